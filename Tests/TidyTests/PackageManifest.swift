import Foundation

/// The targets of `Sources/` that `Package.swift` declares, read from its text. Those of `Tests/` come last in it.
struct PackageManifest {
    /// Target → what it depends on; products of packages by their module.
    let dependencies: [String: Set<String>]

    /// Products are named by a constant in the manifest.
    private static let products = ["argumentParser": "ArgumentParser", "yams": "Yams", "deque": "DequeModule"]

    init() throws {
        let whole = try SourceTree.text("Package.swift")
        let text = whole.prefix(upTo: whole.firstRange(of: "package.targets +=")?.lowerBound ?? whole.endIndex)
            .split(separator: "\n").filter { !$0.drop { $0 == " " }.hasPrefix("//") }.joined(separator: "\n")
            // A condition names a trait, not a target.
            .replacing(/,\s*condition: \.when\([^)]*\)/, with: "")
            // Programs under `Tests` are no part of the house.
            .replacing(/\.executableTarget\(\s*name: "[\w-]+",\s*dependencies: \[[^\]]*\],\s*path: "Tests/, with: "")
        var found: [String: Set<String>] = [:]
        let part = /\bpart\(\s*"(\w+)"(?:,\s*\[([^\]]*)\])?/
        for match in text.matches(of: part) { found[String(match.1)] = Self.names(in: match.2 ?? "") }
        let program = /\.executableTarget\(\s*name: "([\w-]+)",\s*dependencies: \[([^\]]*)\]/
        for match in text.matches(of: program) { found[String(match.1)] = Self.names(in: match.2) }
        for match in text.matches(of: /\.systemLibrary\(name: "(\w+)"/) { found[String(match.1)] = [] }
        dependencies = found
    }

    private static func names(in list: Substring) -> Set<String> {
        var names = Set(list.matches(of: /(?:name: )?"(\w+)"/).map { String($0.1) })
        for (constant, module) in products where list.contains(constant) { names.insert(module) }
        return names
    }
}
