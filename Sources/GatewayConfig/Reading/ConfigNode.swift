/// One value of a configuration file and where it stands. Aliases are already replaced by what they stand for.
///
/// A class, because aliases share nodes: a file with aliases takes no more memory than its text.
final class ConfigNode {
    enum Value {
        case scalar(String, isPlain: Bool)
        case sequence([ConfigNode])
        case mapping([Pair])
    }

    struct Pair {
        let key: String
        let line: Int
        let column: Int
        let value: ConfigNode
        /// Whether the same mapping has this key further up.
        let isDuplicate: Bool
    }

    let line: Int
    let column: Int
    let value: Value
    /// Nodes below this one and itself, aliases counted as often as they are used.
    let expandedCount: Int

    init(line: Int, column: Int, value: Value) {
        self.line = line
        self.column = column
        self.value = value
        var count = 1
        switch value {
        case .scalar: break
        case .sequence(let nodes): for node in nodes { count = Self.sum(count, node.expandedCount) }
        case .mapping(let pairs): for pair in pairs { count = Self.sum(count, pair.value.expandedCount) }
        }
        expandedCount = count
    }

    /// Whether nothing was written, or `null` or `~`.
    var isNull: Bool {
        if case .scalar(let text, isPlain: true) = value { return text.isEmpty || text == "null" || text == "~" }
        return false
    }

    /// What it is, for messages.
    var kind: String {
        switch value {
        case _ where isNull: "empty"
        case .scalar: "a single value"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }

    private static func sum(_ left: Int, _ right: Int) -> Int {
        let (sum, overflow) = left.addingReportingOverflow(right)
        return overflow ? .max : sum
    }
}
