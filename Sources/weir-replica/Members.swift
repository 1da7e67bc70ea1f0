import Wire

/// The members of a JSON object, with errors that name the one to blame. `null` counts as absent.
struct Members {
    private let value: JSONValue
    private let prefix: String

    init(_ value: JSONValue, at prefix: String = "") {
        self.value = value
        self.prefix = prefix
    }

    subscript(_ name: String) -> JSONValue? {
        let member = value[name]
        return member == .null ? nil : member
    }

    func string(_ name: String) throws(APIError) -> String? {
        try read(name, "a string") { $0.string }
    }

    func bool(_ name: String) throws(APIError) -> Bool? {
        try read(name, "a boolean") { $0.bool }
    }

    func object(_ name: String) throws(APIError) -> Members? {
        try read(name, "an object") { $0.object != nil ? Members($0, at: prefix + name + ".") : nil }
    }

    func integer(_ name: String, _ range: ClosedRange<Int>) throws(APIError) -> Int? {
        guard let number = try read(name, "an integer", { $0.int }) else { return nil }
        guard range.contains(number) else { throw outOfRange(name, "\(range.lowerBound)", "\(range.upperBound)") }
        return number
    }

    func number(_ name: String, _ range: ClosedRange<Double>) throws(APIError) -> Double? {
        guard let number = try read(name, "a number", { $0.double }) else { return nil }
        guard range.contains(number) else { throw outOfRange(name, "\(range.lowerBound)", "\(range.upperBound)") }
        return number
    }

    private func read<Value>(
        _ name: String, _ expected: String, _ convert: (JSONValue) -> Value?
    ) throws(APIError) -> Value? {
        guard let member = self[name] else { return nil }
        guard let value = convert(member) else {
            throw .invalid("Invalid type for '\(prefix)\(name)': expected \(expected).", param: prefix + name)
        }
        return value
    }

    private func outOfRange(_ name: String, _ least: String, _ most: String) -> APIError {
        .invalid("Invalid value for '\(prefix)\(name)': expected \(least) to \(most).", param: prefix + name)
    }
}
