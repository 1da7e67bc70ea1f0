import GatewayCore
import Glibc
import Testing

@testable import Telemetry

/// Compares docs/telemetry.md with the code.
@Suite struct TelemetryPageTests {
    private func text() throws -> String {
        var parts = #filePath.split(separator: "/").dropLast(3)
        parts.append("docs")
        let descriptor = open("/" + parts.joined(separator: "/") + "/telemetry.md", O_RDONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        return String(unsafeUninitializedCapacity: 1 << 17) { max(0, read(descriptor, $0.baseAddress, $0.count)) }
    }

    @Test func `every metric on the page is documented with its labels, and nothing else is`() throws {
        var documented: [String: Set<String>] = [:]
        for line in try text().split(separator: "\n") where line.hasPrefix("| `weir_") {
            let cells = line.split(separator: "|", omittingEmptySubsequences: false).dropFirst()
            let words = cells.prefix(2).map { cell in
                cell.split(separator: "`").map(String.init).filter { $0.contains { $0.isLetter } }
            }
            try #require(words.count == 2 && words[0].count == 1)
            documented[words[0][0]] = Set(words[1])
        }
        let telemetry = Telemetry(
            shape: TelemetryShape(pools: ["p"], replicas: [.init("r", pool: 0)]), loops: 1,
            build: BuildInfo(version: "1", swift: "6"), started: WallTime(secondsSinceEpoch: 1))
        let writer = try LogWriter(access: .off, loops: 1, bytesMaxPerLoop: 1, events: .off)
        telemetry.addSource { writer.append(to: &$0) }
        let board = RestartBoard()
        board.hookRan("replica_down", "ok")
        board.restarted("r", in: "p", ok: false)
        board.set(.coolingDown(until: .zero), of: "r")
        telemetry.addSource { board.append(to: &$0, replicas: [(pool: "p", name: "r")]) }
        var gauges = GaugeSnapshot()
        gauges.replicas = [.init(isUp: true, inFlight: 1)]
        gauges.queueLengths = [0]
        (gauges.limiterKeys, gauges.bodyMemoryBytes, gauges.bodyMemoryLimitBytes) = (1, 2, 3)
        (gauges.redisIsUp, gauges.sessionsDegraded, gauges.isReady) = (true, 0, true)
        let page = PageReader(telemetry.page(gauges: gauges))
        var actual: [String: Set<String>] = [:]
        for series in page.values.keys {
            var name = String(series.prefix { $0 != "{" })
            for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix("_seconds" + suffix) {
                name.removeLast(suffix.count)
            }
            let labels = series.dropFirst(name.count).split { "{},".contains($0) }.compactMap { pair in
                pair.firstIndex(of: "=").map { String(pair[..<$0]) }
            }
            actual[name, default: []].formUnion(labels.filter { $0 != "le" })
        }
        #expect(documented == actual)
        #expect(Set(page.families) == Set(actual.keys))
    }

    @Test func `the edges of the histograms are documented`() throws {
        let flat = try text().split { $0 == "\n" || $0 == " " }.joined(separator: " ")
        #expect(flat.contains(Histogram.edgeLabels.joined(separator: ", ") + "."))
    }

    @Test func `every member of an access line is documented`() throws {
        let text = try text()
        let members = [
            "time", "id", "principal", "token_problem", "method", "path", "model", "pool", "session", "stream",
            "status", "outcome", "replica", "attempts", "resumes", "resumed_by", "prompt_tokens",
            "completion_tokens", "bytes_in",
            "bytes_out", "ttft_ms", "duration_ms", "queue_ms", "overhead_ms", "client",
        ]
        for member in members { #expect(text.contains("`\(member)`"), "\(member)") }
    }
}
