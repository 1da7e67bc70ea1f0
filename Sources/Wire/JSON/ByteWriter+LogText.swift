extension ByteWriter {
    /// Appends `text` as a JSON string, at most `limit` bytes of it, cut between characters.
    package mutating func append(quoted text: Span<UInt8>, limit: Int) {
        guard text.count > limit else { return append(jsonString: text) }
        var end = limit
        while end > max(0, limit - 3), text[end] & 0xC0 == 0x80 { end -= 1 }
        append(jsonString: text.extracting(0..<end))
    }

    /// The same for text of ours, which is short unless an operator made it long.
    package mutating func append(quoted text: String, limit: Int = 256) {
        guard text.utf8.count > limit else { return append(jsonString: text) }
        append(quoted: text.utf8Span.span, limit: limit)
    }
}
