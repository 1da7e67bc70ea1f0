import Foundation
import Testing

/// Rules of style that a machine can check. What it says is a file and a line.
@Suite struct SourceRulesTests {
    private func everything() throws -> [SourceFile] {
        let manifest = SourceFile(
            path: "Package.swift", lines: try SourceTree.text("Package.swift").split(separator: "\n").map(String.init))
        return try SourceTree.sources.get() + SourceTree.tests.get() + [manifest]
    }

    @Test func `files have at most 450 lines`() throws {
        for file in try everything() where file.path.hasSuffix(".swift") {
            #expect(file.lines.count <= 450, "\(file.path): \(file.lines.count) lines")
        }
    }

    @Test func `lines have at most 120 characters`() throws {
        for file in try everything() {
            for (number, line) in file.lines.enumerated() where line.count > 120 && !isPattern(line) {
                Issue.record("\(file.path):\(number + 1): \(line.count) characters")
            }
        }
    }

    /// A regular expression on a line of its own can't be broken without changing it.
    private func isPattern(_ line: String) -> Bool {
        let text = line.trimmingCharacters(in: .whitespaces)
        return text.hasPrefix("/^") && text.hasSuffix("$/")
    }

    @Test func `no work is left in remarks, and nothing ends the process but preconditions`() throws {
        // In two pieces, so that this file is not found by itself.
        let banned = ["TO" + "DO", "FIX" + "ME", "fatal" + "Error", "try" + "!", "XX" + "X:"]
        for file in try everything() {
            for (number, line) in file.lines.enumerated() {
                for word in banned where line.contains(word) {
                    Issue.record("\(file.path):\(number + 1): \(word)")
                }
            }
        }
    }

    @Test func `what the compiler can't check has its proof beside it`() throws {
        let claims = ["@unchecked Sendable", "nonisolated(unsafe)", "unowned(unsafe)"]
        for file in try everything() where file.path.hasSuffix(".swift") && !file.path.hasPrefix("Tests/TidyTests") {
            for (number, line) in file.code.enumerated() where claims.contains(where: line.contains) {
                #expect(hasRemark(near: number, in: file), "\(file.path):\(number + 1): no proof")
            }
        }
    }

    /// Whether there is a comment on the line, right below it, or at most two lines above.
    private func hasRemark(near number: Int, in file: SourceFile) -> Bool {
        let lines = file.lines
        if lines[number].contains("//") { return true }
        let above = lines[max(0, number - 2)..<number].contains { $0.contains("//") }
        let below = number + 1 < lines.count && lines[number + 1].contains("//")
        return above || below
    }

    @Test func `no file is called after what everything could be called after`() throws {
        for file in try everything() {
            let name = file.path.split(separator: "/").last.map(String.init) ?? ""
            for word in ["Util", "Helper", "Manager", "Misc", "_v2"] {
                #expect(!name.contains(word), "\(file.path)")
            }
        }
    }

    @Test func `release builds find what crosses modules by themselves, with one exception`() throws {
        let exceptions = ["ByteCursor", "ByteRange", "ByteRun", "Digits", "ReadyBytes"].map {
            "Sources/Wire/\($0).swift"
        }
        for file in try SourceTree.sources.get() where !exceptions.contains(where: file.path.hasSuffix) {
            for (number, line) in file.code.enumerated() {
                #expect(
                    !line.contains("@inlinable") && !line.contains("@usableFromInline"), "\(file.path):\(number + 1)")
            }
        }
    }
}
