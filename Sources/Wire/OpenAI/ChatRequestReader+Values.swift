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

    @inline(__always)
    mutating func requiredString(_ kind: JSONKind, _ place: BodyPlace) throws(BodyProblem) -> JSONString {
        guard kind == .string else { throw .wrongType(place, expected: .string, found: try found(kind)) }
        let value = try string()
        if value.isEmpty { throw .emptyString(place) }
        return value
    }

    mutating func optionalString(_ kind: JSONKind, _ member: ChatMember) throws(BodyProblem) -> JSONString? {
        if kind == .string { return try string() }
        guard kind == .null else { throw .wrongType(.member(member), expected: .string, found: try found(kind)) }
        _ = try skip()
        return nil
    }

    mutating func optionalBool(_ kind: JSONKind, _ member: ChatMember) throws(BodyProblem) -> Bool? {
        try optionalBool(kind, at: .member(member))
    }
    mutating func optionalBool(_ kind: JSONKind, at place: BodyPlace) throws(BodyProblem) -> Bool? {
        if kind == .boolean { return try scan { scanner throws(JSONProblem) in try scanner.bool() } }
        guard kind == .null else { throw .wrongType(place, expected: .boolean, found: try found(kind)) }
        _ = try skip()
        return nil
    }

    mutating func optionalInt(
        _ kind: JSONKind, _ member: ChatMember, _ bounds: ClosedRange<Int>
    ) throws(BodyProblem) -> Int? {
        let place = BodyPlace.member(member)
        if kind == .null {
            _ = try skip()
            return nil
        }
        guard kind == .number else { throw .wrongType(place, expected: .integer, found: try found(kind)) }
        let start = scanner.at
        let small = scanner.smallNumber()
        if bounds.contains(small) { return small }
        scanner.at = start
        let number = try scan { scanner throws(JSONProblem) in try scanner.number() }
        guard number.isInteger else { throw .wrongType(place, expected: .integer, found: .decimal) }
        let isNegative = body[Int(number.range.start)] == UInt8(ascii: "-")
        let value = number.int(in: body) ?? (isNegative ? .min : .max)
        if value < bounds.lowerBound { throw .belowMinimum(place, minimum: bounds.lowerBound) }
        if value > bounds.upperBound { throw .aboveMaximum(place, maximum: bounds.upperBound) }
        return value
    }

    /// Anything but null, false and 0.
    mutating func asksForSomething(_ kind: JSONKind) throws(BodyProblem) -> Bool {
        switch kind {
        case .null:
            _ = try skip()
            return false
        case .boolean:
            return try scan { scanner throws(JSONProblem) in try scanner.bool() }
        default:
            return try isNumber(kind, otherThan: 0)
        }
    }

    /// Whether the value differs from `neutral`; null does not, and what is no number does.
    mutating func isNumber(_ kind: JSONKind, otherThan neutral: Double) throws(BodyProblem) -> Bool {
        guard kind == .number else {
            _ = try skip()
            return kind != .null
        }
        return try scan { scanner throws(JSONProblem) in try scanner.number() }.double(in: body) != neutral
    }

    /// What stands where something else was expected. A number is read, to tell integers from decimals.
    mutating func found(_ kind: JSONKind) throws(BodyProblem) -> BodyProblem.Found {
        switch kind {
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
