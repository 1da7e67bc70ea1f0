import GatewayCore
import Reactor

/// Where Redis is, and what a connection to it may use. No defaults here: they are the configuration's.
package struct RedisConnectionSettings: Sendable {
    /// Tried in this order at every attempt. Names are resolved before, because a loop must not wait for a resolver.
    package var addresses: [SocketAddress]
    package var tls: (context: TLSContext, host: String)?
    package var username: String?
    package var password: String?
    package var database: Int
    /// For the connection, TLS, AUTH, SELECT and PING together.
    package var connectTimeout: Interval
    package var limits = RedisConnectionLimits()

    package init(addresses: [SocketAddress], database: Int, connectTimeout: Interval) {
        self.addresses = addresses
        self.database = database
        self.connectTimeout = connectTimeout
    }
}

/// Bounds of one connection. Beyond them commands fail with ``RedisError/overloaded``.
package struct RedisConnectionLimits: Equatable, Sendable {
    /// Commands without a reply yet.
    package var commandsMax = 4_096
    /// Bytes of commands that the socket has not taken yet.
    package var unsentBytesMax = 64 << 20
    package var reply = RedisReplyLimits()

    package init() {}
}

/// What happened on a connection since it was made.
package struct RedisConnectionCounts: Equatable, Sendable {
    package var commands = 0
    package var failures = 0
    package var timeouts = 0
    /// Connections that came to stand, and those that ended although nobody closed them.
    package var connects = 0
    package var losses = 0

    package init() {}
}
