import Wire

extension JSONValue? {
    /// A whole number as text; `?` where there is none.
    var number: String { self?.int.map { String($0) } ?? "?" }

    /// Texts of a list, separated by commas.
    var names: String { (self?.array ?? []).compactMap(\.string).joined(separator: ",") }
}
