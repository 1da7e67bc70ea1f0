/// What the raw bytes between a JSON string's quotes mean.
///
/// The raw bytes come from a document that ``JSONScanner`` has accepted; a lone surrogate becomes U+FFFD.
package enum JSONText {
    /// Appends the meaning of `raw` to `writer`. Output is never longer than `raw`.
    package static func unescape(_ raw: Span<UInt8>, into writer: inout ByteWriter) {
        writer.reserve(raw.count)
        var reader = UnescapedBytes(raw)
        var start = 0
        while start < raw.count {
            var end = start
            while end < raw.count, raw[end] != UInt8(ascii: "\\") { end += 1 }
            writer.append(raw.extracting(start..<end))
            guard end < raw.count else { return }
            reader.at = end
            repeat {
                guard let byte = reader.next() else { return }
                writer.append(byte)
            } while reader.isInsideCharacter
            start = reader.at
        }
    }

    /// The meaning of `raw` as a string. Allocates unless it is short.
    package static func text(_ raw: Span<UInt8>) -> String {
        var writer = ByteWriter(capacity: raw.count)
        unescape(raw, into: &writer)
        return writer.bytes.text
    }

    /// Whether `raw` means exactly `text`.
    package static func equals(_ raw: Span<UInt8>, _ text: StaticString) -> Bool {
        var reader = UnescapedBytes(raw)
        var index = 0
        while let byte = reader.next() {
            guard index < text.utf8CodeUnitCount, text.utf8Start[index] == byte else { return false }
            index += 1
        }
        return index == text.utf8CodeUnitCount
    }

    /// Whether two raw strings, escaped differently perhaps, mean the same.
    package static func equal(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
        var left = UnescapedBytes(left)
        var right = UnescapedBytes(right)
        while true {
            let (one, other) = (left.next(), right.next())
            guard one == other else { return false }
            if one == nil { return true }
        }
    }

    /// Whether `raw` ends in a true, non-empty prefix of `other`: perhaps the rest of it was on the way. Both are raw
    /// and may be escaped differently.
    ///
    /// - Cost: unescapes both; O(raw + other²).
    package static func ends(_ raw: Span<UInt8>, inPrefixOf other: Span<UInt8>) -> Bool {
        var text = ByteWriter()
        unescape(raw, into: &text)
        var wanted = ByteWriter()
        unescape(other, into: &wanted)
        return text.withUnsafeBytes { text in
            wanted.withUnsafeBytes { wanted in
                (1..<max(1, wanted.count)).contains { length in
                    length <= text.count && text.suffix(length).elementsEqual(wanted.prefix(length))
                }
            }
        }
    }

    /// The UTF-16 code unit of the escape `\uXXXX` whose backslash is at `index`; `nil` if there is none.
    static func codeUnit(in bytes: Span<UInt8>, at index: Int) -> UInt32? {
        guard index + 6 <= bytes.count, bytes[index] == UInt8(ascii: "\\"), bytes[index + 1] == UInt8(ascii: "u")
        else { return nil }
        var unit: UInt32 = 0
        var place = index + 2
        while place < index + 6 {
            let byte = bytes[place]
            let folded = byte | 0x20
            if byte &- UInt8(ascii: "0") < 10 {
                unit = unit << 4 | UInt32(byte &- UInt8(ascii: "0"))
            } else if folded &- UInt8(ascii: "a") < 6 {
                unit = unit << 4 | UInt32(folded &- UInt8(ascii: "a") + 10)
            } else {
                return nil
            }
            place += 1
        }
        return unit
    }

    /// Bytes of the UTF-8 character that starts at `at`; 0 when it is not valid.
    ///
    /// Source: Unicode 16, table 3-7 (well-formed UTF-8 byte sequences).
    static func lengthOfCharacter(_ buffer: UnsafeBufferPointer<UInt8>, at: Int) -> Int {
        let lead = buffer[at]
        let left = buffer.count - at
        func isContinuation(_ offset: Int) -> Bool { buffer[at + offset] & 0xC0 == 0x80 }
        switch lead {
        case 0..<0x80:
            return 1
        case 0xC2...0xDF:
            return left >= 2 && isContinuation(1) ? 2 : 0
        case 0xE0...0xEF:
            guard left >= 3, isContinuation(1), isContinuation(2) else { return 0 }
            if lead == 0xE0, buffer[at + 1] < 0xA0 { return 0 }
            if lead == 0xED, buffer[at + 1] > 0x9F { return 0 }
            return 3
        case 0xF0...0xF4:
            guard left >= 4, isContinuation(1), isContinuation(2), isContinuation(3) else { return 0 }
            if lead == 0xF0, buffer[at + 1] < 0x90 { return 0 }
            if lead == 0xF4, buffer[at + 1] > 0x8F { return 0 }
            return 4
        default:
            return 0
        }
    }
}

/// The meaning of a raw string, byte by byte.
struct UnescapedBytes: ~Escapable {
    let raw: Span<UInt8>
    var at = 0
    /// The rest of a character that an escape stood for, first byte lowest.
    private var pending: UInt32 = 0

    @_lifetime(copy raw)
    init(_ raw: Span<UInt8>) { self.raw = raw }

    var isInsideCharacter: Bool { pending != 0 }

    mutating func next() -> UInt8? {
        if pending != 0 {
            let byte = UInt8(truncatingIfNeeded: pending)
            pending >>= 8
            return byte
        }
        guard at < raw.count else { return nil }
        let byte = raw[at]
        at += 1
        guard byte == UInt8(ascii: "\\"), at < raw.count else { return byte }
        let letter = raw[at]
        at += 1
        switch letter {
        case UInt8(ascii: "b"): return 0x08
        case UInt8(ascii: "f"): return 0x0C
        case UInt8(ascii: "n"): return 0x0A
        case UInt8(ascii: "r"): return 0x0D
        case UInt8(ascii: "t"): return 0x09
        case UInt8(ascii: "u"): return startOfEscapedCharacter()
        default: return letter
        }
    }

    /// `at` is behind the `u`.
    private mutating func startOfEscapedCharacter() -> UInt8 {
        var scalar = JSONText.codeUnit(in: raw, at: at - 2) ?? 0xFFFD
        at = min(at + 4, raw.count)
        if scalar & 0xF800 == 0xD800 {
            if scalar < 0xDC00, let low = JSONText.codeUnit(in: raw, at: at), low & 0xFC00 == 0xDC00 {
                scalar = 0x10000 + ((scalar & 0x3FF) << 10 | low & 0x3FF)
                at += 6
            } else {
                scalar = 0xFFFD
            }
        }
        if scalar < 0x80 { return UInt8(truncatingIfNeeded: scalar) }
        if scalar < 0x800 {
            pending = 0x80 | scalar & 0x3F
            return UInt8(truncatingIfNeeded: 0xC0 | scalar >> 6)
        }
        if scalar < 0x10000 {
            pending = (0x80 | scalar >> 6 & 0x3F) | (0x80 | scalar & 0x3F) << 8
            return UInt8(truncatingIfNeeded: 0xE0 | scalar >> 12)
        }
        pending = (0x80 | scalar >> 12 & 0x3F) | (0x80 | scalar >> 6 & 0x3F) << 8 | (0x80 | scalar & 0x3F) << 16
        return UInt8(truncatingIfNeeded: 0xF0 | scalar >> 18)
    }
}

extension JSONString {
    /// Whether the string means exactly `text`. - Precondition: it was read from `document`.
    package func equals(_ text: StaticString, in document: Span<UInt8>) -> Bool {
        let bytes = document.extracting(raw)
        return hasEscapes ? JSONText.equals(bytes, text) : bytes.equals(text)
    }

    /// What the string means. Allocates unless it is short.
    package func text(in document: Span<UInt8>) -> String {
        let bytes = document.extracting(raw)
        return hasEscapes ? JSONText.text(bytes) : bytes.text
    }
}

extension JSONNumber {
    /// The value, if it is written as an integer and fits.
    package func int(in document: Span<UInt8>) -> Int? {
        guard isInteger else { return nil }
        let digits = document.extracting(range)
        let isNegative = digits[0] == UInt8(ascii: "-")
        var value = 0
        var index = isNegative ? 1 : 0
        while index < digits.count {
            let (tenfold, tooLarge) = value.multipliedReportingOverflow(by: 10)
            let digit = Int(digits[index] &- UInt8(ascii: "0"))
            let (sum, overflow) =
                isNegative
                ? tenfold.subtractingReportingOverflow(digit) : tenfold.addingReportingOverflow(digit)
            if tooLarge || overflow { return nil }
            value = sum
            index += 1
        }
        return value
    }

    /// The nearest `Double`; `nil` when it is not finite. Allocates for long numbers.
    package func double(in document: Span<UInt8>) -> Double? {
        guard let value = Double(document.extracting(range).text), value.isFinite else { return nil }
        return value
    }
}
