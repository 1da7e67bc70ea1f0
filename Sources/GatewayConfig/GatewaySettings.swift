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
    package var log = LogSettings()

    package init() {}
}
