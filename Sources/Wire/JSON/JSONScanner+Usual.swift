/// What programs mostly write, taken at once: punctuation, names and values that nearly all spell and order so.
///
/// Each of these either passes over just what it says or leaves everything as it was; then the general way is gone from
/// there, and it comes to the same (`JSONReadersTests`).
extension JSONScanner {
    /// Passes over `text` if just that comes next.
    ///
    /// Whatever differs is read the long way from where this left it.
    /// - Parameter opened: how many objects and arrays `text` opens, less those that it closes.
    /// - Precondition: ``depthMax`` is far. `text` begins with a comma, or with a bracket that was just opened or that
    ///   it opens; it does not end with an opening one.
    @inline(__always)
    mutating func take(_ text: StaticString, deeper opened: Int = 0) -> Bool {
        let count = text.utf8CodeUnitCount
        guard at &+ count <= bytes.count, bytes.holdsUnchecked(text, at: at) else { return false }
        at &+= count
        depth &+= opened
        lead = Self.comma
        return true
    }

    /// Where the next member's name begins, quote included, if in front of it is just what must be, or a space besides;
    /// 0 says nothing.
    @inline(__always)
    var nameStart: Int {
        guard at &+ 3 <= bytes.count else { return 0 }
        let word = bytes.uncheckedWord(at: at, as: UInt16.self)
        if word == lead { return at &+ 1 }
        return word == lead ^ Self.quoteForSpace && bytes[unchecked: at &+ 2] == UInt8(ascii: "\"") ? at &+ 2 : 0
    }

    /// Where an array's next element begins, or its end, if in front of it is just what must be, or a space besides; 0
    /// says nothing.
    @inline(__always)
    var elementStart: Int {
        guard at &+ 3 <= bytes.count, bytes[unchecked: at] == UInt8(truncatingIfNeeded: lead) else { return 0 }
        return bytes[unchecked: at &+ 1] == UInt8(ascii: " ") ? at &+ 2 : at &+ 1
    }

    /// Passes over `text` if it stands at `start`: what a member or an element begins with.
    ///
    /// - Precondition: `start` is ``nameStart`` or ``elementStart``, and not 0.
    @inline(__always)
    mutating func take(_ text: StaticString, at start: Int, deeper opened: Int = 0) -> Bool {
        let end = start &+ text.utf8CodeUnitCount
        guard end <= bytes.count, bytes.holdsUnchecked(text, at: start) else { return false }
        at = end
        depth &+= opened
        lead = Self.comma
        return true
    }

    /// Reads a whole number of one to seven digits, if just that comes next and a member or the end behind it.
    ///
    /// -1 says nothing: ``number()`` takes what this leaves where it was.
    @inline(__always)
    mutating func smallNumber() -> Int {
        guard at < bytes.count, bytes.count >= 8 else { return -1 }
        let number = JSONStringSearch.smallNumber(in: bytes, at: at)
        guard number.count &- 1 < 7, number.count > 0,
            number.next == UInt8(ascii: ",") || number.next == UInt8(ascii: "}"),
            // A leading zero is for the grammar.
            number.count == 1 || bytes[unchecked: at] != UInt8(ascii: "0")
        else { return -1 }
        at &+= number.count
        return number.value
    }

    /// ``skip()`` for what mostly is a whole number of many digits.
    @inline(__always)
    mutating func skipNumber() throws(JSONProblem) -> ByteRange {
        let start = at
        let end = JSONStringSearch.endOfDigits(in: bytes, from: start)
        guard end > start, end < bytes.count, bytes[unchecked: end] == UInt8(ascii: ","),
            bytes[unchecked: start] != UInt8(ascii: "0")
        else { return try skip() }
        at = end
        return ByteRange(start: start, count: end &- start)
    }
}
