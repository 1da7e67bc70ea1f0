import Wire

/// A text that many log lines show, such as a replica's name: as a JSON string, made once.
///
/// - Bound: 256 bytes of the text, cut between characters.
package struct LogText: Sendable {
    /// With its quotes.
    package let json: [UInt8]

    package init(_ text: String) {
        var writer = ByteWriter()
        writer.append(quoted: text.utf8Span.span, limit: Self.bytesMax)
        json = writer.withUnsafeBytes { Array($0) }
    }

    /// Bytes that a line needs for it.
    package var count: Int { json.count }

    /// Bytes of the text before escaping.
    static let bytesMax = 256
}

extension ByteCursor {
    @inline(__always)
    mutating func put(_ text: LogText?) {
        if let text { put(text.json) } else { put("null") }
    }

    /// The text without its quotes, for those that hold nothing that is escaped.
    package mutating func put(unquoted text: LogText) {
        put(text.json.span.extracting(1..<text.json.count - 1))
    }
}
