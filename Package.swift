// swift-tools-version: 6.1
import PackageDescription

/// Settings of every target. Release builds optimise across modules, because the request path crosses several of them
/// (docs/decisions/003-cross-module-optimisation.md has the measurement), and leave out the run-time checks for
/// overlapping accesses to a class's property: they were a fifth of the instructions of a request. Debug builds, which
/// is what every test runs, keep them (docs/performance.md).
let common: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableExperimentalFeature("Lifetimes"),
    .unsafeFlags(["-cross-module-optimization", "-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

/// A target of ours under `Sources/`.
func part(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: common)
}

/// The tests of a target, under `Tests/<name>Tests/`.
func tests(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.byName(name: name), "TestSupport"] + dependencies,
        path: "Tests/\(name)Tests", swiftSettings: common)
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")

let package = Package(
    name: "weir",
    products: [
        .executable(name: "weir", targets: ["weir"]),
        .executable(name: "weir-replica", targets: ["weir-replica"]),
    ],
    traits: [
        .trait(
            name: "Engine",
            description: "Link llama.cpp into weir-replica; without it weir-replica only says how to build it.")
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // Commands.
        .executableTarget(
            name: "weir",
            dependencies: [
                "GatewayServer", "GatewayConfig", "Supervision", "Identity", "Wire", "GatewayCore", "CCurl",
                argumentParser,
            ],
            swiftSettings: common),
        .executableTarget(
            name: "weir-replica",
            dependencies: [
                "Engine", "HTTPConnections", "Reactor", "Wire", "GatewayCore", argumentParser,
            ],
            swiftSettings: common),

        // Assembly.
        part(
            "GatewayServer",
            [
                "Supervision", "Pipeline", "Upstreams", "Stores", "RedisClient", "Identity", "HTTPConnections",
                "Reactor", "GatewayConfig", "Telemetry", "Wire", "Balancing", "Limiting", "GatewayCore",
            ]),
        part("Supervision", ["Reactor", "GatewayCore", "Balancing", "CCurl"]),

        // The request path.
        part(
            "Pipeline",
            [
                "Upstreams", "Stores", "Identity", "HTTPConnections", "Reactor", "Telemetry", "Wire", "Limiting",
                "GatewayCore",
            ]),
        part("Upstreams", ["HTTPConnections", "Reactor", "Telemetry", "Wire", "Balancing", "GatewayCore"]),
        part("Stores", ["RedisClient", "Reactor", "Wire", "GatewayCore"]),
        part("Identity", ["Wire", "GatewayCore", "COpenSSL"]),

        // Bytes and sockets.
        part("RedisClient", ["Reactor", "GatewayCore", "CHiredis", deque]),
        part("HTTPConnections", ["Reactor", "Wire", "GatewayCore"]),
        part("Reactor", ["CLinux", "COpenSSL", "GatewayCore"]),

        // Around it.
        part("Engine", ["CLinux", "GatewayCore", .target(name: "CLlama", condition: .when(traits: ["Engine"]))]),
        part("GatewayConfig", ["GatewayCore", yams]),
        part("Telemetry", ["Wire", "GatewayCore"]),

        // Pure: no clock, no I/O, no async.
        part("Wire", ["CVectors", "GatewayCore"]),
        part("Balancing", ["GatewayCore"]),
        part("Limiting", ["GatewayCore"]),
        part("GatewayCore"),

        // C libraries.
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CVectors"),
        .systemLibrary(name: "COpenSSL", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
        .systemLibrary(name: "CCurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(name: "CLlama", pkgConfig: "llama"),

        // Tests.
        .target(name: "TestSupport", dependencies: ["GatewayCore"], path: "Tests/TestSupport", swiftSettings: common),
        tests("GatewayCore"),
        tests("Wire"),
        tests("Balancing"),
        tests("Limiting"),
        tests("Telemetry", ["Wire", "GatewayCore"]),
        tests("GatewayConfig"),
        tests("Reactor"),
        tests("HTTPConnections", ["Reactor", "Wire", "GatewayCore"]),
        tests("RedisClient", ["Reactor"]),
        tests(
            "Pipeline",
            [
                "Upstreams", "Identity", "HTTPConnections", "Reactor", "Telemetry", "Wire", "Balancing", "Limiting",
                "GatewayCore",
            ]),
        tests("Upstreams", ["Reactor", "Wire", "Balancing", "GatewayCore"]),
        tests("Stores", ["RedisClient", "Reactor", "GatewayCore"]),
        tests("Identity", ["GatewayCore", "Wire"]),
        tests("Supervision", ["Balancing", "GatewayCore"]),
        tests("Engine", ["weir-replica", "Wire", "GatewayCore"]),
        .testTarget(
            name: "SimulationTests", dependencies: ["Balancing", "GatewayCore", "TestSupport"],
            path: "Tests/SimulationTests", swiftSettings: common),
        .testTarget(name: "TidyTests", path: "Tests/TidyTests", swiftSettings: common),
    ]
)

// Programs for developers, which nobody else should have to build: the fuzzer and the micro-benchmarks. Without them
// the fuzzer's properties are a test like any other, which replays the seeds and mutations of them.
if Context.environment["WEIR_DEVELOPER_TOOLS"] == nil {
    package.targets.append(
        .testTarget(
            name: "FuzzTests",
            dependencies: ["Wire", "Identity", "GatewayConfig", "GatewayCore", "COpenSSL", "TestSupport"],
            path: "Tests/Fuzz", exclude: ["Runner", "seeds", "run"], sources: ["Targets", "Replay"],
            swiftSettings: common))
} else {
    package.targets += [
        .executableTarget(
            name: "weir-fuzz",
            dependencies: ["Wire", "Identity", "GatewayConfig", "GatewayCore", "COpenSSL", "TestSupport"],
            path: "Tests/Fuzz", exclude: ["Replay", "seeds", "run"], sources: ["Targets", "Runner"],
            swiftSettings: common),
        .executableTarget(
            name: "weir-microbench",
            dependencies: ["Pipeline", "Wire", "Identity", "Limiting", "Balancing", "GatewayCore", "TestSupport"],
            path: "Tests/Benchmarks/Micro", swiftSettings: common),
    ]
}
