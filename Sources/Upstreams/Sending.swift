import Balancing
import GatewayCore
import HTTPConnections
import Reactor

/// How far one send has come: what its steps leave for each other while the task is parked.
struct Sending {
    enum Phase { case connecting, writing, awaitingHead, readingWhole, readingError, relaying }

    var phase = Phase.connecting
    /// Set once, at its end.
    var outcome: LoopUpstreams.SendOutcome?
    var connection: ClientConnection?
    var replica: Replica?
    var pool: Pool?
    /// How a stream is continued; nil for one that begins.
    var way: Balancing.ResumeWay?
    /// The moment until which the last step waited has passed.
    var isLate = false
    /// Of the connecting and of a whole reply's body.
    var deadline = Moment.never
    /// Bytes of the request that the replica has taken, and when it last took some.
    var sent = 0
    var tookBytesAt = Moment.zero
    /// When all of the request was sent.
    var sentAt = Moment.zero
    /// What a reply that carries an error asked for.
    var retryAfter: Interval?

    /// No send.
    init() {}

    init(replica: Replica, pool: Pool, way: Balancing.ResumeWay?) {
        self.replica = replica
        self.pool = pool
        self.way = way
    }
}
