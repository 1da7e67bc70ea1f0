/// Lines with aligned columns: names in capitals, two spaces between columns, numbers to the right.
struct OutputTable {
    enum Alignment { case left, right }

    private let columns: [(name: String, alignment: Alignment)]
    private var rows: [[String]] = []

    init(_ columns: [(String, Alignment)]) {
        self.columns = columns.map { (name: $0.0, alignment: $0.1) }
    }

    /// - Precondition: as many cells as columns.
    mutating func add(_ cells: [String]) {
        precondition(cells.count == columns.count)
        // What came over the network must not move the terminal's cursor.
        rows.append(cells.map { $0.isEmpty ? "-" : Self.printable($0) })
    }

    var text: String {
        let lines = [columns.map { $0.name.uppercased() }] + rows
        let widths = columns.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        return lines.map { cells in
            let line = columns.indices.map { column in
                let padding = String(repeating: " ", count: widths[column] - cells[column].count)
                return columns[column].alignment == .right ? padding + cells[column] : cells[column] + padding
            }
            return line.joined(separator: "  ").trimmingEnd()
        }.joined(separator: "\n")
    }

    /// `name   value` lines, one for each fact.
    static func facts(_ facts: [(String, String)]) -> String {
        let width = facts.map { $0.0.count }.max() ?? 0
        return facts.map { name, value in
            name + String(repeating: " ", count: width - name.count + 2) + printable(value)
        }.joined(separator: "\n")
    }

    static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
    }
}

extension String {
    fileprivate func trimmingEnd() -> String {
        var text = self[...]
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
