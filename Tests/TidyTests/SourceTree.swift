import Foundation

/// A text file of the repository, cut into lines.
struct SourceFile: Sendable {
    /// From the repository's root, with slashes.
    let path: String
    let lines: [String]

    /// The target that it belongs to: the folder under `Sources`.
    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }

    /// The lines without comments: what the compiler sees. A `//` behind a space inside a text is cut as well, which no
    /// check here minds.
    var code: [String] {
        lines.map { line in
            let trimmed = line.drop { $0 == " " }
            if trimmed.hasPrefix("//") { return "" }
            guard let comment = line.range(of: " //") else { return line }
            return String(line[..<comment.lowerBound])
        }
    }

    /// The modules that it imports, with the lines that do.
    var imports: [(line: Int, module: String)] {
        code.enumerated().compactMap { number, line in
            guard let match = line.wholeMatch(of: Self.importLine) else { return nil }
            return (number + 1, String(match.1))
        }
    }

    // A pattern is a constant; it is not `Sendable` because others may hold closures.
    nonisolated(unsafe) private static let importLine =
        /^\s*(?:@[\w()]+\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+(?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?(\w+).*$/
}

/// The repository as it lies on disk.
enum SourceTree {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// One file's text.
    static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    /// Every file under `folder` whose name ends in one of `endings`, in order of path.
    static func files(under folder: String, _ endings: [String]) throws -> [SourceFile] {
        let base = root.appending(path: folder)
        let found = FileManager.default.enumerator(atPath: base.path(percentEncoded: false)) ?? .init()
        let paths = found.compactMap { $0 as? String }.filter { path in
            endings.contains { path.hasSuffix($0) } && !path.contains("__pycache__") && !path.contains(".venv")
        }
        return try paths.sorted().map { path in
            let text = try text("\(folder)/\(path)")
            var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            if lines.last == "" { lines.removeLast() }
            return SourceFile(path: "\(folder)/\(path)", lines: lines)
        }
    }

    static let sources = Result { try files(under: "Sources", [".swift"]) }
    static let tests = Result { try files(under: "Tests", [".swift", ".py"]) }
}
