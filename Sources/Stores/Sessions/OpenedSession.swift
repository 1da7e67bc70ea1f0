import GatewayCore

/// What a request says about itself, so that its repetition can be told from a new turn.
package struct TurnSign: Equatable, Sendable {
    /// The client's `Idempotency-Key`, if it sent one; at most 255 bytes count.
    package var idempotencyKey: String?
    /// ``MessageRun/digest`` of the request's messages.
    package var digest: String
    /// Whether the client says that this is a repetition (`x-stainless-retry-count` above 0).
    package var isRetry: Bool

    package init(idempotencyKey: String? = nil, digest: String, isRetry: Bool = false) {
        self.idempotencyKey = idempotencyKey
        self.digest = digest
        self.isRetry = isRetry
    }
}

/// What opening a session came to.
package enum SessionOpening {
    /// The turn may run; end it with `append` or `release`.
    case opened(OpenedSession)
    /// The client repeats a turn that is finished: this is what was answered, as `append` was given it.
    case replay(reply: [UInt8], turnNumber: Int)
}

/// A session whose turn is running: what was said before, and the right to append.
///
/// - Isolation: the loop of its store.
/// - Owns: the session's lock, in this process and in Redis, until the turn ends.
package final class OpenedSession {
    package let id: SessionID
    package let turn: TurnID
    /// This turn's number, from 1; turns that were dropped since are counted.
    package let turnNumber: Int
    /// The session had expired, so this turn begins it anew.
    package let startedAnew: Bool
    /// Messages of the turns before, the system's first: JSON objects with commas between them.
    package let history: [UInt8]
    /// What each of those messages says.
    package let fingerprints: [MessageFingerprint]
    let systemCount: Int
    /// Whether old turns were dropped.
    package let isTrimmed: Bool
    /// Whether another turn has taken the session, because this one's sign of life did not come through.
    package internal(set) var isLost = false

    let place: TurnQueue.Place
    let opened: Moment
    /// When the lease was taken or renewed.
    var renewed: Moment
    var hasEnded = false

    init(
        id: SessionID, turn: TurnID, turnNumber: Int, startedAnew: Bool, history: [UInt8],
        fingerprints: [MessageFingerprint], systemCount: Int, isTrimmed: Bool, place: TurnQueue.Place, renewed: Moment
    ) {
        self.id = id
        self.turn = turn
        self.turnNumber = turnNumber
        self.startedAnew = startedAnew
        self.history = history
        self.fingerprints = fingerprints
        self.systemCount = systemCount
        self.isTrimmed = isTrimmed
        self.place = place
        opened = renewed
        self.renewed = renewed
    }

    /// How many of the client's messages are in the history already, and whether they are all of it.
    ///
    /// Send the replica the history followed by the others; if they are all of it, the client's own messages will do.
    package func known(of messages: MessageRun) -> (count: Int, isWholeHistory: Bool) {
        messages.known(in: fingerprints, historySystemCount: systemCount, isTrimmed: isTrimmed)
    }
}

/// Why a session can't be used now.
package enum SessionProblem: Error, Equatable, Sendable {
    /// There is no such session, or it is another owner's.
    case notFound
    /// Another turn is running and did not end in time.
    case busy
    /// Redis is away, too slow, or refuses. The label is the metric's.
    case unavailable(String)
}

/// Whether a turn is in the history.
package enum TurnOutcome: Equatable, Sendable {
    /// Exactly once, as turn number `turnNumber`.
    case stored(turnNumber: Int)
    /// Not: another turn took the session meanwhile, or the session was deleted.
    case lost
    /// Perhaps not: Redis did not say so in time. The label is the metric's.
    case unknown(String)
}
