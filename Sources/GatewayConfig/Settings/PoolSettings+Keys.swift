import GatewayCore

extension PoolSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("name", \.name, .text, .name, isRequired: true),
            .sections("models", \.models, count: 1...256, shorthand: \.name), .choice("policy", \.policy),
            .sections("replicas", \.replicas, count: 1...1000), .section("probe", \.probe), .section("queue", \.queue),
            .section("retry", \.retry), .value("idleConnectionsMax", \.idleConnectionsMax, .integer, 0...10_000),
            .value("resolveInterval", \.resolveInterval, .duration, .zero...Interval.seconds(3600)),
        ]
    }
}

extension ModelSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("name", \.name, .text, .length(1...255), isRequired: true),
            .optional("upstream", \.upstream, .text, .length(1...255)),
            .list("fallback", \.fallback, .text, count: 0...8, .length(1...255)),
        ]
    }
}

extension ReplicaSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("name", \.name, .text, .name, isRequired: true), .value("url", \.url, .replicaURL, isRequired: true),
            .value("weight", \.weight, .integer, 1...1000), .choice("kind", \.kind),
            .value("maxInFlight", \.maxInFlight, .integer, 1...65_535), .value("backup", \.backup, .boolean),
            .optional("apiKeyFile", \.apiKeyFile, .path), .optional("apiKeyEnv", \.apiKeyEnv, .variable),
            .optional("caFile", \.caFile, .path),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        var found: [ConfigProblem] = []
        if apiKeyFile != nil, apiKeyEnv != nil {
            found.append(path.key("apiKeyEnv"), "can't be given beside apiKeyFile")
        }
        if caFile != nil, !url.isTLS { found.append(path.key("caFile"), "is of no use without an https:// url") }
        // It becomes a header field, where a line end would begin another one.
        if let apiKey, !apiKey.bytes.allSatisfy({ (0x21...0x7E).contains($0) }) {
            found.append(
                path.key(apiKeyFile != nil ? "apiKeyFile" : "apiKeyEnv"), "must hold one word of visible ASCII")
        }
        return found
    }
}

extension ProbeSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .optional("path", \.path, .text, .requestPath),
            .value("interval", \.interval, .duration, .milliseconds(50) ... .seconds(3600)),
            .value("timeout", \.timeout, .duration, .milliseconds(10) ... .seconds(60)),
            .value("fall", \.fall, .integer, 1...100), .value("rise", \.rise, .integer, 1...100),
            .value("jitter", \.jitter, .number, 0...0.5), .value("warmUp", \.warmUp, .boolean),
            .value("ramp", \.ramp, .duration, .zero ... .seconds(600)),
            .value("deepInterval", \.deepInterval, .duration, .zero ... .seconds(86_400)),
            .value("deepTimeout", \.deepTimeout, .duration, .milliseconds(100) ... .seconds(600)),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        let duration = SettingFormat.duration
        var found: [ConfigProblem] = []
        if timeout > interval {
            found.append(
                path.key("timeout"),
                "must be at most \(path).interval (\(duration.print(interval))), is \(duration.print(timeout))")
        }
        return found
    }
}

extension QueueSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("length", \.length, .integer, 0...100_000),
            .value("timeout", \.timeout, .duration, .zero ... .seconds(3600)),
        ]
    }
}

extension RetrySettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("replicasMax", \.replicasMax, .integer, 1...4),
            .value("budgetRatio", \.budgetRatio, .number, 0...1),
            .value("budgetPerSecond", \.budgetPerSecond, .integer, 0...100_000),
            .value("resume", \.resume, .boolean),
        ]
    }
}

extension SettingRule where Value == String {
    /// What stands in a request line: begins with a slash, visible ASCII only.
    static var requestPath: Self {
        Self(sentence: "a path that begins with /, of visible ASCII, at most 1024 bytes") { text in
            text.hasPrefix("/") && text.utf8.count <= 1024 && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
        }
    }
}
