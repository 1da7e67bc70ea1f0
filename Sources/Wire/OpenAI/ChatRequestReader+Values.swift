/// Values with their types checked, in the words of ``BodyProblem``.
extension ChatRequestReader {
    /// Runs one step of the scanner and makes its problem ours.
    @inline(__always)
    mutating func scan<Result>(
        _ step: (inout JSONScanner) throws(JSONProblem) -> Result
    ) throws(BodyProblem) -> Result {
        do throws(JSONProblem) { return try step(&scanner) } catch { throw .malformed(error) }
    }

    @inline(__always)
    mutating func kind() throws(BodyProblem) -> JSONKind {
        try scan { scanner throws(JSONProblem) in try scanner.kind() }
    }
    @inline(__always)
    mutating func member() throws(BodyProblem) -> JSONString? {
        try scan { scanner throws(JSONProblem) in try scanner.member() }
    }
    @inline(__always)
    mutating func element() throws(BodyProblem) -> Bool {
        try scan { scanner throws(JSONProblem) in try scanner.element() }
    }
    @inline(__always)
    mutating func string() throws(BodyProblem) -> JSONString {
        try scan { scanner throws(JSONProblem) in try scanner.string() }
    }
    @inline(__always)
    mutating func skip() throws(BodyProblem) -> ByteRange {
        try scan { scanner throws(JSONProblem) in try scanner.skip() }
    }
    /// ``skip()`` for what mostly is a number. - Precondition: `scanner` stands on the value's first byte.
    @inline(__always)
    mutating func skipNumber() throws(BodyProblem) {
        if byte &- UInt8(ascii: "0") < 10 {
            _ = try scan { scanner throws(JSONProblem) in try scanner.number() }
        } else {
            _ = try skip()
        }
    }

    /// The first byte of the value that comes next; `scanner` stands on it.
    @inline(__always)
    mutating func firstByte() throws(BodyProblem) -> UInt8 {
        try scan { scanner throws(JSONProblem) in try scanner.significantByte() }
    }

    /// That byte again. - Precondition: ``firstByte()`` found it, and nothing was read since.
    @inline(__always)
    var byte: UInt8 { body[unchecked: scanner.at] }

    /// - Precondition: `scanner` stands on the value's first byte.
    @inline(__always)
    mutating func requiredString(_ place: BodyPlace) throws(BodyProblem) -> JSONString {
        guard byte == UInt8(ascii: "\"") else { throw .wrongType(place, expected: .string, found: try found()) }
        let value = try scan { scanner throws(JSONProblem) in try scanner.quoted() }
        if value.isEmpty { throw .emptyString(place) }
        return value
    }

    mutating func optionalString(_ member: ChatMember) throws(BodyProblem) -> JSONString? {
        switch try kind() {
        case .string: return try string()
        case .null:
            _ = try skip()
            return nil
        default: throw .wrongType(.member(member), expected: .string, found: try found())
        }
    }

    /// - Precondition: `scanner` stands on the value's first byte.
    @inline(__always)
    mutating func optionalBool(_ place: BodyPlace) throws(BodyProblem) -> Bool? {
        let byte = byte
        if byte == UInt8(ascii: "f") || byte == UInt8(ascii: "t") {
            return try scan { scanner throws(JSONProblem) in try scanner.bool() }
        }
        guard byte == UInt8(ascii: "n") else { throw .wrongType(place, expected: .boolean, found: try found()) }
        _ = try skip()
        return nil
    }

    /// - Precondition: `scanner` stands on the value's first byte.
    @inline(__always)
    mutating func optionalInt(_ member: ChatMember, _ bounds: ClosedRange<Int>) throws(BodyProblem) -> Int? {
        let start = scanner.at
        let small = scanner.smallNumber()
        if bounds.contains(small) { return small }
        scanner.at = start
        return try unusualInt(member, bounds)
    }

    /// An integer of more than nine digits or with white space behind it, null, or something that is refused.
    @inline(never)
    private mutating func unusualInt(_ member: ChatMember, _ bounds: ClosedRange<Int>) throws(BodyProblem) -> Int? {
        let place = BodyPlace.member(member)
        let kind = try self.kind()
        if kind == .null {
            _ = try skip()
            return nil
        }
        guard kind == .number else { throw .wrongType(place, expected: .integer, found: try found()) }
        let number = try scan { scanner throws(JSONProblem) in try scanner.number() }
        guard number.isInteger else { throw .wrongType(place, expected: .integer, found: .decimal) }
        let isNegative = body[Int(number.range.start)] == UInt8(ascii: "-")
        let value = number.int(in: body) ?? (isNegative ? .min : .max)
        if value < bounds.lowerBound { throw .belowMinimum(place, minimum: bounds.lowerBound) }
        if value > bounds.upperBound { throw .aboveMaximum(place, maximum: bounds.upperBound) }
        return value
    }

    /// Anything but null, false and 0.
    mutating func asksForSomething() throws(BodyProblem) -> Bool {
        if try kind() == .boolean { return try scan { scanner throws(JSONProblem) in try scanner.bool() } }
        return try isNumber(otherThan: 0)
    }

    /// Whether the value differs from `neutral`; null does not, and what is no number does.
    mutating func isNumber(otherThan neutral: Double) throws(BodyProblem) -> Bool {
        let kind = try self.kind()
        guard kind == .number else {
            _ = try skip()
            return kind != .null
        }
        return try scan { scanner throws(JSONProblem) in try scanner.number() }.double(in: body) != neutral
    }

    /// What stands where something else was expected. A number is read, to tell integers from decimals.
    mutating func found() throws(BodyProblem) -> BodyProblem.Found {
        switch try kind() {
        case .object: return .object
        case .array: return .array
        case .string: return .string
        case .boolean: return .boolean
        case .null: return .null
        case .number:
            let number = try scan { scanner throws(JSONProblem) in try scanner.number() }
            return number.isInteger ? .integer : .decimal
        }
    }
}
