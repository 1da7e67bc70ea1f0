import GatewayCore
import Reactor

extension ServerConnection {
    /// What there is of the next request's head.
    package enum HeadLook {
        case complete
        case incomplete(until: Moment)
        /// The client left, nothing came in time, or the connection drains.
        case over
    }

    /// Waits for the next request's head.
    ///
    /// - Returns: false when the connection is over: the client left, nothing came in time, or it drains.
    /// - Throws: `.malformedRequest`, `.headTooLarge`, `.targetTooLong` (400, 431, 414), `.headTimeout` (408): answer,
    ///   then close.
    package func receiveHead() async throws(GatewayError) -> Bool {
        expectRequest()
        while true {
            switch try lookForHead() {
            case .complete: return true
            case .over: return false
            case .incomplete(let until): _ = await parking.park(until: until)
            }
        }
    }
}
