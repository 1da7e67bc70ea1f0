/// Bytes that are put again and again, such as a replica's name in a log line: made once, and copied in whole words.
///
/// One word, so that an object with many of them stays small. Made for ``ByteCursor``, which is why it is `@inlinable`
/// too.
public struct ReadyBytes: Sendable {
    /// The bytes, and ``padding`` more that a copy may read.
    @usableFromInline let padded: [UInt8]

    /// Makes up a whole word of sixteen, whatever the bytes end with.
    @usableFromInline static let padding = 15

    public init(_ bytes: borrowing Span<UInt8>) {
        padded = bytes.withUnsafeBufferPointer { Array($0) + repeatElement(0, count: Self.padding) }
    }

    @inlinable @inline(__always)
    public var count: Int { padded.count &- Self.padding }

    public var bytes: Span<UInt8> {
        @_lifetime(borrow self) borrowing get { padded.span.extracting(0..<count) }
    }
}
