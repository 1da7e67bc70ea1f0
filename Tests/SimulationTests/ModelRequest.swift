import Balancing
import GatewayCore

/// How a request ended.
enum Outcome: Equatable {
    case served
    case finishedLength
    case passedOn
    case failed(GatewayError)
    case clientLeft
}

/// One request of a modelled client: an answer of `length` tokens, one every 20 ms.
struct ModelRequest {
    static let tokenTime = Interval.milliseconds(20)

    let began: Moment
    let length: Int
    let isStream: Bool
    /// Whose request it is: callers take turns in the queue.
    let caller: Int
    var attempt: Attempt
    var outcome: Outcome?
    /// Counts sends, so that what belongs to an earlier one is recognised.
    var round = 0
    /// Tokens that the client had before this send, and when this send's first one came.
    var tokensBefore = 0
    var contentAt: Moment?
    /// The budget said no: the request may fail.
    var wasRefusedRetry = false
    /// What it waits to choose by, while all replicas are full.
    var pending: Attempt.Action?
    var ticket: FairQueue<Int>.Ticket?
    /// Replicas that kept it waiting too long, could not be reached or refused it.
    var gaveUp = ReplicaSet()
    var story: [String] = []

    func tokens(at now: Moment) -> Int {
        guard let contentAt else { return tokensBefore }
        let more = (now - contentAt).nanoseconds / Self.tokenTime.nanoseconds + 1
        return min(length, tokensBefore + Int(more))
    }
}
