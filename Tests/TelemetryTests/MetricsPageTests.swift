import GatewayCore
import TestSupport
import Testing

@testable import Telemetry

@Suite struct MetricsPageTests {
    @Test func `a family is printed as the format says`() {
        var page = MetricsPage()
        page.family("weir_things_total", .counter, "Things that were counted.")
        page.sample(["kind": "a"], 3)
        page.sample([:], 0.25)
        page.sample(-1)
        let expected = """
            # HELP weir_things_total Things that were counted.
            # TYPE weir_things_total counter
            weir_things_total{kind="a"} 3
            weir_things_total 0.25
            weir_things_total -1

            """
        #expect(String(decoding: page.finish(), as: UTF8.self) == expected)
    }

    @Test func `a label's backslash, quote and line feed are escaped`() {
        var page = MetricsPage()
        page.family("weir_x", .gauge, "X.")
        page.sample(["name": "a\\b\"c\nd é"], 1)
        #expect(String(decoding: page.finish(), as: UTF8.self).hasSuffix("weir_x{name=\"a\\\\b\\\"c\\nd é\"} 1\n"))
    }

    @Test func `values that are no numbers are spelled as the format spells them`() {
        var page = MetricsPage()
        page.family("weir_x", .gauge, "X.")
        page.sample(Double.infinity)
        page.sample(-Double.infinity)
        page.sample(Double.nan)
        #expect(String(decoding: page.finish(), as: UTF8.self).hasSuffix("weir_x +Inf\nweir_x -Inf\nweir_x NaN\n"))
    }

    @Test func `a full page is well formed, the same twice, and keeps to the naming rules`() {
        var generator = SplitMix64(seed: 5)
        let shape = TelemetryShape(
            pools: ["chat \"x\"", "e\\mbed"], replicas: [.init("a", pool: 0), .init("b\n", pool: 1)])
        let telemetry = Telemetry(
            shape: shape, loops: 2, build: BuildInfo(version: "1", swift: "6"), started: WallTime(secondsSinceEpoch: 1))
        telemetry.addSource { page in
            page.family("weir_extra", .gauge, "From another part.")
            page.sample(9)
        }
        for _ in 0..<500 {
            let metrics = telemetry.metrics(loop: Int(generator.next() % 2))
            let error = Outcome.exemplars[Int(generator.next() % UInt64(Outcome.exemplars.count))]
            let duration = Interval(nanoseconds: Int64(generator.next() >> 20))
            metrics.requestEnded(Outcome(error), pool: Int(generator.next() % 2), duration: duration)
            let failure = UpstreamFailure.allCases[Int(generator.next() % UInt64(UpstreamFailure.allCases.count))]
            metrics.attempted(.failed(failure), replica: Int(generator.next() % 2))
        }
        var gauges = GaugeSnapshot()
        gauges.replicas = [.init(isUp: true, inFlight: 1), .init(isUp: true, inFlight: 1)]
        gauges.queueLengths = [0, 0]
        (gauges.limiterKeys, gauges.bodyMemoryBytes, gauges.bodyMemoryLimitBytes) = (1, 2, 3)
        (gauges.redisIsUp, gauges.sessionsDegraded, gauges.isReady) = (true, 0, true)
        let page = PageReader(telemetry.page(gauges: gauges))
        let again = PageReader(telemetry.page(gauges: gauges))
        #expect(page.problems.isEmpty)
        #expect(page["weir_extra"] == 9)
        #expect(page.families == again.families)
        #expect(page.values.filter { !$0.key.hasPrefix("weir_process_") }
            == again.values.filter { !$0.key.hasPrefix("weir_process_") })
        for (family, type) in page.types {
            #expect(family.hasPrefix("weir_"))
            #expect(family.hasSuffix("_total") == (type == "counter"), "\(family)")
            #expect(type != "histogram" || family.hasSuffix("_seconds"))
        }
    }

    @Test func `a histogram's buckets rise up to its count`() {
        var generator = SplitMix64(seed: 6)
        let telemetry = Telemetry(
            shape: TelemetryShape(pools: ["p"]), loops: 1, build: BuildInfo(version: "1", swift: "6"),
            started: WallTime(secondsSinceEpoch: 1))
        for _ in 0..<1000 {
            telemetry.metrics(loop: 0).requestEnded(
                .ok, pool: 0, duration: .zero,
                timeToFirstToken: Interval(nanoseconds: Int64(generator.next() >> 22)))
        }
        let page = PageReader(telemetry.page(gauges: GaugeSnapshot()))
        let buckets = (Histogram.edgeLabels + ["+Inf"]).map {
            page["weir_time_to_first_token_seconds_bucket{pool=\"p\",le=\"\($0)\"}"] ?? -1
        }
        #expect(buckets == buckets.sorted())
        #expect(buckets.last == 1000)
        #expect(page["weir_time_to_first_token_seconds_count{pool=\"p\"}"] == 1000)
        #expect((buckets.first ?? 0) >= 0 && Set(buckets).count > 3)
    }
}
