/// What Redis answered (RESP2).
///
/// Source: Redis documentation, "Redis serialization protocol specification".
package indirect enum RedisReply: Equatable, Sendable {
    /// A simple string, such as `OK`.
    case status(String)
    /// An error inside an array; one that is a whole reply is thrown as ``RedisError/refused(_:)``.
    case error(String)
    case integer(Int64)
    case bulk([UInt8])
    case null
    case array([RedisReply])

    /// The bytes of a bulk string.
    package var bytes: [UInt8]? {
        if case .bulk(let bytes) = self { bytes } else { nil }
    }

    /// A bulk string or a status as text; invalid UTF-8 is repaired.
    package var text: String? {
        switch self {
        case .bulk(let bytes): String(decoding: bytes, as: UTF8.self)
        case .status(let text): text
        default: nil
        }
    }

    /// An integer, or a bulk string that holds one.
    package var integer: Int64? {
        switch self {
        case .integer(let value): value
        case .bulk(let bytes): Int64(String(decoding: bytes, as: UTF8.self))
        default: nil
        }
    }

    package var elements: [RedisReply]? {
        if case .array(let elements) = self { elements } else { nil }
    }
}
