/// Everything that can be configured, after the file and the environment are merged, with every default.
///
/// Source: one YAML file and `WEIR_…` variables; docs/config.md lists every key.
package struct GatewaySettings: Equatable, Sendable {
    package var listen = ListenSettings()
    package var admin = AdminSettings()
    package var state = StateSettings()
    package var http = HTTPSettings()
    package var timeouts = TimeoutSettings()
    package var identity = IdentitySettings()
    package var rateLimit = RateLimitSettings()
    package var sessions = SessionSettings()
    /// Absent: no sessions, limits of this process only, keys from the file only.
    package var redis: RedisSettings?
    /// At least one.
    package var pools: [PoolSettings] = []
    package var hooks = HookSettings()
    package var log = LogSettings()

    package init() {}
}

extension GatewaySettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .section("listen", \.listen), .section("admin", \.admin), .section("state", \.state),
            .section("http", \.http), .section("timeouts", \.timeouts), .section("identity", \.identity),
            .section("rateLimit", \.rateLimit), .section("sessions", \.sessions), .optionalSection("redis", \.redis),
            .sections("pools", \.pools, count: 1...256), .section("hooks", \.hooks), .section("log", \.log),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        var found: [ConfigProblem] = []
        if listen.address == admin.address, listen.address.port != 0 {
            // Whichever was changed is the one to blame.
            let isListen = listen.address != ListenSettings().address
            found.append(
                path.key(isListen ? "listen" : "admin").key("address"),
                "must differ from \(isListen ? "admin" : "listen").address")
        }
        if identity.required, identity.apiKeys.isEmpty, identity.jwt.isEmpty, redis == nil {
            found.append(
                path.key("identity").key("required"),
                "must be false, or nobody is let in: there are no apiKeys, no jwt, and no redis that could hold keys")
        }
        return found + uniqueRules(at: path) + modelRules(at: path)
    }

    /// Names of pools, replicas and models stand for one thing each.
    private func uniqueRules(at path: SettingPath) -> [ConfigProblem] {
        var found: [ConfigProblem] = []
        var (poolNames, replicaNames, modelNames) = (UniqueNames(), UniqueNames(), UniqueNames())
        for (index, pool) in pools.enumerated() {
            let path = path.key("pools").element(index)
            poolNames.add(pool.name, path.key("name"), &found)
            for (index, model) in pool.models.enumerated() {
                modelNames.add(model.name, path.key("models").element(index), &found)
            }
            for (index, replica) in pool.replicas.enumerated() {
                replicaNames.add(replica.name, path.key("replicas").element(index).key("name"), &found)
            }
        }
        return found
    }

    /// A key of the file that allows a model nobody serves has a typing error in it.
    private func modelRules(at path: SettingPath) -> [ConfigProblem] {
        let served = pools.flatMap { $0.models.map(\.name) }
        let known = Set(served)
        var found: [ConfigProblem] = []
        for (index, key) in identity.apiKeys.enumerated() {
            let path = path.key("identity").key("apiKeys").element(index).key("models")
            for (index, model) in (key.models ?? []).enumerated() where !known.contains(model) {
                let hint = Suggestion.closest(to: model, among: served).map { "; did you mean `\($0)`?" } ?? ""
                found.append(path.element(index), "no pool serves `\(model)`\(hint)")
            }
        }
        return found + FallbackRules(pools).problems()
    }
}

/// Finds names that are given twice, and says where the first one stands.
struct UniqueNames {
    private var seen: [String: SettingPath] = [:]

    /// Empty names are left out: that they are missing is said elsewhere.
    mutating func add(_ name: String, _ path: SettingPath, _ found: inout [ConfigProblem]) {
        if let first = seen[name], !name.isEmpty {
            found.append(path, "`\(name)` is already used by \(first)")
        } else {
            seen[name] = path
        }
    }
}
