import Glibc

/// Growing bytes that are written front to back and then sent: heads, event frames, log lines, JSON.
///
/// A unique owner (`~Copyable`), so an append is a bounds check and a copy, without reference counting.
/// `public`, as a few other hot leaves are, for one reason: the compiler inlines and specialises across modules what is
/// public and not what is `package` (docs/decisions/003-cross-module-optimisation.md).
/// - Cost: amortised O(bytes); ``removeAll()`` keeps the memory, ``release()`` gives it back.
/// - Owns: one block of memory, freed at the end.
public struct ByteWriter: ~Copyable {
    private var base: UnsafeMutablePointer<UInt8>?
    /// Bytes that it has memory for.
    public private(set) var capacity = 0
    public private(set) var count = 0

    /// Allocates nothing until the first append, unless `capacity` says how much is coming.
    public init(capacity: Int = 0) {
        base = nil
        if capacity > 0 { grow(to: capacity) }
    }

    deinit { free(base) }

    public var isEmpty: Bool { count == 0 }
    /// Bytes that it takes before it needs more memory.
    public var room: Int { capacity - count }
    /// It owns memory, whether something is in it or not.
    public var hasRoom: Bool { base != nil }

    /// What was written so far.
    public var bytes: Span<UInt8> {
        @_lifetime(borrow self) borrowing get {
            let span = Span(_unsafeStart: UnsafePointer(base) ?? Self.nothing, count: count)
            return _overrideLifetime(span, borrowing: self)
        }
    }

    /// Lends what was written so far, or `range` of it, to `use`. For writers that are stored in classes, where a span
    /// can't outlive the access.
    public func withBytes<Result, Failure: Error>(
        _ range: Range<Int>? = nil, _ use: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        if let range { return try use(bytes.extracting(range)) }
        return try use(bytes)
    }

    public func withUnsafeBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeRawBufferPointer(start: base, count: count))
    }

    /// Forgets the content, keeps the memory.
    public mutating func removeAll() { count = 0 }

    /// Forgets the content and gives the memory back.
    public mutating func release() {
        free(base)
        base = nil
        capacity = 0
        count = 0
    }

    /// Gives back what lies behind the content: for what is kept for long and not written to any more.
    public mutating func shrink() {
        guard count > 0 else { return release() }
        if count < capacity { resize(to: count) }
    }

    /// Keeps the first `length` bytes. - Precondition: there are as many.
    public mutating func truncate(to length: Int) {
        precondition(length <= count && length >= 0)
        count = length
    }

    /// Removes the first `length` bytes; the rest moves to the front. O(rest).
    public mutating func removeFirst(_ length: Int) {
        precondition(length <= count && length >= 0)
        count -= length
        if count > 0, let base { memmove(base, base + length, count) }
    }

    /// Copies the bytes of `range` to `target`, which lies in front of it: takes framing out in place. O(range).
    public mutating func move(_ range: Range<Int>, to target: Int) {
        precondition(target >= 0 && target <= range.lowerBound && range.upperBound <= count)
        guard target < range.lowerBound, !range.isEmpty, let base else { return }
        memmove(base + target, base + range.lowerBound, range.count)
    }

    /// Exchanges one byte that was written before.
    public mutating func overwrite(at index: Int, with byte: UInt8) {
        precondition(index >= 0 && index < count)
        base.unsafelyUnwrapped[index] = byte
    }

    /// Makes room for `more` bytes behind the content.
    public mutating func reserve(_ more: Int) {
        if capacity - count < more { grow(to: count + more) }
    }

    /// Room for at least `more` bytes behind the content, to be filled by `body`, which returns how many it wrote.
    public mutating func appendUninitialized<Failure: Error>(
        _ more: Int, _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Int
    ) throws(Failure) {
        reserve(more)
        let written = try body(UnsafeMutableRawBufferPointer(start: base.map { $0 + count }, count: capacity - count))
        precondition(written >= 0 && written <= capacity - count)
        count += written
    }

    /// Appends to bytes that are kept for long, in many places at once: their room grows by a quarter, not to twice.
    public mutating func appendSparingly(_ bytes: borrowing Span<UInt8>) {
        if capacity - count < bytes.count { resize(to: max(64, count + bytes.count, capacity + capacity / 4)) }
        append(bytes)
    }

    public mutating func append(_ byte: UInt8) {
        reserve(1)
        base.unsafelyUnwrapped[count] = byte
        count += 1
    }

    public mutating func append(_ text: StaticString) {
        append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    public mutating func append(_ bytes: borrowing Span<UInt8>) {
        bytes.withUnsafeBytes { append($0) }
    }

    public mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { append($0) }
    }

    /// Disfavoured, or every literal would be a `String` and cost reference counting.
    @_disfavoredOverload
    public mutating func append(_ text: String) {
        append(text.utf8Span.span)
    }

    public mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return }
        reserve(bytes.count)
        memcpy(base.unsafelyUnwrapped + count, source, bytes.count)
        count += bytes.count
    }

    /// `value` in decimal digits.
    public mutating func append(decimal value: Int) {
        if value < 0 { append(0x2D) }
        // A magnitude has twenty digits at most, and what is written goes no further.
        appendUninitialized(20) { room in
            let start = room.baseAddress.unsafelyUnwrapped
            return Digits.write(value.magnitude, at: start) - start
        }
    }

    /// `value` in lower-case hexadecimal digits, without leading zeros unless `digits` asks for a width.
    public mutating func append(hex value: UInt64, digits: Int = 0) {
        var width = max(1, (64 - value.leadingZeroBitCount + 3) / 4)
        if width < digits { width = digits }
        reserve(16)
        let target = UnsafeMutableRawPointer(base.unsafelyUnwrapped + count)
        let low = Digits.hex(UInt32(truncatingIfNeeded: value))
        if width <= 8 {
            target.storeBytes(of: low >> UInt64(64 - width * 8), as: UInt64.self)
        } else {
            let high = Digits.hex(UInt32(truncatingIfNeeded: value >> 32))
            target.storeBytes(of: high >> UInt64(128 - width * 8), as: UInt64.self)
            target.storeBytes(of: low, toByteOffset: width - 8, as: UInt64.self)
        }
        count += width
    }

    mutating func grow(to needed: Int) {
        var target = max(64, capacity * 2)
        if target < needed { target = needed }
        resize(to: target)
    }

    private mutating func resize(to target: Int) {
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
