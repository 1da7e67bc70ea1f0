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
/// - Cost: no allocation; plain string bytes pass sixteen at a time (``JSONStringSearch``).
package struct JSONScanner: ~Escapable {
    package static var depthMax: Int { 64 }

    let bytes: Span<UInt8>
    /// The next byte to read.
    package internal(set) var at = 0
    /// Whether an opening bracket was just passed, so that no comma may come.
    var isFirst = false
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

    /// Enters the object that comes next.
    @inline(__always)
    package mutating func openObject() throws(JSONProblem) { try open(UInt8(ascii: "{")) }

    /// Enters the array that comes next.
    @inline(__always)
    package mutating func openArray() throws(JSONProblem) { try open(UInt8(ascii: "[")) }

    /// Moves to the value of the next member and returns its name; `nil` when the object ended here.
    ///
    /// - Cost: some thirty instructions for `,"name":` as programs write it; any other spelling goes the long way.
    @inline(__always)
    package mutating func member() throws(JSONProblem) -> JSONString? {
        if at < bytes.count, bytes[unchecked: at] == UInt8(ascii: "}") {
            close()
            return nil
        }
        let quote = isFirst ? at : at &+ 1
        // The shortest member is `"":0}`.
        guard quote &+ 5 <= bytes.count, bytes.count >= 16, bytes[unchecked: quote] == UInt8(ascii: "\""),
            isFirst || bytes[unchecked: at] == UInt8(ascii: ",")
        else { return try spacedMember() }
        var found = JSONStringSearch.specials(in: bytes, from: quote &+ 1)
        if found == 0, quote &+ 17 < bytes.count {
            found = JSONStringSearch.specials(in: bytes, from: quote &+ 17) &<< 16
        }
        let end = quote &+ 1 &+ found.trailingZeroBitCount
        guard found != 0, end &+ 1 < bytes.count, bytes[unchecked: end] == UInt8(ascii: "\""),
            bytes[unchecked: end &+ 1] == UInt8(ascii: ":")
        else { return try spacedMember() }
        isFirst = false
        at = end &+ 2
        return JSONString(raw: ByteRange(start: quote &+ 1, count: end &- quote &- 1), hasEscapes: false)
    }

    /// Moves to the next element; false when the array ended here.
    @inline(__always)
    package mutating func element() throws(JSONProblem) -> Bool {
        try startsAnother(before: UInt8(ascii: "]"))
    }

    /// Only white space may be left.
    package mutating func finish() throws(JSONProblem) {
        while at < bytes.count {
            guard Self.isSpace(bytes[at]) else { throw problem(.trailingBytes) }
            at += 1
        }
        guard at <= Int(Int32.max) else { throw problem(.tooLong) }
    }

    // MARK: Values

    /// Reads a string. - Throws: `expectedValue` when something else comes.
    @inline(__always)
    package mutating func string() throws(JSONProblem) -> JSONString {
        guard try significantByte() == UInt8(ascii: "\"") else { throw problem(.expectedValue) }
        return try quoted()
    }

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
        if first == UInt8(ascii: "-") { at += 1 }
        guard at < bytes.count else { throw problem(.endOfText) }
        if bytes[at] == UInt8(ascii: "0") {
            at += 1
        } else {
            try digits()
        }
        var isInteger = true
        if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
            isInteger = false
            at += 1
            try digits()
        }
        if at < bytes.count, bytes[at] | 0x20 == UInt8(ascii: "e") {
            isInteger = false
            at += 1
            if at < bytes.count, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") { at += 1 }
            try digits()
        }
        return JSONNumber(range: ByteRange(start: start, count: at - start), isInteger: isInteger)
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
    func problem(_ reason: JSONProblem.Reason) -> JSONProblem {
        JSONProblem(at < bytes.count ? reason : .endOfText, at: at)
    }

    @inline(__always)
    static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }

    /// Passes over `text` if just that comes next: punctuation and names that programs mostly spell and order so.
    ///
    /// Whatever differs is read the long way from where this left it.
    /// - Precondition: `text` begins where a member may: with a comma or, right behind the bracket, with a name.
    @inline(__always)
    mutating func take(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard at &+ count <= bytes.count, bytes.holds(text, at: at) else { return false }
        at &+= count
        isFirst = false
        return true
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
    mutating func quoted() throws(JSONProblem) -> JSONString {
        let start = at &+ 1
        guard start < bytes.count, bytes.count >= 16 else { return try longString(plain: 0) }
        var found = JSONStringSearch.specials(in: bytes, from: start)
        if found == 0, start &+ 16 < bytes.count {
            found = JSONStringSearch.specials(in: bytes, from: start &+ 16) &<< 16
        }
        let end = start &+ found.trailingZeroBitCount
        guard found != 0 else { return try longString(plain: start &+ 32 <= bytes.count ? 32 : 0) }
        guard bytes[unchecked: end] == UInt8(ascii: "\"") else { return try longString(plain: 0) }
        at = end &+ 1
        return JSONString(raw: ByteRange(start: start, count: end &- start), hasEscapes: false)
    }

    /// Reads a whole number of one to nine digits, if just that comes next and a member or the end behind it.
    ///
    /// -1 says nothing: ``number()`` takes what this leaves where it was.
    @inline(__always)
    mutating func smallNumber() -> Int {
        let bound = min(at &+ 10, bytes.count)
        var index = at
        var value = 0
        while index < bound {
            let byte = bytes[unchecked: index]
            let digit = byte &- UInt8(ascii: "0")
            guard digit < 10 else {
                guard index > at, byte == UInt8(ascii: ",") || byte == UInt8(ascii: "}") else { return -1 }
                // A leading zero is for the grammar.
                if index &- at > 1, bytes[unchecked: at] == UInt8(ascii: "0") { return -1 }
                at = index
                return value
            }
            value = value &* 10 &+ Int(digit)
            index &+= 1
        }
        return -1
    }

    @inline(__always)
    mutating func open(_ bracket: UInt8) throws(JSONProblem) {
        guard try significantByte() == bracket else { throw problem(.expectedValue) }
        guard depth < Self.depthMax else { throw problem(.tooDeep) }
        at &+= 1
        depth &+= 1
        isFirst = true
    }

    @inline(__always)
    mutating func close() {
        at &+= 1
        depth &-= 1
        isFirst = false
    }

    /// Passes the comma or the closing bracket; `at` stands on the first byte of what comes.
    @inline(__always)
    mutating func startsAnother(before end: UInt8) throws(JSONProblem) -> Bool {
        let byte = try significantByte()
        if byte == end {
            close()
            return false
        }
        if isFirst {
            isFirst = false
            return true
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

    /// Reads the string whose quote `at` stands on, whatever is in it. Its first `plain` bytes are known.
    @inline(never)
    private mutating func longString(plain: Int) throws(JSONProblem) -> JSONString {
        let start = at + 1
        var index = start + plain
        var hasEscapes = false
        while true {
            index = JSONStringSearch.firstSpecial(in: bytes, from: index)
            guard index < bytes.count else { throw JSONProblem(.unterminatedString, at: at) }
            let byte = bytes[index]
            if byte == UInt8(ascii: "\"") {
                at = index + 1
                return JSONString(raw: ByteRange(start: start, count: index - start), hasEscapes: hasEscapes)
            }
            if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                index = try endOfEscape(at: index)
            } else if byte >= 0x80 {
                let end = JSONStringSearch.endOfNonASCII(in: bytes, from: index)
                guard end > 0 else { throw JSONProblem(.invalidUTF8, at: -end) }
                index = end
            } else {
                throw JSONProblem(.controlCharacter, at: index)
            }
        }
    }

    /// ``skip()`` for what is no string; `at` stands on its first byte.
    @inline(never)
    private mutating func skipUnquoted() throws(JSONProblem) -> ByteRange {
        let start = at
        switch bytes[at] {
        case UInt8(ascii: "1")...UInt8(ascii: "9"):
            at = JSONStringSearch.endOfDigits(in: bytes, from: at)
            if at < bytes.count, bytes[at] == UInt8(ascii: ".") || bytes[at] | 0x20 == UInt8(ascii: "e") {
                at = start
                _ = try number()
            }
        case UInt8(ascii: "{"), UInt8(ascii: "["): try skipContainer()
        case UInt8(ascii: "t"): try literal("true")
        case UInt8(ascii: "f"): try literal("false")
        case UInt8(ascii: "n"): try literal("null")
        case UInt8(ascii: "-"), UInt8(ascii: "0"): _ = try number()
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
        guard length <= bytes.count - at else { throw JSONProblem(.invalidLiteral, at: at) }
        guard bytes.extracting(at..<at + length).isName(text) else { throw problem(.invalidLiteral) }
        at += length
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
