import Wire

/// Reads the members of one object and refuses the second one of a name, however escaped.
///
/// Bound: ``limit`` members; an object with more is refused.
struct MemberNames {
    static let limit = 64

    private var names = InlineArray<64, JSONString>(repeating: .empty)
    private var count = 0

    /// Moves to the value of the next member, as `JSONScanner.member()` does.
    mutating func next(
        _ scanner: inout JSONScanner, in document: Span<UInt8>
    ) throws(JSONProblem) -> JSONString? {
        guard let name = try scanner.member() else { return nil }
        guard count < Self.limit else { throw JSONProblem(.tooLong, at: Int(name.raw.start)) }
        for index in 0..<count where Self.equal(names[index], name, in: document) {
            throw JSONProblem(.duplicateName, at: Int(name.raw.start))
        }
        names[count] = name
        count += 1
        return name
    }

    private static func equal(_ left: JSONString, _ right: JSONString, in document: Span<UInt8>) -> Bool {
        if left.hasEscapes || right.hasEscapes {
            return JSONText.equal(document.extracting(left.raw), document.extracting(right.raw))
        }
        guard left.raw.count == right.raw.count else { return false }
        let (left, right) = (document.extracting(left.raw), document.extracting(right.raw))
        for index in left.indices where left[index] != right[index] { return false }
        return true
    }
}

extension JSONString {
    /// Whether the string means exactly these bytes. - Precondition: it was read from `document`.
    func equals(_ text: [UInt8], in document: Span<UInt8>) -> Bool {
        let bytes = document.extracting(raw)
        if hasEscapes { return Array(JSONText.text(bytes).utf8) == text }
        guard bytes.count == text.count else { return false }
        for index in bytes.indices where bytes[index] != text[index] { return false }
        return true
    }
}
