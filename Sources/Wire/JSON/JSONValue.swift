/// A small document as a tree: tokens' claims, admin bodies, errors. The request path reads with ``JSONScanner``.
package indirect enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    /// Written without fraction and exponent, and in the range of `Int`.
    case integer(Int)
    /// Any other number; always finite.
    case number(Double)
    case string(String)
    case array([JSONValue])
    /// Members in the order of the document.
    case object([Member])

    package struct Member: Equatable, Sendable {
        package var name: String
        package var value: JSONValue

        package init(name: String, value: JSONValue) {
            self.name = name
            self.value = value
        }
    }

    /// Reads a whole document.
    ///
    /// - Throws: any ``JSONProblem``; `duplicateName` only when asked to refuse them, otherwise the first one counts.
    /// - Cost: one allocation per string, array and object; O(n²) in the members of an object when duplicates are
    ///   refused, so bound the text.
    package static func read(
        _ bytes: Span<UInt8>, refusingDuplicates: Bool = false
    ) throws(JSONProblem) -> JSONValue {
        var scanner = JSONScanner(bytes)
        let value = try read(from: &scanner, bytes, refusingDuplicates)
        try scanner.finish()
        return value
    }

    package static func read(_ text: String, refusingDuplicates: Bool = false) throws(JSONProblem) -> JSONValue {
        try read(Array(text.utf8).span, refusingDuplicates: refusingDuplicates)
    }

    /// Depth is bounded by the scanner's.
    private static func read(
        from scanner: inout JSONScanner, _ bytes: Span<UInt8>, _ refusingDuplicates: Bool
    ) throws(JSONProblem) -> JSONValue {
        switch try scanner.kind() {
        case .null:
            try scanner.null()
            return .null
        case .boolean:
            return .bool(try scanner.bool())
        case .string:
            return .string(try scanner.string().text(in: bytes))
        case .number:
            let number = try scanner.number()
            if let value = number.int(in: bytes) { return .integer(value) }
            guard let value = number.double(in: bytes) else {
                throw JSONProblem(.numberTooLarge, at: Int(number.range.start))
            }
            return .number(value)
        case .array:
            var elements: [JSONValue] = []
            try scanner.openArray()
            while try scanner.element() {
                elements.append(try read(from: &scanner, bytes, refusingDuplicates))
            }
            return .array(elements)
        case .object:
            var members: [Member] = []
            try scanner.openObject()
            while let key = try scanner.member() {
                let name = key.text(in: bytes)
                if refusingDuplicates, members.contains(where: { $0.name == name }) {
                    throw JSONProblem(.duplicateName, at: Int(key.raw.start))
                }
                members.append(Member(name: name, value: try read(from: &scanner, bytes, refusingDuplicates)))
            }
            return .object(members)
        }
    }
}

extension JSONValue {
    /// The member of that name; `nil` when there is none or this is no object.
    package subscript(_ name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    package var string: String? { if case .string(let value) = self { value } else { nil } }
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    package var int: Int? { if case .integer(let value) = self { value } else { nil } }
    /// Either kind of number.
    package var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
    package var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    package var object: [Member]? { if case .object(let value) = self { value } else { nil } }
    package var isNull: Bool { self == .null }
}

extension ByteWriter {
    package mutating func append(json value: JSONValue) {
        switch value {
        case .null: append("null")
        case .bool(let value): append(value ? "true" : "false")
        case .integer(let value): append(decimal: value)
        case .number(let value): append(json: value)
        case .string(let value): append(jsonString: value)
        case .array(let elements):
            append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { append(UInt8(ascii: ",")) }
                append(json: element)
            }
            append(UInt8(ascii: "]"))
        case .object(let members):
            append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { append(UInt8(ascii: ",")) }
                append(jsonString: member.name)
                append(UInt8(ascii: ":"))
                append(json: member.value)
            }
            append(UInt8(ascii: "}"))
        }
    }
}
