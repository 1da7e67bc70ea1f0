import Glibc

/// Growing bytes that are written front to back and then sent: heads, event frames, log lines, JSON.
///
/// A unique owner (`~Copyable`), so an append is a bounds check and a copy, without reference counting.
/// - Cost: amortised O(bytes); ``removeAll()`` keeps the memory, ``release()`` gives it back.
/// - Owns: one block of memory, freed at the end.
package struct ByteWriter: ~Copyable {
    private var base: UnsafeMutablePointer<UInt8>?
    private var capacity = 0
    package private(set) var count = 0

    /// Allocates nothing until the first append, unless `capacity` says how much is coming.
    package init(capacity: Int = 0) {
        base = nil
        if capacity > 0 { grow(to: capacity) }
    }

    deinit { free(base) }

    package var isEmpty: Bool { count == 0 }

    /// What was written so far.
    package var bytes: Span<UInt8> {
        @_lifetime(borrow self) borrowing get {
            let span = Span(_unsafeStart: UnsafePointer(base) ?? Self.nothing, count: count)
            return _overrideLifetime(span, borrowing: self)
        }
    }

    /// Lends what was written so far, or `range` of it, to `use`. For writers that are stored in classes, where a span
    /// can't outlive the access.
    package func withBytes<Result, Failure: Error>(
        _ range: Range<Int>? = nil, _ use: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        if let range { return try use(bytes.extracting(range)) }
        return try use(bytes)
    }

    package func withUnsafeBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeRawBufferPointer(start: base, count: count))
    }

    /// Forgets the content, keeps the memory.
    package mutating func removeAll() { count = 0 }

    /// Forgets the content and gives the memory back.
    package mutating func release() {
        free(base)
        base = nil
        capacity = 0
        count = 0
    }

    /// Keeps the first `length` bytes. - Precondition: there are as many.
    package mutating func truncate(to length: Int) {
        precondition(length <= count && length >= 0)
        count = length
    }

    /// Removes the first `length` bytes; the rest moves to the front. O(rest).
    package mutating func removeFirst(_ length: Int) {
        precondition(length <= count && length >= 0)
        count -= length
        if count > 0, let base { memmove(base, base + length, count) }
    }

    /// Copies the bytes of `range` to `target`, which lies in front of it: takes framing out in place. O(range).
    package mutating func move(_ range: Range<Int>, to target: Int) {
        precondition(target >= 0 && target <= range.lowerBound && range.upperBound <= count)
        guard target < range.lowerBound, !range.isEmpty, let base else { return }
        memmove(base + target, base + range.lowerBound, range.count)
    }

    /// Exchanges one byte that was written before.
    package mutating func overwrite(at index: Int, with byte: UInt8) {
        precondition(index >= 0 && index < count)
        base.unsafelyUnwrapped[index] = byte
    }

    /// Makes room for `more` bytes behind the content.
    package mutating func reserve(_ more: Int) {
        if capacity - count < more { grow(to: count + more) }
    }

    /// Room for at least `more` bytes behind the content, to be filled by `body`, which returns how many it wrote.
    package mutating func appendUninitialized<Failure: Error>(
        _ more: Int, _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Int
    ) throws(Failure) {
        reserve(more)
        let written = try body(UnsafeMutableRawBufferPointer(start: base.map { $0 + count }, count: capacity - count))
        precondition(written >= 0 && written <= capacity - count)
        count += written
    }

    package mutating func append(_ byte: UInt8) {
        reserve(1)
        base.unsafelyUnwrapped[count] = byte
        count += 1
    }

    package mutating func append(_ text: StaticString) {
        append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    package mutating func append(_ bytes: borrowing Span<UInt8>) {
        bytes.withUnsafeBytes { append($0) }
    }

    package mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { append($0) }
    }

    package mutating func append(_ text: String) {
        var text = text
        text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
    }

    package mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return }
        reserve(bytes.count)
        memcpy(base.unsafelyUnwrapped + count, source, bytes.count)
        count += bytes.count
    }

    /// `value` in decimal digits.
    package mutating func append(decimal value: Int) {
        if value < 0 { append(0x2D) }
        var rest = value.magnitude
        reserve(20)
        var digits = 1
        var bound: UInt = 10
        while digits < 20, rest >= bound {
            digits += 1
            let (next, overflow) = bound.multipliedReportingOverflow(by: 10)
            if overflow { break }
            bound = next
        }
        var at = count + digits
        count = at
        repeat {
            at -= 1
            base.unsafelyUnwrapped[at] = UInt8(truncatingIfNeeded: 0x30 + rest % 10)
            rest /= 10
        } while rest > 0
    }

    /// `value` in lower-case hexadecimal digits, without leading zeros unless `digits` asks for a width.
    package mutating func append(hex value: UInt64, digits: Int = 0) {
        var width = max(1, (64 - value.leadingZeroBitCount + 3) / 4)
        if width < digits { width = digits }
        while width > 0 {
            width -= 1
            let nibble = UInt8(truncatingIfNeeded: (value >> UInt64(width * 4)) & 15)
            append(nibble < 10 ? 0x30 + nibble : 0x57 + nibble)
        }
    }

    mutating func grow(to needed: Int) {
        var target = max(256, capacity * 2)
        if target < needed { target = needed }
        guard let moved = realloc(base, target) else {
            // Out of memory has no smaller consequence than the end of the process: every buffer has a bound.
            preconditionFailure("out of memory")
        }
        base = moved.assumingMemoryBound(to: UInt8.self)
        capacity = target
    }

    static var nothing: UnsafePointer<UInt8> {
        UnsafePointer(bitPattern: 1).unsafelyUnwrapped
    }
}
