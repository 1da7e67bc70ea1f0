import GatewayCore

/// Why a text is not a value, to be put behind "must be".
struct BadValue: Error {
    let expectation: String

    init(_ expectation: String) { self.expectation = expectation }
}

/// Longest single value.
let textBytesMax = 4096

/// How values of one kind are written in the file and in variables.
///
/// Texts are one line without control characters and at most ``textBytesMax`` bytes; that is checked for all of them.
struct SettingFormat<Value> {
    /// For the manual: `duration`, `size`, …
    let kind: String
    /// Whether the text is put in quotes when settings are printed.
    var isQuoted = false
    /// `directory` is the folder of the configuration file, which paths are relative to.
    let parse: (_ text: String, _ directory: String) throws(BadValue) -> Value
    let print: (Value) -> String

    init(
        _ kind: String, isQuoted: Bool = false,
        parse: @escaping (_ text: String, _ directory: String) throws(BadValue) -> Value,
        print: @escaping (Value) -> String
    ) {
        self.kind = kind
        self.isQuoted = isQuoted
        self.parse = { text, directory throws(BadValue) in
            guard text.utf8.count <= textBytesMax else { throw BadValue("at most \(textBytesMax) bytes long") }
            guard !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) else {
                throw BadValue("one line without control characters")
            }
            return try parse(text, directory)
        }
        self.print = print
    }
}

extension SettingFormat where Value == Int {
    static var integer: Self {
        Self("integer") { text, _ throws(BadValue) in
            guard let value = Int(text), !text.hasPrefix("+") else { throw BadValue("a whole number, is `\(text)`") }
            return value
        } print: {
            String($0)
        }
    }

    /// Bytes, `4096` or `4KiB`.
    static var size: Self {
        Self("size") { text, _ throws(BadValue) in
            let expected = BadValue("a number of bytes, plain or with KiB, MiB, GiB or TiB, is `\(text)`")
            let digits = text.prefix { $0.isASCII && $0.isNumber }
            guard let count = Int(digits) else { throw expected }
            let unit = text.dropFirst(digits.count)
            if unit.isEmpty { return count }
            guard let factor = sizeUnits.first(where: { $0.name == unit })?.bytes else { throw expected }
            let (bytes, overflow) = count.multipliedReportingOverflow(by: factor)
            if overflow { throw expected }
            return bytes
        } print: { bytes in
            guard bytes > 0, let unit = sizeUnits.first(where: { bytes % $0.bytes == 0 }) else { return String(bytes) }
            return "\(bytes / unit.bytes)\(unit.name)"
        }
    }
}

private let sizeUnits: [(name: String, bytes: Int)] = [
    ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
]

extension SettingFormat where Value == Interval {
    /// `500ms`, `2s`, `10m` or `1h`.
    static var duration: Self {
        Self("duration") { text, _ throws(BadValue) in
            let digits = text.prefix { $0.isASCII && $0.isNumber }
            let unit = text.dropFirst(digits.count)
            if unit.isEmpty, !digits.isEmpty {
                throw BadValue("a duration with a unit (500ms, 2s, 10m, 1h), is the plain number \(text)")
            }
            let expected = BadValue("a duration (500ms, 2s, 10m, 1h), is `\(text)`")
            guard let count = Int64(digits), let factor = durationUnits.first(where: { $0.name == unit })?.nanoseconds
            else { throw expected }
            let (nanoseconds, overflow) = count.multipliedReportingOverflow(by: factor)
            if overflow { throw expected }
            return .nanoseconds(nanoseconds)
        } print: { interval in
            let unit = durationUnits.first { interval.nanoseconds % $0.nanoseconds == 0 }
            guard interval != .zero, let unit else { return "\(interval.nanoseconds / 1_000_000_000)s" }
            return "\(interval.nanoseconds / unit.nanoseconds)\(unit.name)"
        }
    }
}

private let durationUnits: [(name: String, nanoseconds: Int64)] = [
    ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000),
]

extension SettingFormat where Value == Double {
    static var number: Self {
        Self("number") { text, _ throws(BadValue) in
            let isDecimal = text.utf8.allSatisfy { "0123456789.-".utf8.contains($0) }
            guard isDecimal, let value = Double(text), value.isFinite else { throw BadValue("a number, is `\(text)`") }
            return value
        } print: { value in
            value == value.rounded() && abs(value) < 1e15 ? String(Int(value)) : String(value)
        }
    }
}

extension SettingFormat where Value == Bool {
    static var boolean: Self {
        Self("boolean") { text, _ throws(BadValue) in
            switch text {
            case "true": return true
            case "false": return false
            default: throw BadValue("true or false, is `\(text)`")
            }
        } print: {
            $0 ? "true" : "false"
        }
    }
}

extension SettingFormat where Value == String {
    /// One line of text.
    static var text: Self {
        Self("text", isQuoted: true) { text, _ throws(BadValue) in
            text
        } print: {
            $0
        }
    }

    /// A path, relative to the folder of the configuration file; what is not empty becomes absolute or begins with it.
    static var path: Self {
        Self("path", isQuoted: true) { path, directory throws(BadValue) in
            joined(path, to: directory)
        } print: {
            $0
        }
    }

    static func joined(_ path: String, to directory: String) -> String {
        path.isEmpty || path.hasPrefix("/") || directory.isEmpty ? path : "\(directory)/\(path)"
    }
}

extension SettingFormat where Value: RawRepresentable<String> & CaseIterable {
    static var choice: Self {
        Self("choice", isQuoted: Value.allCases.contains { Double($0.rawValue) != nil }) { text, _ throws(BadValue) in
            guard let value = Value(rawValue: text) else { throw BadValue("\(listed), is `\(text)`") }
            return value
        } print: {
            $0.rawValue
        }
    }

    /// `roundRobin or leastInFlight`.
    static var listed: String { Self.listing(Value.allCases.map(\.rawValue)) }
}

extension SettingFormat {
    /// `a, b or c`.
    static func listing(_ names: [String]) -> String {
        guard let last = names.last, names.count > 1 else { return names.first ?? "" }
        return names.dropLast().joined(separator: ", ") + " or " + last
    }

    /// The same values, or `nil` written as `word`.
    func or(_ word: String) -> SettingFormat<Value?> {
        SettingFormat<Value?>("\(kind) or \(word)", isQuoted: true) { text, directory throws(BadValue) in
            text == word ? nil : try parse(text, directory)
        } print: { value in
            value.map(print) ?? word
        }
    }
}

/// What values of a key are allowed, and the sentence that says so.
struct SettingRule<Value> {
    /// Without "must be"; empty when anything goes.
    let sentence: String
    let allows: (Value) -> Bool

    static var any: Self { Self(sentence: "") { _ in true } }
}

extension SettingRule where Value: Comparable {
    static func range(_ range: ClosedRange<Value>, _ format: SettingFormat<Value>) -> Self {
        Self(sentence: "\(format.print(range.lowerBound)) to \(format.print(range.upperBound))") { range.contains($0) }
    }
}

extension SettingRule where Value == String {
    /// For names that become metric labels, Redis keys or header values.
    static var name: Self {
        Self(sentence: "1 to 64 characters of A-Z a-z 0-9 . _ -") { text in
            (1...64).contains(text.utf8.count)
                && text.utf8.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
                    case UInt8(ascii: "0")...UInt8(ascii: "9"): true
                    case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): true
                    default: false
                    }
                }
        }
    }

    static func length(_ range: ClosedRange<Int>) -> Self {
        let sentence =
            range.lowerBound == 0 ? "at most \(range.upperBound)" : "\(range.lowerBound) to \(range.upperBound)"
        return Self(sentence: "\(sentence) bytes long") { range.contains($0.utf8.count) }
    }
}
