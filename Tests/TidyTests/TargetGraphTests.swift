import Testing

/// The house of targets from top to bottom, with what each may rest on.
@Suite struct TargetGraphTests {
    /// From top to bottom: a target depends only on those below it.
    static let order = [
        "weir", "weir-replica", "GatewayServer", "Supervision", "Pipeline", "Upstreams", "Stores", "RedisClient",
        "Identity", "HTTPConnections", "Engine", "Reactor", "GatewayConfig", "Telemetry", "Wire", "Balancing",
        "Limiting",
        "GatewayCore", "CLinux", "CVectors", "COpenSSL", "CHiredis", "CCurl", "CLlama",
    ]
    static let pure: Set<String> = ["Wire", "Balancing", "Limiting", "GatewayCore"]
    /// Modules that come with the compiler. Foundation has a test of its own.
    static let toolchain: Set<String> = ["Swift", "Synchronization", "Glibc", "Foundation"]
    static let products: Set<String> = ["ArgumentParser", "Yams", "DequeModule"]

    @Test func `the targets are those of the table, no more and no fewer`() throws {
        let declared = Set(try PackageManifest().dependencies.keys)
        #expect(declared == Set(Self.order))
        let folders = Set(try SourceTree.sources.get().map(\.target))
        #expect(folders.isSubset(of: declared))
        #expect(folders.isSuperset(of: declared.filter { !$0.hasPrefix("C") }))
    }

    @Test func `imports point down`() throws {
        for (target, dependencies) in try PackageManifest().dependencies {
            let place = try #require(Self.order.firstIndex(of: target))
            for dependency in dependencies.subtracting(Self.products) {
                let other = try #require(Self.order.firstIndex(of: dependency), "\(target) depends on \(dependency)")
                #expect(other > place, "\(target) depends on \(dependency), which is above it")
            }
        }
    }

    @Test func `the pure targets rest on GatewayCore, and Wire on vectors`() throws {
        let manifest = try PackageManifest()
        for target in Self.pure.subtracting(["GatewayCore"]) {
            let dependencies: Set<String> = target == "Wire" ? ["CVectors", "GatewayCore"] : ["GatewayCore"]
            #expect(manifest.dependencies[target] == dependencies, "\(target)")
        }
        #expect(manifest.dependencies["GatewayCore"] == [])
    }

    @Test func `a file imports only what its target declares`() throws {
        let manifest = try PackageManifest()
        let files = try SourceTree.sources.get()
        #expect(files.count > 100)
        for file in files {
            let declared = try #require(manifest.dependencies[file.target], "\(file.path)")
            for (line, module) in file.imports where module != file.target {
                #expect(
                    declared.contains(module) || Self.toolchain.contains(module),
                    "\(file.path):\(line): \(file.target) does not declare \(module)")
            }
        }
    }

    @Test func `a declared dependency is used`() throws {
        let files = try SourceTree.sources.get()
        for (target, dependencies) in try PackageManifest().dependencies {
            let used = Set(files.filter { $0.target == target }.flatMap { $0.imports.map(\.module) })
            for dependency in dependencies {
                #expect(used.contains(dependency), "\(target) never imports \(dependency)")
            }
        }
    }

    @Test func `only the programs and the configuration import Foundation`() throws {
        let allowed = ["weir", "weir-replica", "GatewayConfig"]
        for file in try SourceTree.sources.get() where !allowed.contains(file.target) {
            for (line, module) in file.imports {
                #expect(!module.hasPrefix("Foundation"), "\(file.path):\(line)")
            }
        }
    }

    @Test func `only weir-replica reaches the engine, and only the engine reaches llama`() throws {
        for (target, dependencies) in try PackageManifest().dependencies {
            if target != "weir-replica" { #expect(!dependencies.contains("Engine"), "\(target)") }
            if target != "Engine" { #expect(!dependencies.contains("CLlama"), "\(target)") }
        }
    }

    @Test func `pure targets have no clock, no input or output and no async`() throws {
        let banned = [
            "async", "await", "Task", "actor", "clock_gettime", "gettimeofday", "ContinuousClock", "SuspendingClock",
            "clock", "time", "socket", "open", "print", "DispatchQueue", "Thread", "getenv",
        ]
        // `time` and `open` are words of ours too: as functions of Glibc they are called with a bracket.
        let calls: Set<String> = ["clock", "time", "socket", "open", "print", "getenv"]
        for file in try SourceTree.sources.get() where Self.pure.contains(file.target) {
            let importsGlibc = file.imports.contains { $0.module == "Glibc" }
            for (number, line) in file.code.enumerated() {
                let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_") }
                for word in banned where words.contains(Substring(word)) {
                    if calls.contains(word) {
                        let isCall = line.contains(" \(word)(") && !line.contains("func \(word)(")
                        guard importsGlibc, isCall else { continue }
                    }
                    Issue.record("\(file.path):\(number + 1): \(word) in a pure target")
                }
            }
        }
    }
}
