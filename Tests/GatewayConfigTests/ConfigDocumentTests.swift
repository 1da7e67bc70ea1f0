import TestSupport
import Testing

@testable import GatewayConfig

@Suite struct ConfigDocumentTests {
    private func problems(_ text: String) -> [String] {
        ConfigDocument(text: text, file: "f").problems.map(\.description)
    }

    @Test func `places count from one, in characters, whatever the line ends and the byte order mark`() throws {
        for (text, line, column) in [
            ("log:\n  level: info\n", 2, 10), ("log:\r\n  level: info\r\n", 2, 10),
            ("\u{FEFF}log:\n  level: info\n", 2, 10),
            ("# é 名前\nlog: {\"level\": info}\n", 2, 16), ("log: {é: 1, level: info}\n", 1, 20),
        ] {
            let root = try #require(ConfigDocument(text: text, file: "f").root)
            let log = try #require(root["log"])
            let level = try #require(log["level"])
            #expect(level.line == line && level.column == column, "\(text.debugDescription)")
        }
    }

    @Test func `text with nothing in it is no problem and no tree`() {
        for text in ["", "\n\n", "# only a comment", "---\n...\n"] {
            let document = ConfigDocument(text: text, file: "f")
            #expect(document.problems.isEmpty && document.root?.isNull != false, "\(text.debugDescription)")
        }
    }

    @Test func `an alias is what its anchor stands for, and a star elsewhere is a star`() throws {
        let text = "a: &x [1, {k: v}]\nb: *x\nc: ['*x', \"*x\", 2*x, '**', * ]\n"
        // A lone star is not YAML.
        #expect(problems(text).count == 1)
        let root = try #require(ConfigDocument(text: text.replacing(", * ]", with: "]"), file: "f").root)
        #expect(root["a"] === root["b"])
        guard case .sequence(let stars)? = root["c"]?.value else { Issue.record("no list"); return }
        #expect(stars.map(\.text) == ["*x", "*x", "2*x", "**"])
    }

    @Test func `an anchor that is given again stands for the newer value from there on`() throws {
        let root = try #require(ConfigDocument(text: "a: &x 1\nb: *x\nc: &x 2\nd: *x\n", file: "f").root)
        #expect(root["b"]?.text == "1")
        #expect(root["d"]?.text == "2")
    }

    @Test func `aliases that would grow without end are counted, not followed`() {
        var text = "a0: &a0 [x, x]\n"
        for level in 1...60 { text += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
        #expect(problems(text) == ["f:1:1: the file holds more than 200000 values"])
        #expect(problems("? [*a, *b]\n: 1\n? {*a : 1}\n: 2\n").allSatisfy { $0.contains("a key must be a plain text") })
    }

    @Test func `depth is bounded, by us for values and by the parser for all else`() {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(problems(nested(64)).isEmpty)
        #expect(problems(nested(65)) == ["f:1:65: more than 64 levels deep"])
        #expect(problems(nested(100_000)).count == 1)
        #expect(problems(String(repeating: "- ", count: 100_000)).count == 1)
        #expect(problems(String(repeating: "? ", count: 100_000)).count == 1)
        #expect(problems(String(repeating: "{a: ", count: 100_000)).count == 1)
    }

    @Test func `explicit keys are few, because nested ones cost their square`() {
        func nested(_ depth: Int) -> String { String(repeating: "? ", count: depth) + "a" }
        #expect(problems(nested(8)) == ["f:1:3: a key must be a plain text"])
        #expect(problems(nested(9)) == ["f:1:1: more than 8 explicit keys (`? key`)"])
        #expect(problems("# why? how? what?\na: b?c ?d\n").isEmpty)
    }

    @Test func `a text above one mebibyte is refused unread`() {
        let text = "a: " + String(repeating: "x", count: (1 << 20) - 3)
        #expect(problems(text).isEmpty)
        #expect(problems(text + "x") == ["f:1:1: the file is larger than 1 MiB"])
    }

    @Test func `every repetition of a key is found, not only the first`() throws {
        let text = "a: 1\nb: 2\na: 3\n'a': 4\n\"a\": 5\nc:\n  a: 6\n  a : 7\n"
        let document = ConfigDocument(text: text, file: "f")
        guard case .mapping(let pairs)? = document.root?.value else { Issue.record("no mapping"); return }
        #expect(pairs.map(\.key) == ["a", "b", "a", "a", "a", "c"])
        #expect(pairs.map(\.isDuplicate) == [false, false, true, true, true, false])
        #expect(pairs.map(\.line) == [1, 2, 3, 4, 5, 6])
    }

    @Test func `very many repetitions end in one problem`() {
        let text = (0...200).map { "a: \($0)\n" }.joined()
        #expect(problems(text) == ["f:1:1: more than 100 keys are given twice"])
    }

    @Test func `characters that stand for aliases inside are refused`() {
        #expect(problems("a: \u{F8FF}x\n") == ["f:1:1: the character U+F8FF is not allowed"])
    }

    @Test func `control characters are reported where they stand`() {
        #expect(problems("a: 1\nb: x\u{1}y\n").first?.hasPrefix("f:2:5: not valid YAML: control characters") == true)
    }

    @Test func `whatever the text, reading ends with a tree or with problems inside the text`() {
        let pieces = [
            "a", "b", "listen", "pools", ":", ": ", "\n", "\n  ", "\n    ", "- ", "? ", "[", "]", "{", "}", ", ", "&a ",
            "*a",
            "*", "&", "!", "!!str ", "|\n", ">\n", "'", "\"", "#", " # ", "%YAML 1.1\n", "---\n", "...\n", "<<", "\t",
            "\r\n",
            "\u{0}", "\u{7}", "é", "名", "\u{FEFF}", "\u{85}", "\u{2028}", "1", "0x", "~", "null", "\\", "\"\\x", "@",
            "`",
        ]
        var generator = SplitMix64(seed: 11)
        for _ in 0..<4000 {
            let text = (0..<Int.random(in: 0..<40, using: &generator))
                .map { _ in pieces.randomElement(using: &generator) ?? "" }.joined()
            let document = ConfigDocument(text: text, file: "f")
            for problem in document.problems {
                #expect(problem.line >= 1 && problem.column >= 1 && problem.line <= text.unicodeScalars.count + 2)
            }
            // Garbage names no pool, so that it can never be usable.
            #expect(throws: ConfigProblems.self) { try GatewaySettings.parse(text: text) }
        }
    }
}

extension ConfigNode {
    fileprivate subscript(key: String) -> ConfigNode? {
        if case .mapping(let pairs) = value { return pairs.first { $0.key == key }?.value }
        return nil
    }

    fileprivate var text: String? {
        if case .scalar(let text, _) = value { return text }
        return nil
    }
}
