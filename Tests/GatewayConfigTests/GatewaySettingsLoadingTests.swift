import Foundation
import GatewayCore
import TestSupport
import Testing

@testable import GatewayConfig

@Suite struct GatewaySettingsLoadingTests {
    /// `WEIR_WRITE_EXPECTED=1 swift test` writes the files anew; read the difference before committing it.
    @Test(arguments: try Fixture.all)
    func `every fixture leads to the settings or the problems beside it`(fixture: Fixture) throws {
        if ProcessInfo.processInfo.environment["WEIR_WRITE_EXPECTED"] == "1" {
            let file = Fixture.folder.appending(path: "\(fixture.name).expected")
            try fixture.outcome.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(fixture.outcome == fixture.expected)
    }

    /// Settings with random values in their ranges, as a file.
    private func randomSettings(_ generator: inout SplitMix64) -> GatewaySettings {
        var settings = GatewaySettings()
        settings.listen.address = HostPort(
            ["::1", "0.0.0.0", "host-1.example"].randomElement(using: &generator) ?? "h", 1)
        settings.listen.loops = .random(in: 0...256, using: &generator)
        settings.admin.address = Bool.random(using: &generator) ? nil : HostPort("127.0.0.1", 9901)
        settings.admin.socket = "/run/weir \"quoted\" \\ #/admin.sock"
        settings.state.directory = "/var/lib/weir"
        settings.http.bodyBytes = .random(in: 1024...(64 << 20), using: &generator)
        settings.timeouts.head = .milliseconds(.random(in: 100...600_000, using: &generator))
        settings.timeouts.drain = .seconds(.random(in: 0...86_400, using: &generator))
        settings.identity.required = false
        settings.sessions.turnsMax = Bool.random(using: &generator) ? nil : .random(in: 50...100_000, using: &generator)
        if Bool.random(using: &generator) { settings.rateLimit.burst = BurstSettings() }
        if Bool.random(using: &generator) { settings.redis = RedisSettings() }
        for index in 0..<Int.random(in: 1...3, using: &generator) {
            var pool = PoolSettings()
            pool.name = "pool-\(index)"
            pool.policy = PoolSettings.Policy.allCases.randomElement(using: &generator) ?? .roundRobin
            var model = ModelSettings()
            model.name = ["*star", "a: b", "- x", "it's \"it\"", "null", "# no comment"][index] + "\(index)"
            model.upstream = Bool.random(using: &generator) ? nil : "名前 \u{1F980}"
            pool.models = [model]
            var replica = ReplicaSettings()
            replica.name = "replica-\(index)"
            replica.url = ReplicaURL(isTLS: .random(using: &generator), host: "fd00::1", port: 8000, prefix: "/a/b")
            replica.weight = .random(in: 1...1000, using: &generator)
            replica.kind = ReplicaSettings.Kind.allCases.randomElement(using: &generator) ?? .generic
            pool.replicas = [replica]
            pool.probe.jitter = Double(Int.random(in: 0...500, using: &generator)) / 1000
            settings.pools.append(pool)
        }
        return settings
    }

    @Test func `settings that are printed and read again are the same`() throws {
        var generator = SplitMix64(seed: 3)
        for _ in 0..<100 {
            let settings = randomSettings(&generator)
            #expect(settings.problems().isEmpty)
            #expect(try GatewaySettings.parse(text: settings.yaml(), file: "/weir.yaml") == settings)
        }
    }

    @Test func `every key can be overridden by its variable, with the value it has`() throws {
        var generator = SplitMix64(seed: 4)
        let settings = randomSettings(&generator)
        var overridden = 0
        for line in flattened(.section(exported(settings))) {
            let parts = line.split(separator: ": ", maxSplits: 1)
            let path = parts[0].split(whereSeparator: { "[].".contains($0) }).map { SettingPath.upperSnake(String($0)) }
            let value = String(parts[1]).replacing("\\\"", with: "\u{1}").replacing("\"", with: "")
                .replacing("\u{1}", with: "\"").replacing("\\\\", with: "\\").trimmingCharacters(in: ["[", "]"])
            let variable = "WEIR_" + path.joined(separator: "_")
            let parsed = try GatewaySettings.parse(
                text: settings.yaml(), file: "/weir.yaml", environment: [variable: value])
            #expect(parsed == settings, "\(variable)=\(value)")
            overridden += 1
        }
        #expect(overridden > 60)
    }

    @Test func `a damaged line leads to usable settings or to problems in the order of the file`() throws {
        var generator = SplitMix64(seed: 5)
        let settings = randomSettings(&generator)
        let lines = settings.yaml().split(separator: "\n").map(String.init)
        var refused = 0
        for _ in 0..<500 {
            var changed = lines
            let index = Int.random(in: 0..<lines.count, using: &generator)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: changed[index] += "x"
            case 1: changed[index] = changed[index].replacing(":", with: "")
            case 2: changed[index] = String(changed[index].reversed())
            default: changed.insert(changed[index], at: index)
            }
            do {
                let parsed = try GatewaySettings.parse(text: changed.joined(separator: "\n"), file: "/weir.yaml")
                #expect(parsed.problems().isEmpty)
            } catch {
                refused += 1
                #expect(!error.problems.isEmpty)
                let lines = error.problems.map(\.line)
                #expect(lines == lines.sorted() && lines.allSatisfy { $0 >= 1 && $0 <= changed.count + 1 })
            }
        }
        #expect(refused > 300)
    }

    @Test func `a file is read from the disk, and its paths are relative to its folder`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "weir-config-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "weir.yaml")
        let text = """
            identity: {required: false}
            redis: {passwordFile: password}
            log: {access: access.log}
            pools: [{name: p, models: [m], replicas: [{name: a, url: "http://h"}]}]
            """
        try Data(text.utf8).write(to: file)
        #expect(throws: ConfigProblems.self) { try GatewaySettings.load(file: file.path, environment: [:]) }
        try Data("correct horse\r\n".utf8).write(to: folder.appending(path: "password"))
        let settings = try GatewaySettings.load(file: file.path, environment: [:])
        #expect(settings.redis?.password == Secret("correct horse"))
        #expect(settings.log.access == .file(path: folder.appending(path: "access.log").path))
    }

    @Test func `a file that is no text, too long or not there is one problem`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "weir-config-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "weir.yaml")
        func message() -> String {
            do {
                _ = try GatewaySettings.load(file: file.path, environment: [:])
                return ""
            } catch {
                return error.description.replacing(folder.path, with: "")
            }
        }
        #expect(message() == "/weir.yaml: can't be read: No such file or directory")
        try Data([0x61, 0x0A, 0x62, 0xFF, 0x0A]).write(to: file)
        #expect(message() == "/weir.yaml:2:1: not valid UTF-8")
        try Data(repeating: 0x20, count: (1 << 20) + 1).write(to: file)
        #expect(message() == "/weir.yaml: can't be read: larger than 1MiB")
        try FileManager.default.removeItem(at: file)
        try FileManager.default.createDirectory(at: file, withIntermediateDirectories: true)
        #expect(message() == "/weir.yaml: can't be read: Is a directory")
    }

    @Test func `the state directory follows systemd, then XDG, then the home, and relative ones are ignored`() throws {
        let text = try #require(try Fixture.all.first { $0.name == "minimal" }).text
        func directory(_ environment: [String: String]) throws -> String {
            try GatewaySettings.parse(text: text, environment: environment).state.directory
        }
        let all = ["STATE_DIRECTORY": "/s/a:/s/b", "XDG_STATE_HOME": "/x", "HOME": "/h"]
        #expect(try directory(all) == "/s/a")
        #expect(try directory(all.filter { $0.key != "STATE_DIRECTORY" }) == "/x/weir")
        #expect(try directory(["HOME": "/h", "XDG_STATE_HOME": "x"]) == "/h/.local/state/weir")
        #expect(try directory([:]) == "/var/lib/weir")
    }
}
