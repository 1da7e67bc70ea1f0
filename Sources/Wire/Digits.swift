/// Numbers as digits, two at a time from a table, written where ``ByteCursor`` has room for them.
///
/// Each function returns the place behind its digits, and may write up to twenty bytes from where it begins.
/// Unsafe inside: whoever calls it has that room.
@usableFromInline
enum Digits {
    /// The decimal digits of `value`.
    @inlinable @inline(__always)
    static func write(_ value: UInt, at place: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        if value < 10 {
            place.storeBytes(of: UInt8(truncatingIfNeeded: 0x30 &+ value), as: UInt8.self)
            return place + 1
        }
        if value < 100 {
            place.storeBytes(of: two(value), as: UInt16.self)
            return place + 2
        }
        if value < 10_000 { return write(UInt64(four(value)), count: 4, zerosMax: 1, at: place) }
        return writeMany(value, at: place)
    }

    /// Five digits or more.
    @usableFromInline
    static func writeMany(_ value: UInt, at place: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        if value < 100_000_000 { return write(eight(value), count: 8, zerosMax: 3, at: place) }
        let behind = write(value / 100_000_000, at: place)
        behind.storeBytes(of: eight(value % 100_000_000), as: UInt64.self)
        return behind + 8
    }

    /// Milliseconds with three decimals, truncated to the microsecond; never negative.
    @usableFromInline
    static func write(milliseconds nanoseconds: Int64, at place: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        let microseconds = UInt(max(0, nanoseconds)) / 1_000
        let whole = microseconds / 1_000
        return write(decimals: microseconds &- whole &* 1_000, at: write(whole, at: place))
    }

    /// A point, and `value`, below 1,000, in three digits.
    @inlinable @inline(__always)
    static func write(decimals value: UInt, at place: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        // Four digits, of which the first one, a zero, becomes the point.
        place.storeBytes(of: four(value) ^ (0x30 ^ 0x2E), as: UInt32.self)
        return place + 4
    }

    /// Sixteen lower-case hexadecimal digits.
    @inlinable @inline(__always)
    static func write(hex value: UInt64, at place: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        place.storeBytes(of: hex(UInt32(truncatingIfNeeded: value >> 32)), as: UInt64.self)
        place.storeBytes(of: hex(UInt32(truncatingIfNeeded: value)), toByteOffset: 8, as: UInt64.self)
        return place + 16
    }

    /// The `count` digits that a word holds, the first one lowest, but for the zeros in front, of which there are
    /// `zerosMax` at most.
    @inlinable @inline(__always)
    static func write(
        _ digits: UInt64, count: Int, zerosMax: Int, at place: UnsafeMutableRawPointer
    ) -> UnsafeMutableRawPointer {
        // The bits of each digit but zero, and one that ends the search.
        let found = digits & 0x0F0F_0F0F_0F0F_0F0F | 1 << UInt64(zerosMax &* 8)
        let zeros = found.trailingZeroBitCount / 8
        place.storeBytes(of: digits >> UInt64(zeros &* 8), as: UInt64.self)
        return place + (count &- zeros)
    }

    // Digits as one word, the first one lowest, as they will lie in memory: every processor that this runs on is
    // little-endian.

    /// - Precondition: `value < 100_000_000`.
    @inlinable @inline(__always)
    static func eight(_ value: UInt) -> UInt64 {
        let high = value / 10_000
        return UInt64(four(high)) | UInt64(four(value &- high &* 10_000)) << 32
    }

    /// - Precondition: `value < 10_000`.
    @inlinable @inline(__always)
    static func four(_ value: UInt) -> UInt32 {
        let value = UInt32(truncatingIfNeeded: value)
        let high = value / 100
        return UInt32(two(UInt(high))) | UInt32(two(UInt(value &- high &* 100))) << 16
    }

    /// - Precondition: `value < 100`.
    @inlinable @inline(__always)
    static func two(_ value: UInt) -> UInt16 {
        let pairs: StaticString = """
            0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
            5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899
            """
        // Two hundred digits, of which a value below a hundred picks two.
        return UnsafeRawPointer(pairs.utf8Start).loadUnaligned(fromByteOffset: Int(value) &* 2, as: UInt16.self)
    }

    /// Eight hexadecimal digits.
    @inlinable @inline(__always)
    static func hex(_ value: UInt32) -> UInt64 {
        // Spreads the eight nibbles over eight bytes, the first one lowest.
        var word = UInt64(value.byteSwapped)
        word = (word | word << 16) & 0x0000_FFFF_0000_FFFF
        word = (word | word << 8) & 0x00FF_00FF_00FF_00FF
        word = (word >> 4 & 0x000F_000F_000F_000F) | (word & 0x000F_000F_000F_000F) << 8
        // 0x30 to each, and 0x27 more where the nibble is above nine: adding six carries into bit four there.
        let letters = (word &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
        return word &+ 0x3030_3030_3030_3030 &+ letters &* 0x27
    }
}
