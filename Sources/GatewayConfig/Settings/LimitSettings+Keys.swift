import GatewayCore

extension RateLimitSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("requests", \.requests, .integer, 1...1_000_000_000),
            .value("window", \.window, .duration, .seconds(1) ... .seconds(86_400)),
            .optionalSection("burst", \.burst), .value("keysMax", \.keysMax, .integer, 1000...10_000_000),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        guard let burst else { return [] }
        let duration = SettingFormat.duration
        let section = path.key("burst")
        var found: [ConfigProblem] = []
        if burst.requests > requests {
            found.append(
                section.key("requests"), "must be at most \(path).requests (\(requests)), is \(burst.requests)")
        }
        if burst.window >= window {
            found.append(
                section.key("window"),
                "must be less than \(path).window (\(duration.print(window))), is \(duration.print(burst.window))")
        }
        return found
    }
}

extension BurstSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("requests", \.requests, .integer, 1...1_000_000_000),
            .value("window", \.window, .duration, .milliseconds(100) ... .seconds(86_400)),
        ]
    }
}

extension SessionSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("prefix", \.prefix, .text, .name),
            .value("ttl", \.ttl, .duration, .seconds(1) ... .seconds(8760 * 3600)),
            .optional("turnsMax", \.turnsMax, .integer, 50...100_000),
            .value("historyBytesMax", \.historyBytesMax, .size, (16 << 10)...(64 << 20)),
            .choice("onUnavailable", \.onUnavailable),
            .value("lockWait", \.lockWait, .duration, .zero ... .seconds(600)),
        ]
    }
}

extension RedisSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("address", \.address, .redisAddress, .redisAddress),
            .optional("username", \.username, .text, .length(1...255)),
            .optional("passwordFile", \.passwordFile, .path),
            .optional("passwordEnv", \.passwordEnv, .variable),
            .value("database", \.database, .integer, 0...1_000_000),
            .value("connectTimeout", \.connectTimeout, .duration, .milliseconds(10) ... .seconds(60)),
            .value("timeout", \.timeout, .duration, .milliseconds(1) ... .seconds(60)),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        var found: [ConfigProblem] = []
        if passwordFile != nil, passwordEnv != nil {
            found.append(path.key("passwordEnv"), "can't be given beside passwordFile")
        }
        if username != nil, passwordFile == nil, passwordEnv == nil {
            found.append(path.key("username"), "needs passwordFile or passwordEnv")
        }
        return found
    }
}

extension SettingFormat where Value == RedisSettings.Address {
    static var redisAddress: Self {
        Self("Redis address", isQuoted: true) { text, directory throws(BadValue) in
            if text.hasPrefix("unix:") {
                let path = try SettingFormat<String>.path.parse(String(text.dropFirst(5)), directory)
                if !path.isEmpty { return .unix(path: path) }
            }
            do {
                return .tcp(try SettingFormat<HostPort>.hostPort.parse(text, directory))
            } catch {
                // What has an @ may have a password before it.
                throw BadValue("host:port or unix:/path\(text.contains("@") ? "" : ", is `\(text)`")")
            }
        } print: { address in
            switch address {
            case .tcp(let address): SettingFormat<HostPort>.hostPort.print(address)
            case .unix(let path): "unix:\(path)"
            }
        }
    }
}

extension SettingRule where Value == RedisSettings.Address {
    static var redisAddress: Self {
        Self(sentence: "host:port with a port above 0, or unix: with a path of at most 107 bytes") { address in
            switch address {
            case .tcp(let address): address.port > 0
            case .unix(let path): SettingRule<String>.socketPath.allows(path)
            }
        }
    }
}

extension LogSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("access", \.access, .logTarget), .choice("level", \.level),
            .value("bufferBytes", \.bufferBytes, .size, (64 << 10)...(256 << 20)),
        ]
    }
}

extension SettingFormat where Value == LogSettings.Target {
    static var logTarget: Self {
        Self("stdout, stderr, off or path", isQuoted: true) { text, directory throws(BadValue) in
            switch text {
            case "stdout": return .stdout
            case "stderr": return .stderr
            case "off": return .off
            case "": throw BadValue("stdout, stderr, off or a path")
            default: return .file(path: try SettingFormat<String>.path.parse(text, directory))
            }
        } print: { target in
            switch target {
            case .stdout: "stdout"
            case .stderr: "stderr"
            case .off: "off"
            case .file(let path): path
            }
        }
    }
}
