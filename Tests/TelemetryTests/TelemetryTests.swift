import GatewayCore
import TestSupport
import Testing

@testable import Telemetry

@Suite struct TelemetryTests {
    private let shape = TelemetryShape(
        pools: ["chat", "embed"],
        replicas: [.init("a", pool: 0), .init("b", pool: 0), .init("a", pool: 1)])

    private func telemetry(_ shape: TelemetryShape, loops: Int = 1) -> Telemetry {
        Telemetry(
            shape: shape, loops: loops, build: BuildInfo(version: "1.2.3", swift: "6.3.1"),
            started: WallTime(nanosecondsSinceEpoch: 1_700_000_000_250_000_000))
    }

    @Test func `what several loops counted is summed`() {
        let telemetry = telemetry(shape, loops: 3)
        for loop in 0..<3 {
            let metrics = telemetry.metrics(loop: loop)
            for _ in 0...loop { metrics.requestEnded(.ok, pool: 0, duration: .milliseconds(250)) }
            metrics.attempted(.failed(.connectFailed), replica: 1)
            metrics.requestEnded(
                .ok, pool: 1, duration: .zero, usage: Usage(promptTokens: 10, completionTokens: loop))
            metrics.connectionAccepted()
        }
        telemetry.metrics(loop: 1).connectionClosed()
        let page = PageReader(telemetry.page(gauges: GaugeSnapshot()))
        #expect(page["weir_requests_total{pool=\"chat\",outcome=\"ok\"}"] == 6)
        #expect(page["weir_replica_requests_total{pool=\"chat\",replica=\"b\",result=\"connect_failed\"}"] == 3)
        #expect(page["weir_tokens_total{direction=\"prompt\",pool=\"embed\"}"] == 30)
        #expect(page["weir_tokens_total{direction=\"completion\",pool=\"embed\"}"] == 3)
        #expect(page["weir_request_duration_seconds_bucket{pool=\"chat\",le=\"0.2\"}"] == 0)
        #expect(page["weir_request_duration_seconds_bucket{pool=\"chat\",le=\"0.3\"}"] == 6)
        #expect(page["weir_request_duration_seconds_bucket{pool=\"chat\",le=\"+Inf\"}"] == 6)
        #expect(page["weir_request_duration_seconds_sum{pool=\"chat\"}"] == 1.5)
        #expect(page["weir_request_duration_seconds_count{pool=\"chat\"}"] == 6)
        #expect(page["weir_connections_accepted_total"] == 3)
        #expect(page["weir_connections"] == 2)
    }

    @Test func `every kind of observation reaches its own series and no other`() {
        typealias Case = (series: String, count: (LoopMetrics) -> Void)
        let cases: [Case] = [
            ("weir_requests_total{pool=\"\",outcome=\"invalid_api_key\"}", {
                $0.requestEnded(Outcome(.invalidAPIKey(.missing)), pool: nil, duration: .zero)
            }),
            ("weir_time_to_first_token_seconds_count{pool=\"chat\"}", {
                $0.requestEnded(.ok, pool: 0, duration: .zero, timeToFirstToken: .zero)
            }),
            ("weir_queue_wait_seconds_count{pool=\"embed\"}", { $0.queueWaited(.zero, pool: 1) }),
            ("weir_overhead_seconds_count{pool=\"chat\"}", {
                $0.requestEnded(.ok, pool: 0, duration: .zero, overhead: .zero)
            }),
            ("weir_retries_total{pool=\"chat\"}", { $0.retried(pool: 0) }),
            ("weir_fallbacks_total{pool=\"chat\",reason=\"exhausted\"}", { $0.fellBack(.exhausted, pool: 0) }),
            ("weir_fallbacks_total{pool=\"embed\",reason=\"context_length\"}", {
                $0.fellBack(.contextLength, pool: 1)
            }),
            ("weir_resumes_total{outcome=\"ok\",pool=\"embed\",way=\"prefill\"}", {
                $0.resumed(.prefill, .ok, pool: 1)
            }),
            ("weir_replica_requests_total{pool=\"embed\",replica=\"a\",result=\"ok\"}", {
                $0.attempted(.ok, replica: 2)
            }),
            ("weir_limiter_decisions_total{decision=\"allowed\"}", { $0.connections.admitted() }),
            ("weir_limiter_decisions_total{decision=\"rejected_quota\"}", { $0.connections.rejected(.quota) }),
            ("weir_authentication_failures_total{reason=\"wrong_issuer\"}", {
                $0.connections.authenticationFailed(.wrongIssuer)
            }),
            ("weir_token_cache_lookups_total{result=\"hit\"}", { $0.connections.tokenCacheHit() }),
            ("weir_token_cache_lookups_total{result=\"miss\"}", { $0.connections.tokenCacheMissed() }),
            ("weir_client_disconnects_total", { $0.connections.requestEnded(.ended(Outcome(.clientGone))) }),
            ("weir_connections_refused_total", { $0.connectionRefused() }),
            ("weir_tls_handshake_failures_total", { $0.handshakeFailed() }),
            ("weir_received_bytes_total", { $0.connections.requestEnded(.ended(.ok, bytesIn: 1)) }),
            ("weir_sent_bytes_total", { $0.connections.requestEnded(.ended(.ok, bytesOut: 1)) }),
        ]
        for (series, count) in cases {
            let telemetry = telemetry(shape)
            let before = PageReader(telemetry.page(gauges: GaugeSnapshot()))
            count(telemetry.metrics(loop: 0))
            let after = PageReader(telemetry.page(gauges: GaugeSnapshot()))
            #expect(after[series] == 1, "\(series)")
            let changed = after.values.filter { name, value in
                !name.hasPrefix("weir_process_") && !name.contains("_bucket{") && value != before[name] ?? 0
            }
            var expected: Set = [series]
            if series.hasPrefix("weir_requests_total") {
                expected.insert("weir_request_duration_seconds_count{pool=\"\"}")
            } else if series.hasPrefix("weir_time_to_first_token") || series.hasPrefix("weir_overhead") {
                // These come with a request's end.
                expected.formUnion([
                    "weir_requests_total{pool=\"chat\",outcome=\"ok\"}",
                    "weir_request_duration_seconds_count{pool=\"chat\"}",
                ])
            }
            #expect(Set(changed.keys) == expected)
        }
    }

    @Test func `after a reload the names that stay keep their counts, and requests that run on still count`() {
        let telemetry = telemetry(shape)
        let old = telemetry.metrics(loop: 0)
        old.requestEnded(.ok, pool: 1, duration: .zero)
        old.attempted(.ok, replica: 2)
        old.attempted(.ok, replica: 0)
        old.connections.admitted()
        telemetry.reshape(
            to: TelemetryShape(pools: ["new", "embed"], replicas: [.init("c", pool: 0), .init("a", pool: 1)]))
        old.requestEnded(.ok, pool: 1, duration: .zero)
        old.requestEnded(.ok, pool: 0, duration: .zero)  // its pool is gone: counted nowhere, harmless
        telemetry.metrics(loop: 0).requestEnded(.ok, pool: 1, duration: .zero)
        let page = PageReader(telemetry.page(gauges: GaugeSnapshot()))
        #expect(page["weir_requests_total{pool=\"embed\",outcome=\"ok\"}"] == 3)
        #expect(page["weir_requests_total{pool=\"new\",outcome=\"ok\"}"] == 0)
        #expect(page["weir_requests_total{pool=\"chat\",outcome=\"ok\"}"] == nil)
        #expect(page["weir_replica_requests_total{pool=\"embed\",replica=\"a\",result=\"ok\"}"] == 1)
        #expect(page["weir_replica_requests_total{pool=\"new\",replica=\"c\",result=\"ok\"}"] == 0)
        #expect(page["weir_limiter_decisions_total{decision=\"allowed\"}"] == 1)
    }

    @Test func `the gauges of a snapshot are shown, and what is not configured is left out`() {
        var gauges = GaugeSnapshot()
        gauges.replicas = [
            .init(isUp: true, inFlight: 4, stoppedModels: 2), .init(isUp: false, isDraining: true, inFlight: 0),
        ]
        gauges.queueLengths = [7]
        gauges.redisIsUp = false
        let page = PageReader(telemetry(shape).page(gauges: gauges))
        #expect(page["weir_replica_up{pool=\"chat\",replica=\"a\"}"] == 1)
        #expect(page["weir_replica_up{pool=\"chat\",replica=\"b\"}"] == 0)
        #expect(page["weir_replica_up{pool=\"embed\",replica=\"a\"}"] == nil)
        #expect(page["weir_replica_draining{pool=\"chat\",replica=\"b\"}"] == 1)
        #expect(page["weir_replica_in_flight{pool=\"chat\",replica=\"a\"}"] == 4)
        #expect(page["weir_replica_stopped_models{pool=\"chat\",replica=\"a\"}"] == 2)
        #expect(page["weir_replica_stopped_models{pool=\"chat\",replica=\"b\"}"] == 0)
        #expect(page["weir_queue_length{pool=\"chat\"}"] == 7)
        #expect(page["weir_redis_up"] == 0)
        #expect(!page.families.contains("weir_limiter_keys"))
        #expect(page["weir_build_info{version=\"1.2.3\",swift=\"6.3.1\"}"] == 1)
        #expect(page["weir_process_start_time_seconds"] == 1_700_000_000.25)
        #expect((page["weir_process_resident_memory_bytes"] ?? 0) > 1_000_000)
        #expect((page["weir_process_open_fds"] ?? 0) >= 3)
        #expect((page["weir_process_threads"] ?? 0) >= 1)
    }

    @Test func `counts of one thread are complete and never fall while another reads them`() async {
        let telemetry = telemetry(shape)
        let metrics = telemetry.metrics(loop: 0)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for _ in 0..<20_000 { metrics.requestEnded(.ok, pool: 0, duration: .milliseconds(1)) }
            }
            group.addTask {
                var last = 0.0
                for _ in 0..<50 {
                    let page = PageReader(telemetry.page(gauges: GaugeSnapshot()))
                    let now = page["weir_requests_total{pool=\"chat\",outcome=\"ok\"}"] ?? -1
                    #expect(now >= last)
                    last = now
                }
            }
        }
        #expect(metrics.pools[0].requests[0].value == 20_000)
        #expect(metrics.pools[0].duration.reading.count == 20_000)
    }
}
