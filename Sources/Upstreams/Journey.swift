import Balancing
import GatewayCore
import HTTPConnections

/// One request's way to an answer: its ``Attempt``, where it is, and what of the answer is held.
///
/// Each ``UpstreamCall`` has one, and uses it again for its next request.
/// - Isolation: its loop.
final class Journey {
    /// From the first pick to the result.
    var isUnderWay = false
    var attempt = Attempt(.whole, settings: AttemptSettings(sendsMax: 1, waitMax: .zero), deadline: .zero)
    /// What the machine said last, and what is to be done next.
    var action = Attempt.Action.proceed
    /// The request's pool. Stays from one request to the next: it is nearly always the same.
    private(set) var route: Route?
    /// To the replica that the request went to last.
    var link: Link?
    /// It is there now.
    var isAtReplica = false
    /// What the send that is under way goes out on; afterwards what a whole reply lies in.
    var connection: ClientConnection?
    /// What of the answer is held back, or was sent.
    var kept = Kept.nothing
    /// A reply that is no success: the last one.
    var refusal: Refusal?
    /// Whose token ids the answer has.
    var idsKind: ReplicaKind?
    /// Continuations that a replica failed at, rather than turned down: at most one a send.
    var failures: [(replica: ReplicaState, way: Balancing.ResumeWay)] = []
    /// What the wait in the queue came to, until it is made use of.
    var placeInQueue: Picked?

    enum Kept {
        case nothing
        /// A whole reply lies in ``connection``.
        case whole
        /// The stream went to the client and is complete but for its end.
        case streamed
        /// ``refusal`` is all there is.
        case refused
    }

    struct Refusal {
        var status: Int
        var body: [UInt8]
        var retryAfter: Interval?
    }

    /// Where a request goes next. The replica's place is taken.
    enum Picked {
        case replica(Int)
        case noneLeft(coolAt: Moment?)
    }

    /// It has met no replica yet, so there is none to be left out.
    var isFirstSend: Bool { attempt.sends == 0 && !attempt.hasContent }

    /// Sets out on another request. Its ``attempt`` and ``action`` are to be set.
    func begin(on route: Route) {
        if self.route !== route { self.route = route }
        isUnderWay = true
        kept = .nothing
        idsKind = nil
        placeInQueue = nil
        if refusal != nil { refusal = nil }
        if !failures.isEmpty { failures = [] }
    }

    /// Goes on in another route, in which the replicas have other places.
    func turn(to route: Route) {
        guard let before = self.route?.pool.replicas else { return }
        let pool = route.pool
        func place(_ index: Int) -> Int? { pool.find(before[index])?.index }
        self.route = route
        attempt.renumber(place)
    }

    /// The next request finds its route anew.
    func forgetRoute() {
        route = nil
        forget()
    }

    /// What was received of the answer is of no use any more.
    func forget() {
        if link != nil { link = nil }
        if connection != nil { connection = nil }
    }
}
