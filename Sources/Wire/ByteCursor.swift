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
/// Behind the end lie ``slack`` bytes more, so that a put of few bytes may write whole words.
public struct ByteCursor: ~Copyable {
    @usableFromInline var at: UnsafeMutableRawPointer
    @usableFromInline let end: UnsafeMutableRawPointer

    /// Bytes behind the end that may be written too, and that are of no account: as many as a number has, and a word.
    @usableFromInline static let slack = 32

    /// - Precondition: the room from `start` to `end`, and ``slack`` more, outlives the cursor:
    ///   ``ByteWriter/append(upTo:_:)`` sees to it.
    @inlinable
    init(_ start: UnsafeMutableRawPointer, end: UnsafeMutableRawPointer) {
        at = start
        self.end = end
    }

    @inlinable
    var position: UnsafeMutableRawPointer { at }

    @inlinable @inline(__always)
    func check(_ count: Int) { precondition(end - at >= count, "more than the room that was asked for") }

    /// A literal, or a text that is one of a few.
    @inlinable @inline(__always)
    public mutating func put(_ literal: StaticString) {
        put(literal.utf8Start, literal.utf8CodeUnitCount)
    }

    @inlinable @inline(__always)
    public mutating func put(_ byte: UInt8) {
        check(1)
        at.storeBytes(of: byte, as: UInt8.self)
        at += 1
    }

    @inlinable @inline(__always)
    public mutating func put(_ bytes: borrowing Span<UInt8>) {
        bytes.withUnsafeBytes { if let source = $0.baseAddress { put(source, $0.count) } }
    }

    @inlinable @inline(__always)
    public mutating func put(_ bytes: [UInt8]) { put(bytes.span) }

    /// A text whose length is known when this is compiled: a few moves.
    @inlinable @inline(__always)
    public mutating func put<let count: Int>(_ text: InlineArray<count, UInt8>) {
        check(count)
        at.storeBytes(of: text, as: InlineArray<count, UInt8>.self)
        at += count
    }

    @inlinable @inline(__always)
    public mutating func put(_ ready: ReadyBytes) {
        let count = ready.count
        check(count)
        ready.padded.withUnsafeBytes { from in
            guard let source = from.baseAddress else { return }
            var index = 0
            // Sixteen at a time: both sides have so many behind the last byte.
            repeat {
                let word = source.loadUnaligned(fromByteOffset: index, as: SIMD16<UInt8>.self)
                at.storeBytes(of: word, toByteOffset: index, as: SIMD16<UInt8>.self)
                index &+= 16
            } while index < count
        }
        at += count
    }

    /// Disfavoured, or every literal would be a `String`.
    @_disfavoredOverload
    @inlinable @inline(__always)
    public mutating func put(_ text: String) {
        var text = text
        text.withUTF8 { put($0.span) }
    }

    @inlinable @inline(__always)
    mutating func put(_ source: UnsafeRawPointer, _ count: Int) {
        check(count)
        copy(source, count)
        at += count
    }

    /// Copies so many bytes: as two words that overlap where there are few, which costs less than a call.
    /// - Precondition: the room was checked.
    @inlinable @inline(__always)
    func copy(_ source: UnsafeRawPointer, _ count: Int) {
        if count < 16 {
            if count >= 8 { return copy(source, count, as: UInt64.self) }
            if count >= 4 { return copy(source, count, as: UInt32.self) }
            if count >= 2 { return copy(source, count, as: UInt16.self) }
            if count == 1 { copy(source, count, as: UInt8.self) }
            return
        }
        if count <= 32 { return copy(source, count, as: SIMD16<UInt8>.self) }
        if count <= 64 { return copy(source, count, as: SIMD32<UInt8>.self) }
        at.copyMemory(from: source, byteCount: count)
    }

    /// The first word and the last one.
    @inlinable @inline(__always)
    func copy<Word: BitwiseCopyable>(_ source: UnsafeRawPointer, _ count: Int, as type: Word.Type) {
        let last = count &- MemoryLayout<Word>.size
        let tail = source.loadUnaligned(fromByteOffset: last, as: type)
        at.storeBytes(of: source.loadUnaligned(as: type), as: type)
        at.storeBytes(of: tail, toByteOffset: last, as: type)
    }

    // MARK: Numbers

    /// The decimal digits of `value`; a negative one, which no count of ours is, shows as 0.
    @inlinable @inline(__always)
    public mutating func put(decimal value: Int) { advance(to: Digits.write(UInt(max(0, value)), at: at)) }

    /// Milliseconds with three decimals, truncated to the microsecond; never negative.
    @inlinable @inline(__always)
    public mutating func put(milliseconds nanoseconds: Int64) {
        advance(to: Digits.write(milliseconds: nanoseconds, at: at))
    }

    /// `value` in sixteen lower-case hexadecimal digits.
    @inlinable @inline(__always)
    public mutating func put(hex value: UInt64) { advance(to: Digits.write(hex: value, at: at)) }

    /// What was written up to `place` took no more of the slack than there is: now it has to be inside.
    @inlinable @inline(__always)
    mutating func advance(to place: UnsafeMutableRawPointer) {
        precondition(place <= end, "more than the room that was asked for")
        at = place
    }

    // MARK: Runs

    /// Puts literals and numbers of `room` bytes at most together: one comparison for all of them.
    ///
    /// - Precondition: the bound is right. Tests see that it is: a debug build compares at each put.
    @inlinable @inline(__always)
    public mutating func put(upTo room: Int, _ write: (inout ByteRun) -> Void) {
        check(room)
        var run = ByteRun(at, end: at + room)
        write(&run)
        advance(to: run.at)
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
        let inside = ByteCursor(at + 1, end: end)
        inside.copy(from, count)
        // What lies behind the copied bytes is ours too, and of no account.
        let found = weir_json_specials16((at + 1).assumingMemoryBound(to: UInt8.self))
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
        appendUninitialized(room + ByteCursor.slack) { memory in
            let start = memory.baseAddress.unsafelyUnwrapped
            var cursor = ByteCursor(start, end: start + (memory.count - ByteCursor.slack))
            write(&cursor)
            return cursor.position - start
        }
    }
}
