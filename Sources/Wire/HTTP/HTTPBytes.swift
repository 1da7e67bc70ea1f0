import CVectors

/// A set of ASCII bytes in two words: a look-up is a shift, without memory.
struct ByteSet: Equatable, Sendable {
    let low: UInt64
    let high: UInt64

    @inline(__always)
    func contains(_ byte: UInt8) -> Bool {
        let half = byte < 64 ? low : high
        return byte < 128 && half >> UInt64(byte & 63) & 1 != 0
    }

    /// `tchar`: RFC 9110 §5.6.2.
    static var token: ByteSet { ByteSet(low: 0x03FF_6CFA_0000_0000, high: 0x57FF_FFFF_C7FF_FFFE) }
    /// `pchar` and `/`, with `%`: RFC 3986 §3.3.
    static var path: ByteSet { ByteSet(low: 0x2FFF_FFF2_0000_0000, high: 0x47FF_FFFE_87FF_FFFF) }
    /// The same and `?`: RFC 3986 §3.4.
    static var query: ByteSet { ByteSet(low: 0xAFFF_FFF2_0000_0000, high: 0x47FF_FFFE_87FF_FFFF) }
    /// What DNS names are made of, and `_`.
    static var hostName: ByteSet { ByteSet(low: 0x03FF_6000_0000_0000, high: 0x07FF_FFFE_87FF_FFFE) }
    static var hexDigit: ByteSet { ByteSet(low: 0x03FF_0000_0000_0000, high: 0x0000_007E_0000_007E) }
}

/// Names of the bytes that HTTP's grammar is made of.
enum ASCII {
    static var tab: UInt8 { 0x09 }
    static var lineFeed: UInt8 { 0x0A }
    static var carriageReturn: UInt8 { 0x0D }
    static var space: UInt8 { 0x20 }
    static var quote: UInt8 { 0x22 }
    static var percent: UInt8 { 0x25 }
    static var asterisk: UInt8 { 0x2A }
    static var comma: UInt8 { 0x2C }
    static var hyphen: UInt8 { 0x2D }
    static var dot: UInt8 { 0x2E }
    static var slash: UInt8 { 0x2F }
    static var zero: UInt8 { 0x30 }
    static var colon: UInt8 { 0x3A }
    static var semicolon: UInt8 { 0x3B }
    static var equals: UInt8 { 0x3D }
    static var questionMark: UInt8 { 0x3F }
    static var at: UInt8 { 0x40 }
    static var openBracket: UInt8 { 0x5B }
    static var backslash: UInt8 { 0x5C }
    static var closeBracket: UInt8 { 0x5D }
    static var underscore: UInt8 { 0x5F }
    static var delete: UInt8 { 0x7F }
}

/// Eight equal bytes.
@inline(__always)
private func eight(_ byte: UInt8) -> UInt64 { UInt64(byte) &* 0x0101_0101_0101_0101 }

extension Span where Element == UInt8 {
    /// The value at `offset`, whatever its alignment, first byte lowest.
    @inline(__always)
    func word<Word: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: Word.Type = Word.self) -> Word {
        Word(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: type))
    }

    /// The first byte in `start..<end` that no field value may hold: below 0x20 except HTAB, or 0x7F. Else `end`.
    @inline(__always)
    func firstControl(from start: Int, to end: Int) -> Int {
        first(from: start, to: end, weir_field_controls16) { byte in
            (byte < 0x20 && byte != ASCII.tab) || byte == ASCII.delete
        }
    }

    /// The first `byte` in `start..<end`, else `end`.
    @inline(__always)
    func firstIndex(of byte: UInt8, from start: Int, to end: Int) -> Int {
        first(from: start, to: end, { weir_equal16($0, byte) }, { $0 == byte })
    }

    /// The first byte in `start..<end` that is no letter, digit, `-`, `.` or `/`; else `end`.
    @inline(__always)
    func firstUnusualInPath(from start: Int, to end: Int) -> Int {
        first(from: start, to: end, weir_path_specials16) { byte in
            byte &- 0x2D > 0x39 - 0x2D && (byte | 0x20) &- 0x61 > 25
        }
    }

    /// The first byte in `start..<end` that is no letter, digit, `-`, `.` or `_`; else `end`.
    @inline(__always)
    func firstUnusualInHost(from start: Int, to end: Int) -> Int {
        first(from: start, to: end, weir_host_specials16) { !ByteSet.hostName.contains($0) }
    }

    /// The first byte in `start..<end` that is meant, else `end`: sixteen at a time, as long as the buffer has so many.
    ///
    /// - In: `search`, one bit for each of sixteen bytes that is meant; `isMeant`, the same for one byte.
    @inline(__always)
    private func first(
        from start: Int, to end: Int, _ search: (UnsafePointer<UInt8>) -> UInt32, _ isMeant: (UInt8) -> Bool
    ) -> Int {
        var at = start
        while at < end, at &+ 16 <= count {
            let found = withUnsafeBufferPointer { search($0.baseAddress.unsafelyUnwrapped + at) }
            if found != 0 { return Swift.min(at &+ found.trailingZeroBitCount, end) }
            at &+= 16
        }
        while at < end {
            if isMeant(self[at]) { return at }
            at &+= 1
        }
        return end
    }

    /// Whether `start..<end` is surely a token: of letters, digits and hyphens, as most are. Eight at a time.
    ///
    /// `false` says nothing: neither about other tokens nor where the buffer ends within eight bytes.
    @inline(__always)
    func isPlainToken(from start: Int, to end: Int) -> Bool {
        var at = start
        while at < end {
            guard at &+ 8 <= count else { return false }
            var value = word(at: at, as: UInt64.self)
            if end &- at < 8 {
                // Behind the end an `a` stands for whatever is there.
                let behind = ~UInt64(0) << UInt64((end &- at) &* 8)
                value = value & ~behind | eight(0x61) & behind
            }
            // Top bits say which bounds were reached. A byte above 0x7F fails, so what its sums carry is of no account.
            let folded = value | eight(0x20)
            let letters = (folded &+ eight(0x80 - 0x61)) & ~(folded &+ eight(0x80 - 0x7B))
            let digits = (value &+ eight(0x80 - 0x30)) & ~(value &+ eight(0x80 - 0x3A))
            let hyphens = ~((value ^ eight(ASCII.hyphen)) &+ eight(0x7F))
            let plain = (letters | digits | hyphens) & ~value & eight(0x80)
            if plain != eight(0x80) { return false }
            at &+= 8
        }
        return true
    }

    /// Whether every byte of `start..<end` is in `set`.
    @inline(__always)
    func consists(of set: ByteSet, from start: Int, to end: Int) -> Bool {
        var at = start
        while at < end {
            if !set.contains(self[at]) { return false }
            at &+= 1
        }
        return true
    }

    /// Whether `text` stands at `offset`, letter for letter. - Precondition: so many bytes are there.
    @inline(__always)
    func holds(_ text: StaticString, at offset: Int) -> Bool {
        holds(text, at: offset, ignoring: 0)
    }

    /// Whether `lowercased`, of letters, digits and hyphens, stands at `offset` in any case, in bytes without controls.
    ///
    /// Setting bit 5 turns nothing but those and control bytes into one of them, so this compares words, not letters.
    @inline(__always)
    func holdsIgnoringCase(_ lowercased: StaticString, at offset: Int) -> Bool {
        holds(lowercased, at: offset, ignoring: 0x20)
    }

    /// Compares by the widest words that fit, the last two overlapping; the words of a literal are constants.
    @inline(__always)
    private func holds(_ text: StaticString, at offset: Int, ignoring bits: UInt8) -> Bool {
        let wanted = UnsafeRawPointer(text.utf8Start)
        let count = text.utf8CodeUnitCount
        if count >= 8 {
            var at = 0
            while at &+ 8 <= count {
                if !agrees(offset &+ at, wanted + at, UInt64.self, eight(bits)) { return false }
                at &+= 8
            }
            return at == count || agrees(offset &+ count &- 8, wanted + (count &- 8), UInt64.self, eight(bits))
        }
        if count >= 4 {
            let mask = UInt32(truncatingIfNeeded: eight(bits))
            return agrees(offset, wanted, UInt32.self, mask)
                && agrees(offset &+ count &- 4, wanted + (count &- 4), UInt32.self, mask)
        }
        var at = 0
        while at < count {
            if self[offset &+ at] | bits != text.utf8Start[at] { return false }
            at &+= 1
        }
        return true
    }

    @inline(__always)
    private func agrees<Word: FixedWidthInteger & BitwiseCopyable>(
        _ offset: Int, _ wanted: UnsafeRawPointer, _ type: Word.Type, _ bits: Word
    ) -> Bool {
        bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: type) | bits == wanted.loadUnaligned(as: type)
    }

    /// Whether both ranges hold the same token when letters' case is ignored.
    func equalTokens(_ left: Range<Int>, _ right: Range<Int>) -> Bool {
        guard left.count == right.count else { return false }
        var at = 0
        while at < left.count {
            if lowercased(at: left.lowerBound + at) != lowercased(at: right.lowerBound + at) { return false }
            at += 1
        }
        return true
    }

    @inline(__always)
    func lowercased(at index: Int) -> UInt8 {
        let byte = self[index]
        return byte &- 0x41 < 26 ? byte | 0x20 : byte
    }

    /// `start..<end` without spaces and tabs at either end.
    @inline(__always)
    func trimmed(from start: Int, to end: Int) -> Range<Int> {
        // A space in front of the value, and none behind it.
        if end &- start > 1, start >= 0, end <= count, self[unchecked: start] == ASCII.space,
            self[unchecked: start &+ 1] > ASCII.space, self[unchecked: end &- 1] > ASCII.space
        {
            return start &+ 1..<end
        }
        var first = start
        var last = end
        while first < last, self[first] == ASCII.space || self[first] == ASCII.tab { first &+= 1 }
        while last > first, self[last &- 1] == ASCII.space || self[last &- 1] == ASCII.tab { last &-= 1 }
        return first..<last
    }

    /// A number of decimal digits and nothing else, at most 2^53 (what every JSON reader can hold).
    @inline(__always)
    func decimal(_ range: Range<Int>) -> Int? {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        guard !range.isEmpty else { return nil }
        var value = 0
        var index = range.lowerBound
        // Fifteen digits are below 2^53 whatever they are.
        let safeEnd = Swift.min(range.upperBound, range.lowerBound &+ 15)
        while index < safeEnd {
            let digit = self[unchecked: index] &- ASCII.zero
            guard digit < 10 else { return nil }
            value = value &* 10 &+ Int(digit)
            index &+= 1
        }
        while index < range.upperBound {
            let digit = self[unchecked: index] &- ASCII.zero
            guard digit < 10 else { return nil }
            value = value &* 10 &+ Int(digit)
            guard value <= 1 << 53 else { return nil }
            index &+= 1
        }
        return value
    }
}
