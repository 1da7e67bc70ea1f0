/// JSON as its grammar says it, byte by byte and without any haste: what the fast readers are compared with.
package indirect enum PlainJSON {
    case word(String)
    /// As it is written.
    case number(String)
    /// Unescaped, with lone surrogates as U+FFFD.
    case string(String)
    case array([PlainJSON])
    case object([Member])

    package struct Member {
        package var name: String
        package var value: PlainJSON
    }

    /// `nil` when `bytes` is no document that we accept.
    package static func read(_ bytes: [UInt8], allowsLoneSurrogates: Bool = false) -> PlainJSON? {
        guard String(validating: bytes, as: UTF8.self) != nil else { return nil }
        var reader = PlainReader(bytes: bytes, allowsLoneSurrogates: allowsLoneSurrogates)
        guard let value = reader.value(depth: 0) else { return nil }
        reader.passSpace()
        return reader.at == bytes.count ? value : nil
    }

    package var members: [Member]? { if case .object(let members) = self { members } else { nil } }
    package var elements: [PlainJSON]? { if case .array(let elements) = self { elements } else { nil } }
    package var text: String? { if case .string(let text) = self { text } else { nil } }
    package var int: Int? { if case .number(let digits) = self { Int(digits) } else { nil } }

    /// The last member of that name, which is the one that counts.
    package subscript(_ name: String) -> PlainJSON? { members?.last { $0.name == name }?.value }
}

private struct PlainReader {
    let bytes: [UInt8]
    let allowsLoneSurrogates: Bool
    var at = 0

    var byte: UInt8? { at < bytes.count ? bytes[at] : nil }

    mutating func passSpace() {
        while let byte, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { at += 1 }
    }

    mutating func take(_ text: String) -> Bool {
        guard bytes[at...].starts(with: text.utf8) else { return false }
        at += text.utf8.count
        return true
    }

    mutating func value(depth: Int) -> PlainJSON? {
        passSpace()
        switch byte {
        case UInt8(ascii: "{"): return depth < 64 ? object(depth: depth + 1) : nil
        case UInt8(ascii: "["): return depth < 64 ? array(depth: depth + 1) : nil
        case UInt8(ascii: "\""): return string().map { .string($0) }
        default:
            for word in ["true", "false", "null"] where take(word) { return .word(word) }
            return number()
        }
    }

    mutating func array(depth: Int) -> PlainJSON? {
        var elements: [PlainJSON] = []
        at += 1
        passSpace()
        if take("]") { return .array([]) }
        while let element = value(depth: depth) {
            elements.append(element)
            passSpace()
            if take("]") { return .array(elements) }
            guard take(",") else { return nil }
        }
        return nil
    }

    mutating func object(depth: Int) -> PlainJSON? {
        var members: [PlainJSON.Member] = []
        at += 1
        passSpace()
        if take("}") { return .object([]) }
        while true {
            passSpace()
            guard byte == UInt8(ascii: "\""), let name = string() else { return nil }
            passSpace()
            guard take(":"), let value = value(depth: depth) else { return nil }
            members.append(PlainJSON.Member(name: name, value: value))
            passSpace()
            if take("}") { return .object(members) }
            guard take(",") else { return nil }
        }
    }

    mutating func digits() -> Bool {
        let start = at
        while let byte, (0x30...0x39).contains(byte) { at += 1 }
        return at > start
    }

    mutating func number() -> PlainJSON? {
        let start = at
        _ = take("-")
        if !take("0") { guard digits() else { return nil } }
        if take(".") { guard digits() else { return nil } }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            guard digits() else { return nil }
        }
        return .number(String(decoding: bytes[start..<at], as: UTF8.self))
    }

    mutating func string() -> String? {
        var units: [UInt16] = []
        var plain: [UInt8] = []
        at += 1
        while let byte {
            at += 1
            switch byte {
            case UInt8(ascii: "\""):
                units += String(decoding: plain, as: UTF8.self).utf16
                return isPaired(units) || allowsLoneSurrogates ? String(decoding: units, as: UTF16.self) : nil
            case 0..<0x20:
                return nil
            case UInt8(ascii: "\\"):
                units += String(decoding: plain, as: UTF8.self).utf16
                plain = []
                guard let unit = escape() else { return nil }
                units.append(unit)
            default:
                plain.append(byte)
            }
        }
        return nil
    }

    mutating func escape() -> UInt16? {
        guard let letter = byte else { return nil }
        at += 1
        let meanings: [Character: UInt16] = [
            "\"": 0x22, "\\": 0x5C, "/": 0x2F, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9,
        ]
        if letter != UInt8(ascii: "u") { return meanings[Character(Unicode.Scalar(letter))] }
        guard at + 4 <= bytes.count else { return nil }
        let digits = bytes[at..<at + 4]
        at += 4
        guard digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit && $0 < 0x80 }) else { return nil }
        return UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
    }

    func isPaired(_ units: [UInt16]) -> Bool {
        var index = 0
        while index < units.count {
            if UTF16.isTrailSurrogate(units[index]) { return false }
            if UTF16.isLeadSurrogate(units[index]) {
                guard index + 1 < units.count, UTF16.isTrailSurrogate(units[index + 1]) else { return false }
                index += 1
            }
            index += 1
        }
        return true
    }
}
