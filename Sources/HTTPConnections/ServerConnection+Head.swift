import GatewayCore
import Reactor
import Wire

extension ServerConnection {
    // The head's facts, one by one.
    public var method: HTTPMethod { head.method }
    public var path: ByteRange { head.path }
    public var framing: BodyFraming { head.framing }
    public var minorVersion: Int { head.minorVersion }
    public var fieldCount: Int { head.fieldCount }
    public func field(_ index: Int) -> HTTPField { head.field(index) }
    /// The value of the first field `id` of the current request.
    public func first(_ id: FieldID) -> ByteRange? { head.first(id) }

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

    package func send(_ text: StaticString) {
        send(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
}
