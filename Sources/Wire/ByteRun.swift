/// Literals and numbers that ``ByteCursor/put(upTo:_:)`` has made room for: nothing is compared with the end any more.
///
/// Unsafe inside: the bound is its user's claim, which debug builds check at each put, and so every test.
public struct ByteRun: ~Copyable {
    @usableFromInline var at: UnsafeMutableRawPointer
    @usableFromInline let end: UnsafeMutableRawPointer

    @inlinable @inline(__always)
    init(_ start: UnsafeMutableRawPointer, end: UnsafeMutableRawPointer) {
        at = start
        self.end = end
    }

    @inlinable @inline(__always)
    public mutating func put(_ literal: StaticString) {
        let count = literal.utf8CodeUnitCount
        let start = at
        advance(to: start + count)
        start.copyMemory(from: literal.utf8Start, byteCount: count)
    }

    /// A text whose length is known when this is compiled.
    @inlinable @inline(__always)
    public mutating func put<let count: Int>(_ text: InlineArray<count, UInt8>) {
        let start = at
        advance(to: start + count)
        start.storeBytes(of: text, as: InlineArray<count, UInt8>.self)
    }

    /// The decimal digits of `value`, twenty at most; a negative one shows as 0.
    @inlinable @inline(__always)
    public mutating func put(decimal value: Int) {
        advance(to: Digits.write(UInt(max(0, value)), at: at))
    }

    /// Milliseconds with three decimals, seventeen bytes at most; never negative.
    @inlinable @inline(__always)
    public mutating func put(milliseconds nanoseconds: Int64) {
        advance(to: Digits.write(milliseconds: nanoseconds, at: at))
    }

    /// A point, and `value`, below 1,000, in three digits.
    @inlinable @inline(__always)
    public mutating func put(decimals value: UInt) { advance(to: Digits.write(decimals: value, at: at)) }

    @inlinable @inline(__always)
    mutating func advance(to place: UnsafeMutableRawPointer) {
        assert(place <= end, "more than the room that was asked for")
        at = place
    }
}
