import Foundation
import Testing

/// Pages say what the code does: names that stand in both are compared.
@Suite struct DocumentationTests {
    @Test func `every metric of the code is on the telemetry page and the other way round`() throws {
        var inCode: Set<String> = []
        for file in try SourceTree.sources.get() {
            for line in file.code {
                for match in line.matches(of: /(?:family|gauge)\(\s*"(weir_[a-z_]+)"/) {
                    inCode.insert(String(match.1))
                }
            }
        }
        #expect(inCode.count >= 20, "found only \(inCode.sorted())")
        let page = try SourceTree.text("docs/telemetry.md")
        let onPage = Set(page.matches(of: /\bweir_[a-z_]+/).map { String($0.0) })
        for name in inCode.subtracting(onPage).sorted() { Issue.record("docs/telemetry.md lacks \(name)") }
        let histogramParts = inCode.flatMap { name in ["_bucket", "_sum", "_count"].map { name + $0 } }
        let unknown = onPage.subtracting(inCode).subtracting(histogramParts).filter { !$0.hasSuffix("_") }
        // Claims of tokens and settings share the prefix; what ends like a metric must be one.
        for name in unknown.sorted() where ["_total", "_seconds", "_bytes"].contains(where: name.hasSuffix) {
            Issue.record("docs/telemetry.md has \(name), which the code does not")
        }
    }

    @Test func `links between pages lead somewhere`() throws {
        for page in try SourceTree.files(under: "docs", [".md"]) {
            let folder = page.path.split(separator: "/").dropLast().joined(separator: "/")
            for (number, line) in page.lines.enumerated() {
                for match in line.matches(of: /\]\(([^)#:\s]+)(?:#[^)]*)?\)/) {
                    let target = SourceTree.root.appending(path: folder).appending(path: String(match.1))
                    #expect(
                        FileManager.default.fileExists(atPath: target.standardized.path(percentEncoded: false)),
                        "\(page.path):\(number + 1): \(match.1)")
                }
            }
        }
    }

    @Test func `every scenario of the fault matrix names a test that is there`() throws {
        var scenarios = 0
        for (number, line) in try SourceTree.text("docs/faults.md").split(separator: "\n").enumerated() {
            guard line.hasPrefix("| "), !line.hasPrefix("| what breaks") else { continue }
            scenarios += 1
            let place = /\]\(\.\.\/(Tests\/[\w\/]+\.py)\) `(\w+)`(?: \*([^*]+)\*)? \|$/
            guard let match = line.firstMatch(of: place) else {
                Issue.record("docs/faults.md:\(number + 1) names no test")
                continue
            }
            let test = try SourceTree.text(String(match.1))
            #expect(test.contains("\ndef \(match.2)("), "docs/faults.md:\(number + 1): \(match.2)")
            if let name = match.3 {
                #expect(test.contains("    \"\(name)\": Fault("), "docs/faults.md:\(number + 1): \(name)")
            }
        }
        #expect(scenarios >= 40)
    }

    @Test func `every fault of the table has its line in the matrix`() throws {
        let page = try SourceTree.text("docs/faults.md")
        let faults = try SourceTree.text("Tests/GatewayTests/test_faults.py").matches(of: /\n    "([^"]+)": Fault\(/)
        #expect(faults.count >= 40)
        for fault in faults {
            #expect(page.contains("*\(fault.1)*"), "docs/faults.md lacks \(fault.1)")
        }
    }

    @Test func `the code refers only to pages that are there`() throws {
        for file in try SourceTree.sources.get() {
            for (number, line) in file.lines.enumerated() {
                for match in line.matches(of: /docs\/[a-z0-9\/-]+\.md/) {
                    let path = SourceTree.root.appending(path: String(match.0)).path(percentEncoded: false)
                    #expect(FileManager.default.fileExists(atPath: path), "\(file.path):\(number + 1): \(match.0)")
                }
            }
        }
    }
}
