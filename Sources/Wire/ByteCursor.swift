import CVectors

/// Writes into room that was made at once: heads and log lines, which are made of many short pieces.
///
///     writer.append(upTo: 512) { cursor in
///         cursor.put("content-length: ")
///         cursor.put(decimal: length)
///     }
///
/// A literal is a comparison and a few moves; appended to a ``ByteWriter`` it would be a call. `@inlinable`, which
/// nothing else needs to be, so that it is inlined where it is used (docs/decisions/003-cross-module-optimisation.md).
///
/// Unsafe inside: every put is compared with the end first, and traps if the bound that the caller gave is wrong.
public struct ByteCursor: ~Copyable {
    @usableFromInline var at: UnsafeMutableRawPointer
    @usableFromInline let end: UnsafeMutableRawPointer

    /// - Precondition: the room from `start` to `end` outlives the cursor: ``ByteWriter/append(upTo:_:)`` sees to it.
    @inlinable
    init(_ start: UnsafeMutableRawPointer, end: UnsafeMutableRawPointer) {
        at = start
        self.end = end
    }

    @inlinable
    var position: UnsafeMutableRawPointer { at }

    @inlinable @inline(__always)
    func check(_ count: Int) { precondition(end - at >= count, "more than the room that was asked for") }

    @inlinable @inline(__always)
    public mutating func put(_ literal: StaticString) {
        let count = literal.utf8CodeUnitCount
        check(count)
        at.copyMemory(from: literal.utf8Start, byteCount: count)
        at += count
    }

    @inlinable @inline(__always)
    public mutating func put(_ byte: UInt8) {
        check(1)
        at.storeBytes(of: byte, as: UInt8.self)
        at += 1
    }

    public mutating func put(_ bytes: borrowing Span<UInt8>) {
        check(bytes.count)
        bytes.withUnsafeBytes { if let source = $0.baseAddress { at.copyMemory(from: source, byteCount: $0.count) } }
        at += bytes.count
    }

    @inlinable @inline(__always)
    public mutating func put(_ bytes: [UInt8]) { put(bytes.span) }

    /// Disfavoured, or every literal would be a `String`.
    @_disfavoredOverload
    @inlinable @inline(__always)
    public mutating func put(_ text: String) {
        var text = text
        text.withUTF8 { put($0.span) }
    }

    // MARK: Numbers

    /// The decimal digits of `value`; a negative one, which no count of ours is, shows as 0.
    @inlinable @inline(__always)
    public mutating func put(decimal value: Int) {
        if value >= 0, value < 10 {
            put(UInt8(truncatingIfNeeded: 0x30 &+ value))
        } else {
            put(digits: UInt(max(0, value)))
        }
    }

    /// Milliseconds with three decimals, truncated to the microsecond; never negative.
    public mutating func put(milliseconds nanoseconds: Int64) {
        let microseconds = UInt(max(0, nanoseconds)) / 1_000
        let whole = microseconds / 1_000
        let rest = microseconds &- whole &* 1_000
        put(decimal: Int(whole))
        check(4)
        at.storeBytes(of: 0x2E, as: UInt8.self)
        at.storeBytes(of: UInt8(truncatingIfNeeded: 0x30 &+ rest / 100), toByteOffset: 1, as: UInt8.self)
        storePair(rest % 100, at: 2)
        at += 4
    }

    /// `value`, below 1,000, in three digits.
    @inlinable @inline(__always)
    public mutating func put(threeDigits value: Int) {
        check(3)
        let value = UInt(value)
        at.storeBytes(of: UInt8(truncatingIfNeeded: 0x30 &+ value / 100 % 10), as: UInt8.self)
        storePair(value % 100, at: 1)
        at += 3
    }

    /// The decimal digits of `value`.
    public mutating func put(digits value: UInt) {
        let count = Self.digits(of: value)
        check(count)
        var rest = value
        var place = count
        while rest >= 100 {
            place &-= 2
            storePair(rest % 100, at: place)
            rest /= 100
        }
        if rest >= 10 {
            storePair(rest, at: 0)
        } else {
            at.storeBytes(of: UInt8(truncatingIfNeeded: 0x30 &+ rest), as: UInt8.self)
        }
        at += count
    }

    @inline(__always)
    private static func digits(of value: UInt) -> Int {
        // As many as its bits make, rounded down (1,233 / 4,096 is just above the logarithm of 2), or one more.
        let bits = UInt.bitWidth &- (value | 1).leadingZeroBitCount
        let count = (bits &* 1_233) >> 12
        return value < powersOfTen[count] ? max(count, 1) : count &+ 1
    }

    /// 1, 10, 100 and so on up to the largest that there is.
    private static let powersOfTen: InlineArray<20, UInt> = [
        1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000,
        100_000_000_000, 1_000_000_000_000, 10_000_000_000_000, 100_000_000_000_000, 1_000_000_000_000_000,
        10_000_000_000_000_000, 100_000_000_000_000_000, 1_000_000_000_000_000_000, 10_000_000_000_000_000_000,
    ]

    /// Two digits of a value below 100. - Precondition: the room was checked.
    @inlinable @inline(__always)
    func storePair(_ value: UInt, at offset: Int) {
        let pairs: StaticString = """
            0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
            5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899
            """
        // Two hundred digits, of which `value` below a hundred picks two.
        let pair = UnsafeRawPointer(pairs.utf8Start).loadUnaligned(fromByteOffset: Int(value) &* 2, as: UInt16.self)
        at.storeBytes(of: pair, toByteOffset: offset, as: UInt16.self)
    }

    // MARK: JSON

    /// `text` as a JSON string, at most `limit` bytes of it before escaping, cut between characters.
    public mutating func put(quoted text: borrowing Span<UInt8>, limit: Int) {
        let count = text.count
        guard count <= limit, end - at >= count + 18 else { return putEscaped(copy text, limit: limit) }
        let isPlain = text.withUnsafeBytes { source -> Bool in
            guard let from = source.baseAddress else { return true }
            at.storeBytes(of: 0x22, as: UInt8.self)
            return count < 16 ? copyShort(from, count) : copyLong(from, count)
        }
        guard isPlain else { return putEscaped(copy text, limit: limit) }
        at += count + 1
        put(0x22)
    }

    /// Copies fewer than sixteen bytes behind the quote and says whether all stand for themselves in a JSON string.
    /// - Precondition: there is room for sixteen.
    private func copyShort(_ from: UnsafeRawPointer, _ count: Int) -> Bool {
        let to = at + 1
        // Two words that overlap, of the largest size that fits.
        func copy<Word: BitwiseCopyable>(_ type: Word.Type) {
            let last = count &- MemoryLayout<Word>.size
            let tail = from.loadUnaligned(fromByteOffset: last, as: type)
            to.storeBytes(of: from.loadUnaligned(as: type), as: type)
            to.storeBytes(of: tail, toByteOffset: last, as: type)
        }
        if count >= 8 {
            copy(UInt64.self)
        } else if count >= 4 {
            copy(UInt32.self)
        } else if count >= 2 {
            copy(UInt16.self)
        } else if count == 1 {
            copy(UInt8.self)
        }
        // What lies behind the copied bytes is ours too, and of no account.
        let found = weir_json_specials16(to.assumingMemoryBound(to: UInt8.self))
        return found & ((1 << UInt32(count)) &- 1) == 0
    }

    /// The same for sixteen and more, the last ones again with some of those before.
    private func copyLong(_ from: UnsafeRawPointer, _ count: Int) -> Bool {
        let source = from.assumingMemoryBound(to: UInt8.self)
        var found: UInt32 = 0
        var index = 0
        while index &+ 16 <= count {
            found |= weir_json_specials16(source + index)
            index &+= 16
        }
        found |= weir_json_specials16(source + (count &- 16))
        (at + 1).copyMemory(from: from, byteCount: count)
        return found == 0
    }

    @inlinable @inline(__always)
    public mutating func put(quoted text: String, limit: Int = 256) {
        var text = text
        text.withUTF8 { put(quoted: $0.span, limit: limit) }
    }

    /// What a client made up, or a name outside ASCII.
    @inline(never)
    private mutating func putEscaped(_ text: Span<UInt8>, limit: Int) {
        var escaped = ByteWriter()
        escaped.append(quoted: text, limit: limit)
        put(escaped.bytes)
    }
}

extension ByteWriter {
    /// Appends what `write` puts, at most `room` bytes.
    @inlinable @inline(__always)
    public mutating func append(upTo room: Int, _ write: (inout ByteCursor) -> Void) {
        appendUninitialized(room) { memory in
            let start = memory.baseAddress.unsafelyUnwrapped
            var cursor = ByteCursor(start, end: start + memory.count)
            write(&cursor)
            return cursor.position - start
        }
    }
}
