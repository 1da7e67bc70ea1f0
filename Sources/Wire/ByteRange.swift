import Glibc

/// Where a piece of text lies in the buffer that it was parsed from: eight bytes, valid as long as the buffer is.
///
/// Parsers return these instead of copies; 2 GiB is more than any buffer may hold. What every stage asks of them is
/// `@inlinable`, as ``ByteCursor`` is.
public struct ByteRange: Equatable, Hashable, BitwiseCopyable, Sendable {
    public var start: Int32
    public var count: Int32

    public init(start: Int, count: Int) {
        self.start = Int32(truncatingIfNeeded: start)
        self.count = Int32(truncatingIfNeeded: count)
    }
    public init(_ range: Range<Int>) { self.init(start: range.lowerBound, count: range.count) }

    public static var empty: ByteRange { ByteRange(start: 0, count: 0) }
    public var isEmpty: Bool { count == 0 }
    @inlinable @inline(__always)
    public var end: Int { Int(start) + Int(count) }
    @inlinable @inline(__always)
    public var range: Range<Int> { Int(start)..<end }
    /// The same bytes in a buffer that has `offset` more of them in front.
    public func moved(by offset: Int) -> ByteRange { ByteRange(start: Int(start) + offset, count: Int(count)) }
}

extension Span where Element == UInt8 {
    /// The bytes of `range`. - Precondition: the range was parsed from this buffer.
    @inlinable @inline(__always)
    @_lifetime(copy self)
    public func extracting(_ range: ByteRange) -> Span<UInt8> { extracting(range.range) }

    /// A string of these bytes; invalid UTF-8 is repaired. Allocates: not for the hot path.
    public var text: String {
        withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }

    /// Whether these are exactly the bytes of `text`.
    @inlinable @inline(__always)
    public func equals(_ text: StaticString) -> Bool {
        let length = text.utf8CodeUnitCount
        guard count == length else { return false }
        return withUnsafeBufferPointer { bytes in
            // Both have so many bytes; a literal's length is known when this is compiled, so it is a few words.
            bytes.baseAddress.map { memcmp($0, text.utf8Start, length) == 0 } ?? true
        }
    }

    /// Whether these are exactly the bytes of `other`.
    public func equals(_ other: [UInt8]) -> Bool {
        guard count == other.count else { return false }
        return withUnsafeBufferPointer { bytes in
            other.withUnsafeBufferPointer { other in
                guard let left = bytes.baseAddress, let right = other.baseAddress else { return true }
                // Both have `count` bytes.
                return memcmp(left, right, bytes.count) == 0
            }
        }
    }

    /// Whether these are exactly the bytes of `other`.
    public func equals(_ other: Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        return withUnsafeBufferPointer { bytes in
            other.withUnsafeBufferPointer { other in
                guard let left = bytes.baseAddress, let right = other.baseAddress else { return true }
                // Both have `count` bytes.
                return memcmp(left, right, bytes.count) == 0
            }
        }
    }

    /// Whether these bytes of a head are `lowercased`, of letters, digits, `-`, `/` and spaces, in any case.
    ///
    /// - Precondition: no control bytes, which no head that was accepted has.
    public func equalsIgnoringCase(_ lowercased: StaticString) -> Bool {
        count == lowercased.utf8CodeUnitCount && holdsIgnoringCase(lowercased, at: 0)
    }
}
