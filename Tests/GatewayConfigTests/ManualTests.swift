import Foundation
import Testing

@testable import GatewayConfig

/// `config/weir.yaml` and `docs/config.md` say what the code says.
@Suite struct ManualTests {
    static var root: URL { Fixture.folder.appending(path: "../../..").standardized }

    static func sample() throws -> String {
        try String(contentsOf: root.appending(path: "config/weir.yaml"), encoding: .utf8)
    }

    /// The sample with every setting that is commented out put back. A `#` and one space begin prose; anything else
    /// after a `#` is a setting.
    static func uncommented() throws -> String {
        try sample().split(separator: "\n", omittingEmptySubsequences: false).map { line in
            guard let mark = line.firstIndex(where: { $0 != " " }), line[mark] == "#" else { return String(line) }
            let rest = line[line.index(after: mark)...]
            let isProse = rest.isEmpty || (rest.hasPrefix(" ") && !rest.hasPrefix("  "))
            return isProse ? String(line) : String(line[..<mark] + rest)
        }.joined(separator: "\n")
    }

    /// What the tree holds, by paths like those of ``SettingDescription``: `pools[].name` and all its texts.
    static func texts(of node: ConfigNode, at path: String = "", into texts: inout [String: [String]]) {
        switch node.value {
        case .scalar(let text, _):
            texts[path, default: []].append(node.isNull ? "none" : text)
        case .sequence(let nodes):
            let isScalars = nodes.allSatisfy { if case .scalar = $0.value { true } else { false } }
            if isScalars {
                texts[path, default: []].append(nodes.isEmpty ? "[]" : "[…]")
            } else {
                texts[path, default: []].append("section")
                for node in nodes { Self.texts(of: node, at: "\(path)[]", into: &texts) }
            }
        case .mapping(let pairs):
            if !path.isEmpty { texts[path, default: []].append("section") }
            for pair in pairs {
                Self.texts(of: pair.value, at: path.isEmpty ? pair.key : "\(path).\(pair.key)", into: &texts)
            }
        }
    }

    @Test func `the sample can be used as it is, and leaves every default alone`() throws {
        let settings = try GatewaySettings.parse(text: Self.sample(), file: "config/weir.yaml")
        var changed = settings
        changed.pools = []
        changed.redis = nil
        changed.state = StateSettings()
        changed.admin.socket = ""
        #expect(changed == GatewaySettings())
        #expect(settings.redis == RedisSettings())
        for pool in settings.pools {
            #expect(pool.probe == ProbeSettings() && pool.queue == QueueSettings() && pool.retry == RetrySettings())
        }
    }

    @Test func `the sample with everything put back can be used too`() throws {
        let text = try Self.uncommented()
        let files = ConfigFiles { _, _ in .success(Array(repeating: UInt8(ascii: "k"), count: 64)) }
        let environment = ["WEIR_JWT_SECRET": String(repeating: "k", count: 32)]
        #expect(throws: Never.self) {
            try GatewaySettings.parse(text: text, file: "config/weir.yaml", environment: environment, files: files)
        }
    }

    @Test func `every key stands in the sample with its default`() throws {
        let document = ConfigDocument(text: try Self.uncommented(), file: "config/weir.yaml")
        var texts: [String: [String]] = [:]
        Self.texts(of: try #require(document.root), into: &texts)
        for key in GatewaySettings.descriptions {
            let found = texts[key.path] ?? []
            #expect(!found.isEmpty, "\(key.path) is missing")
            if key.isSection || ["none", "required"].contains(key.defaultText) { continue }
            let expected = key.defaultText == "\"\"" ? "" : key.defaultText.trimmingCharacters(in: ["\""])
            #expect(found.contains(expected), "\(key.path) should be \(expected), is \(found)")
        }
    }

    @Test func `every key has its row in the manual, and every row has its key`() throws {
        let manual = try String(contentsOf: Self.root.appending(path: "docs/config.md"), encoding: .utf8)
        let rows = manual.split(separator: "\n").filter { $0.hasPrefix("| `") }
        for key in GatewaySettings.descriptions {
            let row = "| `\(key.path)` | \(key.kind) | \(Self.cell(key.defaultText)) | \(key.range) | "
            #expect(rows.contains { $0.hasPrefix(row) && $0.count > row.count + 3 }, "missing: \(row)")
        }
        let known = Set(GatewaySettings.descriptions.map { "`\($0.path)`" })
        for row in rows {
            let key = row.dropFirst(2).prefix { $0 != " " }
            #expect(known.contains(String(key)), "no such key: \(key)")
        }
    }

    private static func cell(_ defaultText: String) -> String {
        defaultText.isEmpty || ["none", "required"].contains(defaultText) ? defaultText : "`\(defaultText)`"
    }

    @Test func `no two keys share a variable`() throws {
        var variables: [String: String] = [:]
        for key in GatewaySettings.descriptions {
            let parts = key.path.split(separator: ".").map { part in
                part.hasSuffix("[]")
                    ? SettingPath.upperSnake(String(part.dropLast(2))) + "_0" : SettingPath.upperSnake(String(part))
            }
            let variable = parts.joined(separator: "_")
            #expect(variables[variable] == nil, "\(key.path) and \(variables[variable] ?? "")")
            variables[variable] = key.path
        }
        #expect(variables["POOLS_0_REPLICAS_0_MAX_IN_FLIGHT"] == "pools[].replicas[].maxInFlight")
        #expect(variables["LISTEN_TLS_CLIENT_CA_FILE"] == "listen.tls.clientCAFile")
    }
}
