/// A parser of outside bytes, and what must hold of it for any bytes at all.
///
/// One executable has all of them (`weir-fuzz`, which libFuzzer drives); a test replays seeds and mutations of them.
enum FuzzTarget: String, CaseIterable, Sendable {
    case requestHead = "request-head"
    case replyHead = "reply-head"
    case chunkedBody = "chunked-body"
    case eventStream = "event-stream"
    case json
    case chatRequest = "chat-request"
    case chatChunk = "chat-chunk"
    case token
    case config

    /// Bytes of an input; longer ones only make the fuzzer slow.
    var bytesMax: Int { self == .config ? 2_048 : 4_096 }

    /// - Throws: the property that `bytes` break.
    func check(_ bytes: [UInt8]) throws(BrokenProperty) {
        switch self {
        case .requestHead: try checkRequestHead(bytes)
        case .replyHead: try checkReplyHead(bytes)
        case .chunkedBody: try checkChunkedBody(bytes)
        case .eventStream: try checkEventStream(bytes)
        case .json: try checkJSON(bytes)
        case .chatRequest: try checkChatRequest(bytes)
        case .chatChunk: try checkChatChunk(bytes)
        case .token: try checkToken(bytes)
        case .config: try checkConfig(bytes)
        }
    }
}

/// What should hold and does not.
struct BrokenProperty: Error, CustomStringConvertible {
    let description: String
}

/// - Throws: `property` unless it holds.
func hold(_ condition: Bool, _ property: @autoclosure () -> String) throws(BrokenProperty) {
    if !condition { throw BrokenProperty(description: property()) }
}

/// The ways in which an input arrives: whole, byte by byte, and cut at places that follow from its content.
enum Arrival: CaseIterable {
    case whole, bytewise, cut

    /// Where the pieces of `bytes` end; the last one ends with the input.
    func ends(of bytes: [UInt8]) -> [Int] {
        switch self {
        case .whole: return [bytes.count]
        case .bytewise: return Array(0...bytes.count)
        case .cut:
            var generator = bytes.generator
            var ends: [Int] = []
            var at = 0
            while at < bytes.count {
                at = min(bytes.count, at + 1 + generator.below(24))
                ends.append(at)
            }
            return ends.isEmpty ? [0] : ends
        }
    }
}
