import Yams

/// The text of a configuration file as a tree of values with their places.
///
/// Bounds: 1 MiB of text, 64 levels, 200000 values after aliases are replaced, 100 duplicate keys, 8 explicit keys.
///
/// Yams replaces aliases while it reads, and hashes every mapping key: a key made of nested aliases would keep it busy
/// for ever. So aliases are hidden from it (their `*` becomes ``aliasMark``, which makes them plain texts of the same
/// length) and are replaced here, where their growth is counted.
struct ConfigDocument {
    static let textBytesMax = 1 << 20
    static let depthMax = 64
    static let valuesMax = 200_000
    static let duplicatesMax = 100
    /// `? key`, which nobody needs here. Nested ones are hashed once a level, and so cost their square.
    static let explicitKeysMax = 8

    /// `nil` when the text could not be read or holds nothing.
    private(set) var root: ConfigNode?
    private(set) var problems: [ConfigProblem] = []

    private let file: String
    private var anchors: [String: ConfigNode] = [:]
    private static let aliasMark: Unicode.Scalar = "\u{F8FF}"
    /// Appended to a key that was there before, so that Yams reads on.
    private static let duplicateMark: Unicode.Scalar = "\u{F8FE}"

    /// What Yams calls a key that is a sequence or a mapping.
    private static let nameOfOtherKeys = "<uncovertable>"

    init(text: String, file: String) {
        self.file = file
        guard text.utf8.count <= Self.textBytesMax else {
            report(1, 1, "the file is larger than 1 MiB")
            return
        }
        if let odd = text.unicodeScalars.first(where: { $0 == Self.aliasMark || $0 == Self.duplicateMark }) {
            report(1, 1, "the character U+\(String(odd.value, radix: 16, uppercase: true)) is not allowed")
            return
        }
        guard Self.explicitKeys(in: text) <= Self.explicitKeysMax else {
            report(1, 1, "more than \(Self.explicitKeysMax) explicit keys (`? key`)")
            return
        }
        read(Self.hidingAliases(in: text))
    }

    private mutating func report(_ line: Int, _ column: Int, _ message: String) {
        problems.append(ConfigProblem(file: file, line: line, column: column, path: "", message: message))
    }

    /// Reads the text as often as there are duplicate keys, each time with one more of them marked.
    private mutating func read(_ original: String) {
        var text = original
        for _ in 0...Self.duplicatesMax {
            do {
                let parser = try Parser(yaml: text, resolver: .basic, encoding: .utf8)
                // Nodes refer to their anchors weakly: the parser owns them.
                try withExtendedLifetime(parser) {
                    guard let node = try parser.singleRoot() else { return }
                    root = convert(node, depth: 1)
                }
                if let root, root.expandedCount > Self.valuesMax {
                    report(root.line, root.column, "the file holds more than \(Self.valuesMax) values")
                    self.root = nil
                }
                return
            } catch YamlError.duplicatedKeysInMapping(let names, let context) {
                // Yams sorts them, but keys that are no texts have no order: what else it reports is chance then.
                if names.contains(Self.nameOfOtherKeys) {
                    report(1, 1, "a key must be a plain text")
                    return
                }
                guard Self.markDuplicate(in: &text, after: context.mark) else {
                    let listed = names.map { "`\(Self.restored($0))`" }.joined(separator: ", ")
                    report(context.mark.line, context.mark.column, "given twice in one mapping: \(listed)")
                    return
                }
            } catch {
                report(error, in: text)
                return
            }
        }
        report(1, 1, "more than \(Self.duplicatesMax) keys are given twice")
    }

    private mutating func report(_ error: any Error, in text: String) {
        switch error {
        case YamlError.scanner(let context, let problem, let mark, _),
            YamlError.parser(let context, let problem, let mark, _):
            let about = context.map { "\($0.text) that begins in line \($0.mark.line): " } ?? ""
            report(mark.line, mark.column, "not valid YAML: \(about)\(problem)")
        case YamlError.composer(_, let problem, let mark, _):
            report(mark.line, mark.column, "must be a single YAML document, \(problem)")
        case YamlError.reader(let problem, let offset, _, _):
            let before = text.prefix(offset ?? 0).unicodeScalars
            let line = before.count { $0 == "\n" } + 1
            let column = before.count - (before.lastIndex(of: "\n").map { before[...$0].count } ?? 0) + 1
            report(line, column, "not valid YAML: \(problem)")
        default:
            report(1, 1, "not valid YAML")
        }
    }

    // MARK: Aliases

    /// Replaces the `*` of everything that may be an alias; what turns out to be none gets it back in ``restored(_:)``.
    private static func hidingAliases(in text: String) -> String {
        var hidden = String.UnicodeScalarView()
        var star = false
        for scalar in text.unicodeScalars {
            if star {
                let beginsName = scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
                hidden.append(beginsName || scalar == "_" || scalar == "-" ? aliasMark : "*")
            }
            star = scalar == "*"
            if !star { hidden.append(scalar) }
        }
        if star { hidden.append("*") }
        return String(hidden)
    }

    /// What may be a `?` that begins a key; counts those in comments and texts too.
    private static func explicitKeys(in text: String) -> Int {
        var count = 0
        var before: Unicode.Scalar = "\n"
        var isMark = false
        for scalar in text.unicodeScalars {
            if isMark, " \t\r\n".unicodeScalars.contains(scalar) { count += 1 }
            isMark = scalar == "?" && " \t\n[{,".unicodeScalars.contains(before)
            before = scalar
        }
        return count
    }

    private static func restored(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: { $0 == aliasMark || $0 == duplicateMark }) else { return text }
        var restored = String.UnicodeScalarView()
        for scalar in text.unicodeScalars where scalar != duplicateMark {
            restored.append(scalar == aliasMark ? "*" : scalar)
        }
        return String(restored)
    }

    /// The name of the alias, if the scalar is one.
    private static func alias(_ scalar: Node.Scalar) -> String? {
        guard scalar.style == .plain, scalar.string.unicodeScalars.first == aliasMark else { return nil }
        return String(scalar.string.unicodeScalars.dropFirst())
    }

    // MARK: Duplicates

    /// Marks the next key of a block mapping that is spelled like the one at `mark` and stands in the same column.
    ///
    /// - Returns: whether one was found; a flow mapping, for instance, may have it on one line.
    private static func markDuplicate(in text: inout String, after mark: Mark) -> Bool {
        var lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(Array.init)
        let first = mark.line - 1
        let column = mark.column - 1
        guard first < lines.count, let key = key(of: lines[first], at: column) else { return false }
        for line in (first + 1)..<max(first + 1, lines.count) {
            let indent = lines[line].prefix { $0 == " " }.count
            if indent == lines[line].count || lines[line][indent] == "#" { continue }
            if indent < column { return false }
            guard indent == column, let other = Self.key(of: lines[line], at: column),
                lines[line][other] == lines[first][key]
            else { continue }
            lines[line].insert(duplicateMark, at: other.upperBound)
            text = joined(lines)
            return true
        }
        return false
    }

    /// Where the text of the key is that begins at `column`, without quotes; `nil` if there is no such key.
    private static func key(of line: [Unicode.Scalar], at column: Int) -> Range<Int>? {
        guard column < line.count else { return nil }
        let quote = line[column]
        let isQuoted = quote == "\"" || quote == "'"
        let start = isQuoted ? column + 1 : column
        guard var end = line[start...].firstIndex(of: isQuoted ? quote : ":") else { return nil }
        while !isQuoted, end > start, line[end - 1] == " " { end -= 1 }
        guard end > start else { return nil }
        return line[start..<end].contains { $0 == "{" || $0 == "\\" } ? nil : start..<end
    }

    private static func joined(_ lines: [[Unicode.Scalar]]) -> String {
        var text = String.UnicodeScalarView()
        for (index, line) in lines.enumerated() {
            if index > 0 { text.append("\n") }
            text.append(contentsOf: line)
        }
        return String(text)
    }

    // MARK: Conversion

    private mutating func convert(_ node: Node, depth: Int) -> ConfigNode? {
        let line = node.mark?.line ?? 1
        let column = node.mark?.column ?? 1
        guard depth <= Self.depthMax else {
            report(line, column, "more than \(Self.depthMax) levels deep")
            return nil
        }
        let value: ConfigNode.Value
        switch node {
        case .scalar(let scalar):
            if let name = Self.alias(scalar) {
                guard let target = anchors[name] else {
                    report(line, column, "no anchor `&\(name)` stands before this alias")
                    return nil
                }
                return target
            }
            value = .scalar(Self.restored(scalar.string), isPlain: scalar.style == .plain)
        case .sequence(let sequence):
            var items: [ConfigNode] = []
            for item in sequence {
                if let item = convert(item, depth: depth + 1) { items.append(item) }
            }
            value = .sequence(items)
        case .mapping(let mapping):
            value = .mapping(pairs(of: mapping, depth: depth))
        case .alias:
            // Only written documents have these nodes.
            return nil
        }
        if !["tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"].contains(node.tag.description) {
            report(line, column, "tags such as `\(node.tag)` are not supported")
        }
        let converted = ConfigNode(line: line, column: column, value: value)
        if let anchor = node.anchor { anchors[anchor.rawValue] = converted }
        return converted
    }

    private mutating func pairs(of mapping: Node.Mapping, depth: Int) -> [ConfigNode.Pair] {
        var pairs: [ConfigNode.Pair] = []
        var seen: Set<String> = []
        for (key, value) in mapping {
            let line = key.mark?.line ?? 1
            let column = key.mark?.column ?? 1
            guard case .scalar(let scalar) = key, Self.alias(scalar) == nil else {
                report(line, column, "a key must be a plain text")
                continue
            }
            let name = Self.restored(scalar.string)
            guard let value = convert(value, depth: depth + 1) else { continue }
            pairs.append(
                ConfigNode.Pair(
                    key: name, line: line, column: column, value: value, isDuplicate: !seen.insert(name).inserted))
        }
        return pairs
    }
}
