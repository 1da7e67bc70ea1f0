import GatewayCore

/// The `hooks` section: what the gateway runs or calls when something happens to a replica.
package struct HookSettings: Equatable, Sendable {
    /// Tells somebody that a replica is down. Default none.
    package var replicaDown: DownHookSettings?
    /// How a replica is restarted: for `weir replicas restart`, and by itself if `afterFailures` says so. Default none.
    package var restart: RestartHookSettings?
    /// Hooks that run at once; up to 64 more wait. Default 4; 1 to 64.
    package var concurrency = 4

    package init() {}
}

/// The `hooks.replicaDown` section. Exactly one of `command` and `url`.
package struct DownHookSettings: Equatable, Sendable {
    /// Failed probes in a row that call it, once until a probe succeeds. Default 5; 1 to 10000.
    package var failures = 5
    /// Program and arguments, without a shell; `{replica}`, `{pool}` and `{address}` are filled in. Default none.
    package var command: [String] = []
    /// Gets a POST with a JSON object. Default none.
    package var url: String?
    /// How long it may take; then it is killed or given up. Default 10s; 100ms to 10m.
    package var timeout = Interval.seconds(10)

    package init() {}
}

/// The `hooks.restart` section. Exactly one of `command`, `url` and `supervisor`.
package struct RestartHookSettings: Equatable, Sendable {
    /// As for `replicaDown`; it must end only when the old process is gone. Default none.
    package var command: [String] = []
    /// As for `replicaDown`. Default none.
    package var url: String?
    /// The socket of the `weir up` that runs the replicas, which writes this key itself. Default none.
    package var supervisor: String?
    /// How long it may take; then it is killed or given up. Default 2m; 100ms to 1h.
    package var timeout = Interval.seconds(120)
    /// From its end until the replica's probes and its warm-up must have succeeded. Default 5m; 1s to 1h.
    package var readyTimeout = Interval.seconds(300)
    /// Failed probes in a row after which an enabled replica is restarted by itself; 0: never. Default 0; 0 to 10000.
    package var afterFailures = 0
    /// Restarts by itself within `window`; one more means `coolDown`. Default 3; 1 to 100.
    package var restartsMax = 3
    /// Default 5m; 1s to 24h.
    package var window = Interval.seconds(300)
    /// How long a replica that failed too often is left alone. Default 5m; 1s to 24h.
    package var coolDown = Interval.seconds(300)

    package init() {}
}

extension HookSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .optionalSection("replicaDown", \.replicaDown), .optionalSection("restart", \.restart),
            .value("concurrency", \.concurrency, .integer, 1...64),
        ]
    }
}

extension DownHookSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("failures", \.failures, .integer, 1...10_000),
            .list("command", \.command, .text, count: 0...64, .length(1...4096)),
            .optional("url", \.url, .text, .webURL),
            .value("timeout", \.timeout, .duration, .milliseconds(100) ... .seconds(600)),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        var found = commandRules(command, path)
        if command.isEmpty == (url == nil) {
            found.append(path, "must have exactly one of `command` and `url`")
        }
        return found
    }
}

extension RestartHookSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .list("command", \.command, .text, count: 0...64, .length(1...4096)),
            .optional("url", \.url, .text, .webURL),
            .optional("supervisor", \.supervisor, .path, .socketPath),
            .value("timeout", \.timeout, .duration, .milliseconds(100) ... .seconds(3600)),
            .value("readyTimeout", \.readyTimeout, .duration, .seconds(1) ... .seconds(3600)),
            .value("afterFailures", \.afterFailures, .integer, 0...10_000),
            .value("restartsMax", \.restartsMax, .integer, 1...100),
            .value("window", \.window, .duration, .seconds(1) ... .seconds(86_400)),
            .value("coolDown", \.coolDown, .duration, .seconds(1) ... .seconds(86_400)),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        var found = commandRules(command, path)
        let given = [!command.isEmpty, url != nil, supervisor != nil].count { $0 }
        if given != 1 { found.append(path, "must have exactly one of `command`, `url` and `supervisor`") }
        return found
    }
}

/// No shell looks for the program, so its path must be whole.
private func commandRules(_ command: [String], _ path: SettingPath) -> [ConfigProblem] {
    var found: [ConfigProblem] = []
    if let program = command.first, !program.hasPrefix("/") {
        found.append(path.key("command").element(0), "must be the absolute path of a program, is `\(program)`")
    }
    return found
}

extension SettingRule where Value == String {
    /// What libcurl is given.
    static var webURL: Self {
        Self(sentence: "an http:// or https:// URL, at most 2048 bytes") { text in
            let isWeb = text.hasPrefix("http://") || text.hasPrefix("https://")
            return isWeb && text.utf8.count <= 2048 && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
        }
    }
}
