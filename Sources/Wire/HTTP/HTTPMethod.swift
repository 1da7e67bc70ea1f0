/// What a request asks for.
///
/// Methods are case-sensitive: `get` is ``other``, and so is every extension method.
/// Source: RFC 9110 §9.
public enum HTTPMethod: UInt8, BitwiseCopyable, Sendable, CaseIterable {
    case get, head, post, put, delete, options, patch, other

    /// As it stands in a request line; empty for ``other``, whose text only the head knows.
    package var text: StaticString {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .options: "OPTIONS"
        case .patch: "PATCH"
        case .other: ""
        }
    }

    // Asked for here and not compared where they are needed, because `==` of an enum of another module is a call.

    public var isHead: Bool { if case .head = self { true } else { false } }
    public var isPost: Bool { if case .post = self { true } else { false } }
    public var isDelete: Bool { if case .delete = self { true } else { false } }
    public var isOptions: Bool { if case .options = self { true } else { false } }
    /// GET or HEAD: it changes nothing.
    public var isRead: Bool {
        switch self {
        case .get, .head: true
        default: false
        }
    }

    init(_ bytes: Span<UInt8>, _ range: Range<Int>) {
        let start = range.lowerBound
        switch range.count {
        case 3: self = bytes.holds("GET", at: start) ? .get : bytes.holds("PUT", at: start) ? .put : .other
        case 4: self = bytes.holds("POST", at: start) ? .post : bytes.holds("HEAD", at: start) ? .head : .other
        case 5: self = bytes.holds("PATCH", at: start) ? .patch : .other
        case 6: self = bytes.holds("DELETE", at: start) ? .delete : .other
        case 7: self = bytes.holds("OPTIONS", at: start) ? .options : .other
        default: self = .other
        }
    }
}

/// What bounds a head. The values come from the configuration.
package struct HeadLimits: Equatable, Sendable {
    /// From the first byte, empty lines in front included, to the end of the empty line behind the fields. More is 431.
    package var headBytes: Int
    /// The request line or status line without its line end. More is 414.
    package var requestLineBytes: Int
    /// Field lines. More is 431.
    package var fields: Int

    package init(headBytes: Int, requestLineBytes: Int, fields: Int) {
        self.headBytes = headBytes
        self.requestLineBytes = requestLineBytes
        self.fields = fields
    }
}

/// How the bytes behind a head are counted.
///
/// Source: RFC 9112 §6.3.
public enum BodyFraming: Equatable, BitwiseCopyable, Sendable {
    case none
    /// `Content-Length`: that many bytes; may be zero.
    case length(Int)
    case chunked
    /// Replies only: the body ends where the connection does.
    case untilClose

    /// Nothing follows the head, whether it says so or not.
    public var isEmpty: Bool {
        switch self {
        case .none, .length(0): true
        default: false
        }
    }
}

/// How far the head at hand has come.
package enum HeadProgress: Equatable, Sendable {
    /// More bytes are needed; those seen so far are not searched again.
    case incomplete
    /// The body, or the next message, begins at `end`.
    case complete(end: Int)
}
