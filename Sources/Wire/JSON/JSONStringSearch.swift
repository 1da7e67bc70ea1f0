import CVectors

/// Finds the next byte of a string that needs a look, many bytes at a time.
enum JSONStringSearch {
    /// One bit for each of the sixteen bytes from `index` on that is a quote, a backslash, a control character or not
    /// ASCII; the first byte's is the lowest. - Precondition: there are as many.
    @inline(__always)
    static func specials(in bytes: Span<UInt8>, at index: Int) -> UInt32 {
        bytes.withUnsafeBufferPointer { weir_json_specials16($0.baseAddress.unsafelyUnwrapped + index) }
    }

    /// The same from `index` on for those of the sixteen bytes that there are; bits behind the end are zero.
    ///
    /// - Precondition: `index` is before the end, and there are sixteen bytes in all.
    @inline(__always)
    static func specials(in bytes: Span<UInt8>, from index: Int) -> UInt32 {
        let start = min(index, bytes.count &- 16)
        return specials(in: bytes, at: start) &>> UInt32(truncatingIfNeeded: index &- start)
    }

    /// The first index from `index` on whose byte is a quote, a backslash, a control character or not ASCII; `count`
    /// when there is none.
    ///
    /// - Precondition: `index` is not behind the end.
    /// - Cost: sixteen bytes a step, sixty-four once a string turns out to be long.
    static func firstSpecial(in bytes: Span<UInt8>, from index: Int) -> Int {
        bytes.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress, buffer.count >= 16 else {
                return firstSpecialSlowly(buffer, from: index)
            }
            let blocks = (buffer.count - index) & ~15
            let found = weir_json_plain_run(base + index, blocks)
            if found < blocks { return index + found }
            // What is left is the end of the buffer's last sixteen bytes.
            let known = 16 - (buffer.count - index - blocks)
            let last = weir_json_specials16(base + buffer.count - 16) >> UInt32(known)
            return last == 0 ? buffer.count : index + blocks + last.trailingZeroBitCount
        }
    }

    /// The first index from `index` on that holds no decimal digit; `count` when there is none. Eight bytes at a time.
    @inline(__always)
    static func endOfDigits(in bytes: Span<UInt8>, from index: Int) -> Int {
        var index = index
        while index &+ 8 <= bytes.count {
            let values = bytes.word(at: index, as: UInt64.self) ^ 0x3030_3030_3030_3030
            // A digit's value is below ten. A sum that carries comes from a byte that is flagged itself, further down.
            let others = (values &+ 0x7676_7676_7676_7676 | values) & 0x8080_8080_8080_8080
            if others != 0 { return index &+ others.trailingZeroBitCount >> 3 }
            index &+= 8
        }
        while index < bytes.count, bytes[unchecked: index] &- UInt8(ascii: "0") < 10 { index &+= 1 }
        return index
    }

    /// Where the run of non-ASCII characters that starts at `index` ends, or, when it is not valid UTF-8, the index of
    /// the offending byte, negated. - Precondition: `index > 0` and its byte is not ASCII.
    @inline(never)
    static func endOfNonASCII(in bytes: Span<UInt8>, from index: Int) -> Int {
        bytes.withUnsafeBufferPointer { buffer in
            var at = index
            while at < buffer.count, buffer[at] >= 0x80 {
                if at + 4 <= buffer.count, let base = buffer.baseAddress {
                    // Four bytes are inside the buffer as just checked.
                    let word = UInt32(littleEndian: UnsafeRawPointer(base + at).loadUnaligned(as: UInt32.self))
                    if word & 0x00C0_C0F0 == 0x0080_80E0, word & 0x200F != 0, word & 0x200F != 0x200D {
                        at += 3
                        continue
                    }
                    if word & 0xC0E0 == 0x80C0, word & 0x1E != 0 {
                        at += 2
                        continue
                    }
                    // Plane 1 to 16: neither overlong nor above U+10FFFF.
                    if word & 0xC0C0_C0F8 == 0x8080_80F0, ((word & 7) << 2 | word >> 12 & 3) &- 1 < 16 {
                        at += 4
                        continue
                    }
                }
                let length = JSONText.lengthOfCharacter(buffer, at: at)
                guard length > 0 else { return -at }
                at += length
            }
            return at
        }
    }

    private static func firstSpecialSlowly(_ buffer: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var index = start
        while index < buffer.count {
            let byte = buffer[index]
            if byte == 0x22 || byte == 0x5C || byte < 0x20 || byte >= 0x80 { return index }
            index += 1
        }
        return index
    }
}
