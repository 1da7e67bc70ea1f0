/// Why a command has no reply that can be used.
package enum RedisError: Error, Equatable, Sendable {
    /// There is no connection. Nothing was sent.
    case unavailable
    /// Too many commands or bytes are waiting on this connection. Nothing was sent.
    case overloaded
    /// The deadline passed. The command may run nevertheless, now or later.
    case timedOut
    /// The connection ended before the reply came. The command may have run.
    case connectionLost
    /// What came is no RESP2, or longer than we accept; or a script's reply has not the shape that it should have.
    case malformedReply
    /// Redis answered with an error: its text, such as `WRONGTYPE …`.
    case refused(String)

    /// Whether the command may have changed something. If so, only an idempotent one may be sent again.
    package var mayHaveRun: Bool {
        switch self {
        case .unavailable, .overloaded: false
        case .timedOut, .connectionLost, .malformedReply: true
        case .refused: false
        }
    }

    /// The metric label and the log's word: bounded.
    package var label: String {
        switch self {
        case .unavailable: "unavailable"
        case .overloaded: "overloaded"
        case .timedOut: "timed_out"
        case .connectionLost: "connection_lost"
        case .malformedReply: "malformed_reply"
        case .refused: "refused"
        }
    }
}
