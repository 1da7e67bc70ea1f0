import Foundation
import GatewayCore

@testable import GatewayConfig

/// One `Tests/Fixtures/config/<name>.yaml` with the `<name>.expected` beside it.
///
/// Comments at the top may say `# env: NAME=value` and `# file: path = content`: the variables and the files there are.
struct Fixture: CustomStringConvertible {
    let name: String
    let text: String
    let expected: String
    var environment: [String: String] = [:]
    private var files: [String: String] = [:]

    var description: String { name }

    static var folder: URL {
        URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(
            path: "Fixtures/config")
    }

    static var all: [Fixture] {
        get throws {
            try FileManager.default.contentsOfDirectory(atPath: folder.path)
                .filter { $0.hasSuffix(".yaml") }.sorted()
                .map { try Fixture(name: String($0.dropLast(5))) }
        }
    }

    private init(name: String) throws {
        self.name = name
        text = try String(contentsOf: Self.folder.appending(path: "\(name).yaml"), encoding: .utf8)
        expected = (try? String(contentsOf: Self.folder.appending(path: "\(name).expected"), encoding: .utf8)) ?? ""
        for line in text.split(separator: "\n") {
            if line.hasPrefix("# env: "), let equals = line.firstIndex(of: "=") {
                environment[String(line[..<equals].dropFirst(7))] = String(line[line.index(after: equals)...])
            } else if line.hasPrefix("# file: "), let equals = line.firstIndex(of: "=") {
                let path = line[..<equals].dropFirst(8).trimmingCharacters(in: .whitespaces)
                files[path] = line[line.index(after: equals)...].trimmingCharacters(in: .whitespaces)
            }
        }
    }

    func load() throws(ConfigProblems) -> GatewaySettings {
        let files = ConfigFiles { [files] path, _ in
            files[path].map { .success(Array($0.utf8)) } ?? .failure(BadValue("No such file or directory"))
        }
        return try GatewaySettings.parse(text: text, file: "\(name).yaml", environment: environment, files: files)
    }

    /// The problems, one a line, or every setting that differs from its default.
    var outcome: String {
        do {
            let defaults = Set(flattened(.section(exported(GatewaySettings()))))
            let lines = flattened(.section(exported(try load()))).filter { !defaults.contains($0) }
            return "settings\n" + lines.map { "\($0)\n" }.joined()
        } catch {
            return "problems\n\(error)\n"
        }
    }
}

/// Every setting on a line of its own: `pools[0].name: "main"`.
func flattened(_ setting: ExportedSetting, at path: String = "") -> [String] {
    func keys(_ keys: [(name: String, value: ExportedSetting)], _ path: String) -> [String] {
        keys.flatMap { flattened($0.value, at: path.isEmpty ? $0.name : "\(path).\($0.name)") }
    }
    switch setting {
    case .scalar(let text): return ["\(path): \(text)"]
    case .scalars(let texts): return ["\(path): [\(texts.joined(separator: ", "))]"]
    case .section(let section): return keys(section, path)
    case .sections(let sections):
        return sections.enumerated().flatMap { keys($0.element, "\(path)[\($0.offset)]") }
    }
}
