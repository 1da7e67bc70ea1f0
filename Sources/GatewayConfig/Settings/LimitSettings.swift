import GatewayCore

/// The `rateLimit` section: the budget of a caller that names none of its own.
package struct RateLimitSettings: Equatable, Sendable {
    /// Requests in any window. Default 600; 1 to 1000000000.
    package var requests = 600
    /// Length of the window. Default 1m; 1s to 24h.
    package var window = Interval.seconds(60)
    /// A second, shorter limit. Default none.
    package var burst: BurstSettings?
    /// Callers counted at once; the one unseen longest makes room. Default 1000000; 1000 to 10000000.
    package var keysMax = 1_000_000

    package init() {}
}

/// The `rateLimit.burst` section.
package struct BurstSettings: Equatable, Sendable {
    /// Requests in any short window. Default 20; 1 to `rateLimit.requests`.
    package var requests = 20
    /// Length of the short window. Default 1s; 100ms to less than `rateLimit.window`.
    package var window = Interval.seconds(1)

    package init() {}
}

/// The `sessions` section; without `redis` there are none.
package struct SessionSettings: Equatable, Sendable {
    package enum Unavailable: String, CaseIterable, Sendable {
        /// Answer without the history and say so in a header.
        case degrade
        /// 503.
        case refuse
    }

    /// What every Redis key begins with. Default weir; 1 to 64 of `[A-Za-z0-9._-]`.
    package var prefix = "weir"
    /// A session ends this long after its last turn. Default 1h; 1s to 8760h.
    package var ttl = Interval.seconds(3600)
    /// Turns kept at most; `nil` means as many as `historyBytesMax` holds. Default none; 50 to 100000.
    package var turnsMax: Int?
    /// History kept for one session; the oldest turns go first. Default 1MiB; 16KiB to 64MiB.
    package var historyBytesMax = 1 << 20
    /// What happens while Redis is away. Default degrade; degrade or refuse.
    package var onUnavailable = Unavailable.degrade
    /// How long a turn waits for the one before it. Default 5s; 0s to 10m.
    package var lockWait = Interval.seconds(5)

    package init() {}
}

/// The `redis` section.
package struct RedisSettings: Equatable, Sendable {
    package enum Address: Equatable, Sendable {
        case tcp(HostPort)
        case unix(path: String)
    }

    /// `host:port` or `unix:/path`. Default 127.0.0.1:6379.
    package var address = Address.tcp(HostPort("127.0.0.1", 6379))
    /// ACL user. Default none.
    package var username: String?
    /// File or environment variable that holds the password; at most one of them. Default none.
    package var passwordFile: String?
    package var passwordEnv: String?
    /// The password, wherever it came from (filled in when settings are loaded).
    package var password: Secret?
    /// Number of the database. Default 0; 0 to 1000000.
    package var database = 0
    /// Connecting, AUTH included. Default 1s; 10ms to 1m.
    package var connectTimeout = Interval.seconds(1)
    /// One command. Default 250ms; 1ms to 1m.
    package var timeout = Interval.milliseconds(250)

    package init() {}
}

/// The `log` section.
package struct LogSettings: Equatable, Sendable {
    package enum Target: Equatable, Sendable {
        case stdout, stderr, off
        case file(path: String)
    }
    package enum Level: String, CaseIterable, Sendable, Comparable {
        case debug, info, warning, error

        package static func < (left: Level, right: Level) -> Bool { left.severity < right.severity }

        private var severity: Int {
            switch self {
            case .debug: 0
            case .info: 1
            case .warning: 2
            case .error: 3
            }
        }
    }

    /// Where the access log goes: `stdout`, `stderr`, `off` or a file. Default stdout.
    package var access = Target.stdout
    /// Least severe message that is written. Default info; debug, info, warning or error.
    package var level = Level.info
    /// Log lines each loop may have waiting; what comes on top is dropped and counted. Default 1MiB; 64KiB to 256MiB.
    package var bufferBytes = 1 << 20

    package init() {}
}
