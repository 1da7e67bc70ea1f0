import Wire

/// A text that many log lines show, such as a replica's name: as a JSON string, made once.
///
/// - Bound: 256 bytes of the text, cut between characters.
package struct LogText: Sendable {
    /// With its quotes.
    let json: [UInt8]

    package init(_ text: String) {
        var writer = ByteWriter()
        writer.append(quoted: text.utf8Span.span, limit: Self.bytesMax)
        json = writer.withUnsafeBytes { Array($0) }
    }

    /// Bytes of the text before escaping.
    static let bytesMax = 256
}

extension ByteCursor {
    @inline(__always)
    mutating func put(_ text: LogText?) {
        if let text { put(text.json) } else { put("null") }
    }
}
