/// Fills settings from the tree of a file and notes where every value stood and everything that is wrong.
struct SettingsReader {
    let file: String
    /// Folder of the file: what paths are relative to. Empty: the working directory.
    let directory: String
    private(set) var problems: [ConfigProblem] = []
    /// Where each key stands; variables put themselves in place of the file's.
    var origins: [String: Origin] = [:]

    /// Where a value came from.
    enum Origin {
        case file(line: Int, column: Int)
        case variable(String)
    }

    init(file: String) {
        self.file = file
        let folder = file.lastIndex(of: "/").map { String(file[..<$0]) } ?? ""
        directory = folder.isEmpty && file.hasPrefix("/") ? "/" : folder
    }

    mutating func report(_ path: SettingPath, _ node: ConfigNode, _ message: String) {
        report(path, line: node.line, column: node.column, message)
    }

    private mutating func report(_ path: SettingPath, line: Int, column: Int, _ message: String) {
        problems.append(
            ConfigProblem(file: file, line: line, column: column, path: path.description, message: message))
    }

    mutating func note(_ path: SettingPath, _ node: ConfigNode) {
        origins[path.description] = .file(line: node.line, column: node.column)
    }

    mutating func read<Section: SettingsSection>(_ section: inout Section, from node: ConfigNode, at path: SettingPath)
    {
        note(path, node)
        if node.isNull { return }
        guard case .mapping(let pairs) = node.value else {
            report(path, node, "must be a mapping, is \(node.kind)")
            return
        }
        let keys = Section.keys
        for pair in pairs {
            // An unknown key may be anything, so that it is shown in part.
            let path = path.key(String(pair.key.prefix(64).map { $0.isNewline || $0.asciiValue ?? 32 < 32 ? "?" : $0 }))
            guard !pair.isDuplicate else {
                report(path, line: pair.line, column: pair.column, "given twice")
                continue
            }
            guard let key = keys.first(where: { $0.name == pair.key }) else {
                let close = Suggestion.closest(to: pair.key, among: keys.map(\.name))
                let hint = close.map { "; did you mean `\($0)`?" } ?? ""
                let message = pair.key == "<<" ? "merge keys are not supported" : "unknown key\(hint)"
                report(path, line: pair.line, column: pair.column, message)
                continue
            }
            key.read(&section, pair.value, path, &self)
        }
    }

    /// The text of a single value, or `nil` after a problem is noted.
    mutating func scalar(_ node: ConfigNode, at path: SettingPath, kind: String) -> String? {
        note(path, node)
        guard case .scalar(let text, _) = node.value else {
            report(path, node, "must be a single value (\(kind)), is \(node.kind)")
            return nil
        }
        return text
    }

    /// A value, or `nil` after a problem is noted.
    mutating func value<Value>(_ node: ConfigNode, at path: SettingPath, as format: SettingFormat<Value>) -> Value? {
        guard let text = scalar(node, at: path, kind: format.kind) else { return nil }
        if node.isNull {
            report(path, node, "must have a value (\(format.kind)), is empty")
            return nil
        }
        do {
            return try format.parse(text, directory)
        } catch {
            report(path, node, "must be \(error.expectation)")
            return nil
        }
    }

    /// The elements of a list, or `nil` after a problem is noted.
    mutating func list(_ node: ConfigNode, at path: SettingPath) -> [ConfigNode]? {
        note(path, node)
        guard case .sequence(let nodes) = node.value else {
            report(path, node, "must be a list, is \(node.kind)")
            return nil
        }
        return nodes
    }
}

/// "Did you mean …?"
enum Suggestion {
    /// The candidate that `name` was probably meant to be: the same but for case and separators, or few letters off.
    static func closest(to name: String, among candidates: [String]) -> String? {
        func plain(_ text: String) -> [Character] {
            Array(text.lowercased().filter { $0 != "_" && $0 != "-" && $0 != " " })
        }
        // Longer ones resemble no key, and the distance costs their length.
        guard name.utf8.count <= 64 else { return nil }
        let wanted = plain(name)
        let allowed = max(1, min(3, wanted.count / 3))
        return candidates.map { ($0, distance(wanted, plain($0))) }.filter { $0.1 <= allowed }.min { $0.1 < $1.1 }?.0
    }

    /// Letters to insert, remove, replace or swap with their neighbour. O(n·m).
    ///
    /// Source: optimal string alignment (Damerau 1964).
    private static func distance(_ left: [Character], _ right: [Character]) -> Int {
        var rows = [Array(0...right.count)]
        for i in 0..<left.count {
            var row = [i + 1]
            for j in 0..<right.count {
                var cost = min(rows[i][j + 1] + 1, row[j] + 1, rows[i][j] + (left[i] == right[j] ? 0 : 1))
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                    cost = min(cost, rows[i - 1][j - 1] + 1)
                }
                row.append(cost)
            }
            rows.append(row)
        }
        return rows[left.count][right.count]
    }
}
