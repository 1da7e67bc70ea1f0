import Wire

/// A text that many log lines show, such as a replica's name: as JSON, made once.
///
/// - Bound: 256 bytes of each text, cut between characters.
package struct LogText: Sendable {
    let json: ReadyBytes

    /// `text` as a JSON string.
    package init(_ text: String) {
        var writer = ByteWriter()
        writer.append(quoted: text.utf8Span.span, limit: Self.bytesMax)
        json = ReadyBytes(writer.bytes)
    }

    private init(json: StaticString) {
        var writer = ByteWriter()
        writer.append(json)
        self.json = ReadyBytes(writer.bytes)
    }

    /// Where there is nobody to name.
    package static let null = LogText(json: "null")

    /// The two members of a line that say what was asked for: the model as the client wrote it, at most 128 bytes of
    /// it, and the pool that serves it.
    package static func served(model: Span<UInt8>, pool: String) -> LogText {
        var writer = ByteWriter()
        writer.append("\"model\":")
        writer.append(quoted: model, limit: 128)
        writer.append(",\"pool\":")
        writer.append(quoted: pool.utf8Span.span, limit: bytesMax)
        return LogText(writer)
    }

    private init(_ writer: borrowing ByteWriter) { json = ReadyBytes(writer.bytes) }

    /// The same two before anything is known of them.
    package static let unserved = LogText(json: "\"model\":null,\"pool\":null")

    /// Bytes that a line needs for it.
    package var count: Int { json.count }

    /// Bytes of a text before escaping.
    static let bytesMax = 256
}

extension ByteCursor {
    /// The text without its quotes, for those that hold nothing that is escaped.
    package mutating func put(unquoted text: LogText) {
        put(text.json.bytes.extracting(1..<text.count - 1))
    }
}
