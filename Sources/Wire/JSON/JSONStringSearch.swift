import CVectors

/// Finds the next byte of a string that needs a look, many bytes at a time.
enum JSONStringSearch {
    /// How many bytes from `index` on are plain, of sixteen: up to a quote, a backslash, a control character or what is
    /// no ASCII. - Precondition: sixteen bytes are there.
    @inline(__always)
    static func plainBytes(in bytes: Span<UInt8>, at index: Int) -> Int {
        bytes.withUnsafeBufferPointer { buffer in
            let specials = weir_json_specials16(buffer.baseAddress.unsafelyUnwrapped + index)
            return (specials | 1 << 16).trailingZeroBitCount
        }
    }

    /// Where the string that `index` lies in needs a look, and whether there was an escape before: at its quote, at an
    /// escape of more than two bytes, a control character, what is not UTF-8, or the document's end.
    ///
    /// - Precondition: `index` is not behind the end.
    /// - Cost: one step for sixty-four bytes where the processor has AVX2; it is asked once for each string.
    @inline(__always)
    static func run(in bytes: Span<UInt8>, from index: Int) -> (end: Int, hasEscapes: Bool) {
        bytes.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return (0, false) }
            let run = weir_json_string_run(base, index, buffer.count)
            return (run.end, run.has_escapes != 0)
        }
    }

    /// The first index from `index` on whose byte is a quote, a backslash, a control character or not ASCII; `count`
    /// when there is none. - Precondition: `index` is not behind the end.
    static func firstSpecial(in bytes: Span<UInt8>, from index: Int) -> Int {
        bytes.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return 0 }
            return weir_json_plain_run(base, index, buffer.count)
        }
    }

    /// The first index from `index` on that holds no decimal digit; `count` when there is none. Sixteen bytes a step.
    @inline(__always)
    static func endOfDigits(in bytes: Span<UInt8>, from index: Int) -> Int {
        bytes.withUnsafeBufferPointer { buffer in
            var index = index
            while index &+ 16 <= buffer.count {
                let others = weir_json_others16(buffer.baseAddress.unsafelyUnwrapped + index)
                if others != 0 { return index &+ others.trailingZeroBitCount }
                index &+= 16
            }
            while index < buffer.count, buffer[index] &- UInt8(ascii: "0") < 10 { index &+= 1 }
            return index
        }
    }

    /// The digits at `index`, seven at most, and what follows: one byte each, the first one lowest, 0 behind the end.
    ///
    /// `value` is that of the whole number; `count` is 8 when more digits come.
    /// - Precondition: `index` is before the end, and there are eight bytes in all.
    @inline(__always)
    static func smallNumber(in bytes: Span<UInt8>, at index: Int) -> (value: Int, count: Int, next: UInt8) {
        let start = min(index, bytes.count &- 8)
        let word = bytes.uncheckedWord(at: start, as: UInt64.self) &>> UInt64(truncatingIfNeeded: (index &- start) &* 8)
        let digits = word ^ 0x3030_3030_3030_3030
        // A digit's value is below ten. A sum that carries comes from a byte that is flagged itself, further down.
        let others = (digits &+ 0x7676_7676_7676_7676 | digits) & 0x8080_8080_8080_8080
        let bits = UInt64(truncatingIfNeeded: others.trailingZeroBitCount & ~7)
        // Zeros go in front, so that there are eight digits; then pairs, fours and all of them are put together.
        var value = digits &<< (64 &- bits)
        value = value &* 10 &+ value &>> 8
        value =
            ((value & 0x0000_00FF_0000_00FF) &* 0x000F_4240_0000_0064
                &+ (value &>> 16 & 0x0000_00FF_0000_00FF) &* 0x0000_2710_0000_0001) &>> 32
        let next = UInt8(truncatingIfNeeded: word &>> bits)
        return (Int(truncatingIfNeeded: value), Int(truncatingIfNeeded: bits >> 3), next)
    }
}
