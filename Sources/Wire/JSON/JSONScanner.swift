/// What a JSON value is, as its first byte tells.
package enum JSONKind: UInt8, Equatable, Sendable {
    case object, array, string, number, boolean, null
}

/// A string in its document: the raw bytes between the quotes.
package struct JSONString: Equatable, Sendable {
    /// Without the quotes.
    package var raw: ByteRange
    /// Whether `raw` holds a backslash, so that it must be unescaped before it means anything.
    package var hasEscapes: Bool

    package init(raw: ByteRange, hasEscapes: Bool) {
        self.raw = raw
        self.hasEscapes = hasEscapes
    }

    package static var empty: JSONString { JSONString(raw: .empty, hasEscapes: false) }
    package var isEmpty: Bool { raw.isEmpty }
    /// With the quotes.
    package var quoted: ByteRange { ByteRange(start: Int(raw.start) - 1, count: Int(raw.count) + 2) }
}

/// A number in its document.
package struct JSONNumber: Equatable, Sendable {
    package var range: ByteRange
    /// Written without fraction and exponent.
    package var isInteger: Bool
}

/// Reads a JSON document front to back, value by value, without building anything.
///
/// Strict RFC 8259: valid UTF-8, no byte order mark, at most ``depthMax`` deep, nothing behind the document. The caller
/// asks for what it wants and skips the rest; everything that is passed over is checked as well.
///
///     try scanner.openObject()
///     while let name = try scanner.member() {
///         if name.equals("model", in: body) { model = try scanner.string() } else { try scanner.skip() }
///     }
///     try scanner.finish()
///
/// - Cost: no allocation; plain string bytes pass sixteen or sixty-four at a time (``JSONStringSearch``).
package struct JSONScanner: ~Escapable {
    package static var depthMax: Int { 64 }

    let bytes: Span<UInt8>
    /// The next byte to read. Before a member or an element, the one that must come first: the bracket that was just
    /// opened, or a comma.
    var at = 0
    /// That byte, and a quote: what a member begins with as programs write it.
    var lead = Self.comma
    var depth = 0
    /// Engines may cut a surrogate pair between two events; a client has no reason to.
    let allowsLoneSurrogates: Bool

    @_lifetime(copy bytes)
    package init(_ bytes: Span<UInt8>, allowsLoneSurrogates: Bool = false) {
        self.bytes = bytes
        self.allowsLoneSurrogates = allowsLoneSurrogates
    }

    // MARK: Moving

    /// The kind of the value that comes next. - Precondition: a value is expected here.
    @inline(__always)
    package mutating func kind() throws(JSONProblem) -> JSONKind {
        switch try significantByte() {
        case UInt8(ascii: "\""): .string
        case UInt8(ascii: "{"): .object
        case UInt8(ascii: "["): .array
        case UInt8(ascii: "t"), UInt8(ascii: "f"): .boolean
        case UInt8(ascii: "n"): .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): .number
        default: throw problem(.expectedValue)
        }
    }

    /// Enters the object that comes next; `at` stays on its bracket.
    @inline(__always)
    package mutating func openObject() throws(JSONProblem) { try open(UInt8(ascii: "{")) }

    /// Enters the array that comes next; `at` stays on its bracket.
    @inline(__always)
    package mutating func openArray() throws(JSONProblem) { try open(UInt8(ascii: "[")) }

    /// Moves to the value of the next member and returns its name; `nil` when the object ended here.
    ///
    /// - Cost: two dozen instructions for `,"name":` as programs write it; any other spelling goes the long way.
    @inline(__always)
    package mutating func member() throws(JSONProblem) -> JSONString? {
        if at < bytes.count, bytes[unchecked: at] == UInt8(ascii: "}") {
            close()
            return nil
        }
        let start = nameStart &+ 1
        // Sixteen bytes of the name and `":` behind them are looked at.
        guard start > 1, start &+ 18 <= bytes.count else { return try spacedMember() }
        var end = start &+ JSONStringSearch.plainBytes(in: bytes, at: start)
        var hasEscapes = false
        if bytes.uncheckedWord(at: end, as: UInt16.self) != Self.endOfName {
            guard end &- start == 16 else { return try spacedMember() }
            (end, hasEscapes) = JSONStringSearch.run(in: bytes, from: end)
            guard end &+ 2 <= bytes.count, bytes.uncheckedWord(at: end, as: UInt16.self) == Self.endOfName else {
                return try spacedMember()
            }
        }
        lead = Self.comma
        at = end &+ 2
        return JSONString(raw: ByteRange(start: start, count: end &- start), hasEscapes: hasEscapes)
    }

    /// Moves to the next element; false when the array ended here.
    @inline(__always)
    package mutating func element() throws(JSONProblem) -> Bool {
        try startsAnother(before: UInt8(ascii: "]"))
    }

    /// Only white space may be left.
    @inline(__always)
    package mutating func finish() throws(JSONProblem) {
        if at != bytes.count { try passSpaceToEnd() }
        guard at <= Int(Int32.max) else { throw problem(.tooLong) }
    }

    // MARK: Values

    /// Reads a string. - Throws: `expectedValue` when something else comes.
    @inline(__always)
    package mutating func string() throws(JSONProblem) -> JSONString {
        guard try significantByte() == UInt8(ascii: "\"") else { throw problem(.expectedValue) }
        return try quoted()
    }

    @inline(__always)
    package mutating func bool() throws(JSONProblem) -> Bool {
        if try significantByte() == UInt8(ascii: "t") {
            try literal("true")
            return true
        }
        try literal("false")
        return false
    }

    package mutating func null() throws(JSONProblem) {
        _ = try significantByte()
        try literal("null")
    }

    /// Reads a number by its grammar; ``JSONNumber/int(in:)`` and ``JSONNumber/double(in:)`` give its value.
    package mutating func number() throws(JSONProblem) -> JSONNumber {
        let first = try significantByte()
        let start = at
        if first == UInt8(ascii: "-") { at &+= 1 }
        guard at < bytes.count else { throw problem(.endOfText) }
        if bytes[unchecked: at] == UInt8(ascii: "0") {
            at &+= 1
        } else {
            try digits()
        }
        var isInteger = true
        if at < bytes.count, bytes[unchecked: at] == UInt8(ascii: ".") {
            isInteger = false
            at &+= 1
            try digits()
        }
        if at < bytes.count, bytes[unchecked: at] | 0x20 == UInt8(ascii: "e") {
            isInteger = false
            at &+= 1
            if at < bytes.count, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") { at &+= 1 }
            try digits()
        }
        return JSONNumber(range: ByteRange(start: start, count: at &- start), isInteger: isInteger)
    }

    /// Checks and passes over whatever value comes next. - Out: where it lies.
    @inline(__always)
    @discardableResult
    package mutating func skip() throws(JSONProblem) -> ByteRange {
        guard try significantByte() == UInt8(ascii: "\"") else { return try skipUnquoted() }
        return try quoted().quoted
    }

    /// A whole document: white space, one value, white space.
    package static func check(_ bytes: Span<UInt8>) throws(JSONProblem) {
        var scanner = JSONScanner(bytes)
        try scanner.skip()
        try scanner.finish()
    }
}

// MARK: The common case, inlined into every reader

extension JSONScanner {
    @inline(__always)
    static func lead(_ byte: UInt8) -> UInt16 { UInt16(byte) | UInt16(UInt8(ascii: "\"")) << 8 }
    @inline(__always)
    static var comma: UInt16 { lead(UInt8(ascii: ",")) }
    /// Makes a space of a lead's quote.
    @inline(__always)
    static var quoteForSpace: UInt16 { UInt16(UInt8(ascii: "\"") ^ UInt8(ascii: " ")) << 8 }
    /// `":`
    @inline(__always)
    static var endOfName: UInt16 { UInt16(UInt8(ascii: "\"")) | UInt16(UInt8(ascii: ":")) << 8 }

    func problem(_ reason: JSONProblem.Reason) -> JSONProblem {
        JSONProblem(at < bytes.count ? reason : .endOfText, at: at)
    }

    @inline(__always)
    static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }

    /// The next byte that is no white space; `at` stands on it.
    @inline(__always)
    mutating func significantByte() throws(JSONProblem) -> UInt8 {
        if at < bytes.count {
            let byte = bytes[unchecked: at]
            if byte > 0x20 { return byte }
        }
        return try significantByteBehindSpace()
    }

    /// Reads the string whose quote `at` stands on.
    @inline(__always)
    mutating func quoted() throws(JSONProblem) -> JSONString { try string(from: at &+ 1) }

    /// Reads the string whose opening quote is before `start`.
    @inline(__always)
    mutating func string(from start: Int) throws(JSONProblem) -> JSONString {
        var end = start
        if start &+ 17 <= bytes.count {
            end &+= JSONStringSearch.plainBytes(in: bytes, at: start)
            if bytes[unchecked: end] == UInt8(ascii: "\"") {
                at = end &+ 1
                return JSONString(raw: ByteRange(start: start, count: end &- start), hasEscapes: false)
            }
        }
        return try longString(from: start, plainUntil: end)
    }

    /// ``string(from:)`` for one that is known to be plain up to `plainEnd`, and to be longer most of the time.
    @inline(__always)
    mutating func longString(from start: Int, plainUntil plainEnd: Int) throws(JSONProblem) -> JSONString {
        let (end, hasEscapes) = JSONStringSearch.run(in: bytes, from: plainEnd)
        guard end < bytes.count, bytes[unchecked: end] == UInt8(ascii: "\"") else {
            return try oddString(from: start, end, hasEscapes)
        }
        at = end &+ 1
        return JSONString(raw: ByteRange(start: start, count: end &- start), hasEscapes: hasEscapes)
    }

    @inline(__always)
    private mutating func open(_ bracket: UInt8) throws(JSONProblem) {
        guard try significantByte() == bracket else { throw problem(.expectedValue) }
        guard depth < Self.depthMax else { throw problem(.tooDeep) }
        depth &+= 1
        lead = Self.lead(bracket)
    }

    @inline(__always)
    private mutating func close() {
        at &+= 1
        depth &-= 1
        lead = Self.comma
    }

    /// Passes the opening bracket, the comma or the closing bracket; `at` stands on the first byte of what comes.
    @inline(__always)
    private mutating func startsAnother(before end: UInt8) throws(JSONProblem) -> Bool {
        if lead != Self.comma {
            lead = Self.comma
            at &+= 1
            guard try significantByte() == end else { return true }
            close()
            return false
        }
        let byte = try significantByte()
        if byte == end {
            close()
            return false
        }
        guard byte == UInt8(ascii: ",") else { throw problem(.expectedCommaOrEnd) }
        at &+= 1
        if try significantByte() == end { throw problem(.expectedValue) }
        return true
    }
}

// MARK: The rest

extension JSONScanner {
    @inline(never)
    private mutating func significantByteBehindSpace() throws(JSONProblem) -> UInt8 {
        while at < bytes.count {
            let byte = bytes[at]
            guard Self.isSpace(byte) else { return byte }
            at += 1
        }
        throw JSONProblem(.endOfText, at: at)
    }

    @inline(never)
    private mutating func passSpaceToEnd() throws(JSONProblem) {
        while at < bytes.count {
            guard Self.isSpace(bytes[at]) else { throw problem(.trailingBytes) }
            at += 1
        }
    }

    /// ``member()`` where there is white space, an escape, a long name, an error, or the end is near.
    @inline(never)
    private mutating func spacedMember() throws(JSONProblem) -> JSONString? {
        guard try startsAnother(before: UInt8(ascii: "}")) else { return nil }
        guard bytes[at] == UInt8(ascii: "\"") else { throw problem(.expectedName) }
        let name = try quoted()
        guard try significantByte() == UInt8(ascii: ":") else { throw problem(.expectedColon) }
        at += 1
        return name
    }

    /// ``string(from:)`` where the byte at `index` must be judged by itself; what is before it is good.
    @inline(never)
    private mutating func oddString(
        from start: Int, _ index: Int, _ hadEscapes: Bool
    ) throws(JSONProblem) -> JSONString {
        var (index, hasEscapes) = (index, hadEscapes)
        while index < bytes.count {
            let byte = bytes[index]
            if byte == UInt8(ascii: "\"") {
                at = index + 1
                return JSONString(raw: ByteRange(start: start, count: index - start), hasEscapes: hasEscapes)
            }
            if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                index = try endOfEscape(at: index)
            } else if byte >= 0x80 {
                let length = bytes.withUnsafeBufferPointer { JSONText.lengthOfCharacter($0, at: index) }
                guard length > 0 else { throw JSONProblem(.invalidUTF8, at: index) }
                index += length
            } else {
                throw JSONProblem(.controlCharacter, at: index)
            }
            let run = JSONStringSearch.run(in: bytes, from: index)
            index = run.end
            hasEscapes = hasEscapes || run.hasEscapes
        }
        throw JSONProblem(.unterminatedString, at: start - 1)
    }

    /// ``skip()`` for what is no string; `at` stands on its first byte.
    @inline(never)
    private mutating func skipUnquoted() throws(JSONProblem) -> ByteRange {
        let start = at
        switch bytes[at] {
        case UInt8(ascii: "{"), UInt8(ascii: "["): try skipContainer()
        case UInt8(ascii: "t"): try literal("true")
        case UInt8(ascii: "f"): try literal("false")
        case UInt8(ascii: "n"): try literal("null")
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number().range
        default: throw problem(.expectedValue)
        }
        return ByteRange(start: start, count: at - start)
    }

    /// One bit per open bracket says whether it is an object's; ``depthMax`` is the number of bits.
    private mutating func skipContainer() throws(JSONProblem) {
        let outside = depth
        var isObject = bytes[at] == UInt8(ascii: "{")
        try open(bytes[at])
        var objects: UInt64 = isObject ? 1 : 0
        while true {
            let goesOn = isObject ? try member() != nil : try element()
            if !goesOn {
                if depth == outside { return }
                objects >>= 1
                isObject = objects & 1 == 1
                continue
            }
            let byte = try significantByte()
            if byte == UInt8(ascii: "\"") {
                _ = try quoted()
            } else if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
                try open(byte)
                isObject = byte == UInt8(ascii: "{")
                objects = objects << 1 | (isObject ? 1 : 0)
            } else {
                _ = try skipUnquoted()
            }
        }
    }

    @inline(__always)
    private mutating func literal(_ text: StaticString) throws(JSONProblem) {
        let length = text.utf8CodeUnitCount
        guard length <= bytes.count &- at else { throw JSONProblem(.invalidLiteral, at: at) }
        guard bytes.holdsUnchecked(text, at: at) else { throw problem(.invalidLiteral) }
        at &+= length
    }

    @inline(__always)
    private mutating func digits() throws(JSONProblem) {
        let start = at
        at = JSONStringSearch.endOfDigits(in: bytes, from: at)
        if at == start { throw problem(.invalidNumber) }
    }

    /// Checks the escape whose backslash is at `index`, with the second half of a surrogate pair.
    private func endOfEscape(at index: Int) throws(JSONProblem) -> Int {
        guard index + 1 < bytes.count else { throw JSONProblem(.unterminatedString, at: index) }
        switch bytes[index + 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            return index + 2
        case UInt8(ascii: "u"):
            guard let unit = JSONText.codeUnit(in: bytes, at: index) else {
                throw JSONProblem(.invalidEscape, at: index)
            }
            if unit & 0xF800 != 0xD800 || allowsLoneSurrogates { return index + 6 }
            guard unit < 0xDC00, let low = JSONText.codeUnit(in: bytes, at: index + 6), low & 0xFC00 == 0xDC00 else {
                throw JSONProblem(.loneSurrogate, at: index)
            }
            return index + 12
        default:
            throw JSONProblem(.invalidEscape, at: index)
        }
    }
}
