import Wire

/// A text that many log lines show, such as a replica's name: as JSON, made once.
///
/// - Bound: 256 bytes of each text, cut between characters.
package struct LogText: Sendable {
    package let json: ReadyBytes

    /// `text` as a JSON string.
    package init(_ text: String) {
        var writer = ByteWriter()
        writer.append(quoted: text.utf8Span.span, limit: Self.bytesMax)
        json = ReadyBytes(writer.bytes)
    }

    /// The members of a line that say what was asked for.
    ///
    /// - Parameter path: from a fixed list such as `chat_completions`; never the URL.
    /// - Parameter model: as the client wrote it, at most 128 bytes of it, and the pool that serves it; nil before
    ///   that is known.
    package init(method: StaticString, path: StaticString, model: (name: [UInt8], pool: String)?) {
        var writer = ByteWriter()
        writer.append(",\"method\":\"")
        writer.append(method)
        writer.append("\",\"path\":\"")
        writer.append(path)
        writer.append("\",\"model\":")
        if let model {
            writer.append(quoted: model.name.span, limit: 128)
            writer.append(",\"pool\":")
            writer.append(quoted: model.pool.utf8Span.span, limit: Self.bytesMax)
        } else {
            writer.append("null,\"pool\":null")
        }
        json = ReadyBytes(writer.bytes)
    }

    private init(json: StaticString) {
        var writer = ByteWriter()
        writer.append(json)
        self.json = ReadyBytes(writer.bytes)
    }

    /// Where there is nobody to name.
    package static let null = LogText(json: "null")

    /// Bytes that a line needs for it.
    package var count: Int { json.count }

    /// Bytes of a text before escaping.
    static let bytesMax = 256
}
