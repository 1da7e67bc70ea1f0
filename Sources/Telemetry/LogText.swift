import Wire

extension ByteWriter {
    /// Appends `text` as a JSON string with its quotes, at most `limit` bytes of it; invalid UTF-8 is repaired.
    ///
    /// - Cost: one pass, copied in runs; only bytes that need escaping or repair cost more.
    mutating func append(quoted text: Span<UInt8>, limit: Int = 256) {
        let shown = text.count > limit ? text.extracting(0..<Self.characterBoundary(in: text, before: limit)) : text
        append(0x22)
        var start = 0
        var index = 0
        var hasHighBytes = false
        while index < shown.count {
            let byte = shown[index]
            if byte < 0x20 || byte == 0x22 || byte == 0x5C || byte == 0x7F {
                append(shown.extracting(start..<index))
                append(escaped: byte)
                start = index + 1
            } else if byte >= 0x80 {
                hasHighBytes = true
                break
            }
            index += 1
        }
        append(shown.extracting(start..<index))
        if hasHighBytes { append(repaired: shown.extracting(index..<shown.count)) }
        append(0x22)
    }

    mutating func append(quoted text: String, limit: Int = 256) {
        append(quoted: text.utf8Span.span, limit: limit)
    }

    /// Text with bytes above ASCII: rare in a log line, so it may allocate.
    private mutating func append(repaired text: Span<UInt8>) {
        for byte in text.text.utf8 {
            if byte < 0x20 || byte == 0x22 || byte == 0x5C || byte == 0x7F { append(escaped: byte) } else { append(byte) }
        }
    }

    private mutating func append(escaped byte: UInt8) {
        switch byte {
        case 0x22: append("\\\"")
        case 0x5C: append("\\\\")
        case 0x0A: append("\\n")
        default:
            append("\\u")
            append(hex: UInt64(byte), digits: 4)
        }
    }

    /// The last place at or before `limit` that is not inside a character.
    private static func characterBoundary(in text: Span<UInt8>, before limit: Int) -> Int {
        var place = limit
        while place > max(0, limit - 3), text[place] & 0xC0 == 0x80 { place -= 1 }
        return place
    }
}
