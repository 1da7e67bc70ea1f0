import GatewayCore
import Glibc
import Wire

/// Writes one access line into room that is known to suffice, so that a literal is a few moves instead of a call.
///
/// Unsafe inside: every write is checked against the end first, and traps if our bound on a line is wrong.
/// - Cost: half of what the same appends to a ``ByteWriter`` cost, measured over a whole line.
struct LineCursor: ~Copyable {
    private let base: UnsafeMutableRawPointer
    private let capacity: Int
    private(set) var count = 0

    /// - Precondition: `room` outlives the cursor; both live in one call of `appendUninitialized`.
    init(_ room: UnsafeMutableRawBufferPointer) {
        guard let base = room.baseAddress else { preconditionFailure("a line without room") }
        self.base = base
        capacity = room.count
    }

    @inline(__always)
    mutating func put(_ literal: StaticString) {
        let length = literal.utf8CodeUnitCount
        precondition(length <= capacity - count)
        memcpy(base + count, literal.utf8Start, length)
        count += length
    }

    @inline(__always)
    mutating func put(_ byte: UInt8) {
        precondition(count < capacity)
        base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
        count += 1
    }

    /// The decimal digits of `value`; a negative one, which no count of ours is, shows as 0.
    @inline(__always)
    mutating func put(decimal value: Int) {
        if value >= 0, value < 10 { put(UInt8(truncatingIfNeeded: 0x30 + value)) } else { put(long: value) }
    }

    @inline(never)
    private mutating func put(long value: Int) {
        var rest = UInt(max(0, value))
        var digits = 1
        while rest >= 10 {
            rest /= 10
            digits += 1
        }
        precondition(digits <= capacity - count)
        rest = UInt(max(0, value))
        for place in (count..<count + digits).reversed() {
            base.storeBytes(of: UInt8(truncatingIfNeeded: 0x30 + rest % 10), toByteOffset: place, as: UInt8.self)
            rest /= 10
        }
        count += digits
    }

    /// Milliseconds with three decimals.
    @inline(never)
    mutating func put(milliseconds interval: Interval) {
        let microseconds = max(0, Int(interval.nanoseconds / 1000))
        put(decimal: microseconds / 1000)
        let rest = microseconds % 1000
        put(0x2E)
        put(UInt8(truncatingIfNeeded: 0x30 + rest / 100))
        put(UInt8(truncatingIfNeeded: 0x30 + rest / 10 % 10))
        put(UInt8(truncatingIfNeeded: 0x30 + rest % 10))
    }

    @inline(never)
    mutating func put(_ bytes: borrowing Span<UInt8>) {
        precondition(bytes.count <= capacity - count)
        bytes.withUnsafeBytes { if let source = $0.baseAddress { memcpy(base + count, source, $0.count) } }
        count += bytes.count
    }

    /// `text` as a JSON string, at most `limit` bytes of it before escaping.
    @inline(never)
    mutating func put(quoted text: borrowing Span<UInt8>, limit: Int) {
        if text.count <= limit, Self.isPlain(text) {
            put(0x22)
            put(text)
            put(0x22)
        } else {
            // Rare: what a client made up, or a name outside ASCII.
            var escaped = ByteWriter()
            escaped.append(quoted: copy text, limit: limit)
            put(escaped.bytes)
        }
    }

    mutating func put(quoted text: String, limit: Int = 256) { put(quoted: text.utf8Span.span, limit: limit) }

    @inline(__always)
    mutating func put(quotedOrNull text: String?) {
        if let text { put(quoted: text) } else { put("null") }
    }

    /// Whether every byte is ASCII and stands for itself in a JSON string. Eight bytes a step.
    private static func isPlain(_ text: borrowing Span<UInt8>) -> Bool {
        text.withUnsafeBytes { bytes in
            var special: UInt64 = 0
            var index = 0
            while index + 8 <= bytes.count {
                special |= specials(bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
                index += 8
            }
            while index < bytes.count {
                special |= specials(UInt64(bytes[index]) | 0x2020_2020_2020_2000)
                index += 1
            }
            return special & 0x8080_8080_8080_8080 == 0
        }
    }

    /// The top bit of a byte is set if some byte at or below it is a quote, a backslash, below a space or above ASCII;
    /// all are clear if none is.
    @inline(__always)
    private static func specials(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quotes = word ^ (ones &* 0x22)
        let backslashes = word ^ (ones &* 0x5C)
        return (quotes &- ones) & ~quotes | (backslashes &- ones) & ~backslashes | (word &- ones &* 0x20) & ~word | word
    }
}
