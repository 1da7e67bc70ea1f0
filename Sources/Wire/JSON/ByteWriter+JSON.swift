/// JSON written front to back, without a tree: commas are put where the byte before says that one is due.
///
///     writer.openObject()
///     writer.member("id", string: id)
///     writer.member("data")
///     writer.openArray()
///     …
///     writer.closeArray()
///     writer.closeObject()
///
/// A frame that ends in a bracket, colon or comma directly before the document would be mistaken for an open one;
/// none of ours does.
extension ByteWriter {
    package mutating func openObject() {
        element()
        append(UInt8(ascii: "{"))
    }
    package mutating func closeObject() { append(UInt8(ascii: "}")) }
    package mutating func openArray() {
        element()
        append(UInt8(ascii: "["))
    }
    package mutating func closeArray() { append(UInt8(ascii: "]")) }

    /// A comma, if a value was completed just before, in the same array or object.
    package mutating func element() {
        guard count > 0 else { return }
        switch bytes[count - 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "}"), UInt8(ascii: "]"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "e"), UInt8(ascii: "l"):
            append(UInt8(ascii: ","))
        default:
            break
        }
    }

    /// A member's name; its value comes next. - Precondition: the name needs no escape.
    package mutating func member(_ name: StaticString) {
        element()
        append(UInt8(ascii: "\""))
        append(name)
        append("\":")
    }

    package mutating func member(_ name: StaticString, string: String) {
        member(name)
        append(jsonString: string)
    }
    /// `nil` is written as `null`.
    package mutating func member(_ name: StaticString, string: String?) {
        member(name)
        if let string { append(jsonString: string) } else { append("null") }
    }
    package mutating func member(_ name: StaticString, number: Int) {
        member(name)
        append(decimal: number)
    }
    package mutating func member(_ name: StaticString, number: Double) {
        member(name)
        append(json: number)
    }
    package mutating func member(_ name: StaticString, bool: Bool) {
        member(name)
        append(bool ? "true" : "false")
    }
    /// `json` is a complete value already.
    package mutating func member(_ name: StaticString, json: borrowing Span<UInt8>) {
        member(name)
        append(json)
    }

    /// The shortest digits that give `value` back; `null` when it is not finite, which JSON can't say.
    package mutating func append(json value: Double) {
        append(value.isFinite ? value.description : "null")
    }

    /// `text` in quotes, escaped.
    package mutating func append(jsonString text: String) {
        var text = text
        append(UInt8(ascii: "\""))
        text.withUTF8 { append(jsonEscaped: $0.span) }
        append(UInt8(ascii: "\""))
    }

    /// `bytes` in quotes, escaped.
    package mutating func append(jsonString bytes: Span<UInt8>) {
        append(UInt8(ascii: "\""))
        append(jsonEscaped: bytes)
        append(UInt8(ascii: "\""))
    }

    /// `bytes` as they stand between a JSON string's quotes. What is not UTF-8 becomes U+FFFD.
    package mutating func append(jsonEscaped bytes: Span<UInt8>) {
        reserve(bytes.count)
        var start = 0
        var index = 0
        while true {
            index = JSONStringSearch.firstSpecial(in: bytes, from: index)
            guard index < bytes.count else { break }
            let byte = bytes[index]
            if byte >= 0x80 {
                let length = bytes.withUnsafeBufferPointer { JSONText.lengthOfCharacter($0, at: index) }
                if length == 0 {
                    append(bytes.extracting(start..<index))
                    append("\u{FFFD}")
                    start = index + 1
                }
                index += max(1, length)
                continue
            }
            append(bytes.extracting(start..<index))
            appendEscape(of: byte)
            index += 1
            start = index
        }
        append(bytes.extracting(start..<bytes.count))
    }

    private mutating func appendEscape(of byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): append("\\\"")
        case UInt8(ascii: "\\"): append("\\\\")
        case 0x08: append("\\b")
        case 0x0C: append("\\f")
        case 0x0A: append("\\n")
        case 0x0D: append("\\r")
        case 0x09: append("\\t")
        default:
            append("\\u")
            append(hex: UInt64(byte), digits: 4)
        }
    }
}
