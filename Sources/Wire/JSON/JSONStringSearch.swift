/// Finds the next byte of a string that needs a look, many bytes at a time.
enum JSONStringSearch {
    /// The first index from `index` on whose byte is a quote, a backslash, a control character or not ASCII; `count`
    /// when there is none.
    ///
    /// - Cost: sixteen bytes a step, sixty-four once a string turns out to be long.
    @inline(__always)
    static func firstSpecial(in bytes: Span<UInt8>, from index: Int) -> Int {
        bytes.withUnsafeBufferPointer { buffer in
            let count = buffer.count
            guard let base = buffer.baseAddress, index >= 0, index + 16 <= count else {
                return firstSpecialSlowly(buffer, from: index)
            }
            // The first sixteen bytes are inside the buffer as just checked.
            let found = specials(UnsafeRawPointer(base + index).loadUnaligned(as: SIMD16<UInt8>.self))
            if found[0] != 0 { return index + found[0].trailingZeroBitCount >> 3 }
            if found[1] != 0 { return index + 8 + found[1].trailingZeroBitCount >> 3 }
            return firstSpecialFar(buffer, from: index + 16)
        }
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

    /// All ones in each byte that is a quote, a backslash or, read as signed, below a space.
    ///
    /// Spelled with whole types on both sides: the comparisons of a vector with a scalar compile to a loop over bytes.
    @inline(__always)
    private static func specials(_ block: SIMD16<UInt8>) -> SIMD2<UInt64> {
        // All types below are sixteen bytes without padding; every bit pattern is a value of theirs.
        let signed = unsafeBitCast(block, to: SIMD16<Int8>.self)
        let quotes: SIMDMask<SIMD16<Int8>> = signed .== SIMD16<Int8>(repeating: 0x22)
        let backslashes: SIMDMask<SIMD16<Int8>> = signed .== SIMD16<Int8>(repeating: 0x5C)
        let others: SIMDMask<SIMD16<Int8>> = signed .< SIMD16<Int8>(repeating: 0x20)
        return unsafeBitCast(quotes, to: SIMD2<UInt64>.self) | unsafeBitCast(backslashes, to: SIMD2<UInt64>.self)
            | unsafeBitCast(others, to: SIMD2<UInt64>.self)
    }

    @inline(never)
    private static func firstSpecialFar(_ buffer: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        guard let base = buffer.baseAddress else { return buffer.count }
        var index = start
        while index + 64 <= buffer.count {
            // Sixty-four bytes are inside the buffer as just checked.
            let block = UnsafeRawPointer(base + index)
            let first = specials(block.loadUnaligned(as: SIMD16<UInt8>.self))
            let second = specials(block.loadUnaligned(fromByteOffset: 16, as: SIMD16<UInt8>.self))
            let third = specials(block.loadUnaligned(fromByteOffset: 32, as: SIMD16<UInt8>.self))
            let fourth = specials(block.loadUnaligned(fromByteOffset: 48, as: SIMD16<UInt8>.self))
            let any = first | second | third | fourth
            if any[0] | any[1] != 0 { break }
            index += 64
        }
        while index + 16 <= buffer.count {
            // Sixteen bytes are inside the buffer as just checked.
            let found = specials(UnsafeRawPointer(base + index).loadUnaligned(as: SIMD16<UInt8>.self))
            if found[0] != 0 { return index + found[0].trailingZeroBitCount >> 3 }
            if found[1] != 0 { return index + 8 + found[1].trailingZeroBitCount >> 3 }
            index += 16
        }
        return firstSpecialSlowly(buffer, from: index)
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
