import Balancing
import GatewayCore

/// How far one send has come: what its steps leave for each other while the task is parked.
struct Sending {
    enum Phase { case connecting, writing, awaitingHead, readingWhole, readingError, relaying }

    var phase = Phase.connecting
    /// How a stream is continued; nil for one that begins.
    var way: Balancing.ResumeWay?
    /// The moment until which the last step waited has passed.
    var isLate = false
    /// Of the connecting; later of the reply's head, and of its body if it is read whole.
    var deadline = Moment.never
    /// Until when a replica that is down and silent may give a sign of life; `.never` for all others.
    var panicEnd = Moment.never
    /// Bytes of the request that the replica has taken, and when it last took some.
    var sent = 0
    var tookBytesAt = Moment.zero
    /// When all of the request was sent.
    var sentAt = Moment.zero
    /// What a reply that carries an error asked for.
    var retryAfter: Interval?

    init(way: Balancing.ResumeWay?) { self.way = way }
}
