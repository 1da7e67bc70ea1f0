import Wire

/// Base64 with the URL-safe alphabet and without padding, as JOSE uses it: strict in what it accepts.
///
/// - Source: RFC 4648 §5, RFC 7515 §2 and appendix C.
package enum Base64URL {
    /// How many characters stand for `count` bytes.
    package static func encodedCount(_ count: Int) -> Int { (count * 4 + 2) / 3 }

    package static func append(_ bytes: Span<UInt8>, to text: inout ByteWriter) {
        text.reserve(encodedCount(bytes.count))
        var index = 0
        while index + 2 < bytes.count {
            let group = UInt32(bytes[index]) << 16 | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2])
            text.append(character(group >> 18))
            text.append(character(group >> 12))
            text.append(character(group >> 6))
            text.append(character(group))
            index += 3
        }
        if index + 1 == bytes.count {
            let group = UInt32(bytes[index])
            text.append(character(group >> 2))
            text.append(character(group << 4))
        } else if index + 2 == bytes.count {
            let group = UInt32(bytes[index]) << 8 | UInt32(bytes[index + 1])
            text.append(character(group >> 10))
            text.append(character(group >> 4))
            text.append(character(group << 2))
        }
    }

    package static func encode(_ bytes: Span<UInt8>) -> String {
        var text = ByteWriter(capacity: encodedCount(bytes.count))
        append(bytes, to: &text)
        return text.bytes.text
    }

    /// Appends the bytes that `text` stands for; returns whether there were any doubts, and then `bytes` is unchanged.
    ///
    /// Refused: padding, white space, any other stray character, a length no bytes have, and unused bits that are not
    /// zero. So every sequence of bytes has exactly one text.
    /// - Cost: about 1 ns a character; no allocation if `bytes` has room.
    package static func decode(_ text: Span<UInt8>, appendingTo bytes: inout ByteWriter) -> Bool {
        let whole = text.count & ~3
        let tail = text.count & 3
        guard tail != 1 else { return false }
        let before = bytes.count
        var isValid = true
        bytes.appendUninitialized(text.count / 4 * 3 + 3) { room in
            var written = 0
            var index = 0
            var invalid: UInt8 = 0
            while index < whole {
                let first = values[Int(text[index])]
                let second = values[Int(text[index + 1])]
                let third = values[Int(text[index + 2])]
                let fourth = values[Int(text[index + 3])]
                invalid |= first | second | third | fourth
                room[written] = first << 2 | second >> 4
                room[written + 1] = second << 4 | third >> 2
                room[written + 2] = third << 6 | fourth
                written += 3
                index += 4
            }
            if tail > 1 {
                let first = values[Int(text[index])]
                let second = values[Int(text[index + 1])]
                invalid |= first | second
                room[written] = first << 2 | second >> 4
                written += 1
                var unused = second << 4
                if tail == 3 {
                    let third = values[Int(text[index + 2])]
                    invalid |= third
                    room[written] = unused | third >> 2
                    written += 1
                    unused = third << 6
                }
                if unused != 0 { invalid |= stray }
            }
            isValid = invalid & stray == 0
            return written
        }
        if !isValid { bytes.truncate(to: before) }
        return isValid
    }

    /// The bytes that `text` stands for; `nil` if it is not strict base64url.
    package static func decode(_ text: String) -> [UInt8]? {
        var bytes = ByteWriter(capacity: text.utf8.count)
        guard decode(Array(text.utf8).span, appendingTo: &bytes) else { return nil }
        return bytes.withUnsafeBytes { Array($0) }
    }

    private static func character(_ bits: UInt32) -> UInt8 {
        switch UInt8(truncatingIfNeeded: bits & 63) {
        case let value where value < 26: 0x41 + value
        case let value where value < 52: 0x61 + value - 26
        case let value where value < 62: 0x30 + value - 52
        case 62: 0x2D
        default: 0x5F
        }
    }

    /// The mark of a character that is not in the alphabet.
    private static let stray: UInt8 = 0x80

    /// What each character stands for, or ``stray``. Written out so that it is a constant of the program.
    private static let values: InlineArray<256, UInt8> = [
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 62, 128, 128,
        52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 128, 128, 128, 128, 128, 128,
        128, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
        15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 128, 128, 128, 128, 63,
        128, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
        41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    ]
}
