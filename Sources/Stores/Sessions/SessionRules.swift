import GatewayCore

/// What sessions may use and how long they last. No defaults here: they are the configuration's.
package struct SessionRules: Equatable, Sendable {
    /// What every key begins with.
    package var prefix: String
    /// A session ends this long after its last turn or read.
    package var ttl: Interval
    /// History kept for one session; beyond it the oldest turns go, but see ``turnsKept``.
    package var historyBytesMax: Int
    /// Turns kept at most; nil means as many as the bytes allow.
    package var turnsMax: Int?

    /// Turns that are kept although they are longer than ``historyBytesMax`` together.
    package var turnsKept = 50
    /// Nothing is kept beyond this, whatever ``turnsKept`` says: a history must fit into one reply of Redis.
    package var historyBytesCeiling = 24 << 20
    /// How long a turn holds its session without a sign of life. A running turn renews it; that of a gateway that
    /// crashed lapses.
    package var lease = Interval.seconds(30)
    /// A turn that runs longer is no longer kept alive: it ends by itself, or was forgotten by a bug of ours.
    package var longestTurn = Interval.seconds(3_600)
    /// How long it is known that an expired session was there, counted from its last use.
    package var rememberExpired = Interval.seconds(7 * 86_400)
    /// Longest reply kept to answer a retry with; of a longer one the retry runs again.
    package var replyBytesMax = 2 << 20
    /// One command to Redis, where the caller names no deadline of its own.
    package var commandTimeout: Interval
    /// Requests of one session that wait in this process for their turn.
    package var waitersMax = 32

    package init(prefix: String, ttl: Interval, historyBytesMax: Int, turnsMax: Int?, commandTimeout: Interval) {
        self.prefix = prefix
        self.ttl = ttl
        self.historyBytesMax = historyBytesMax
        self.turnsMax = turnsMax
        self.commandTimeout = commandTimeout
    }
}
