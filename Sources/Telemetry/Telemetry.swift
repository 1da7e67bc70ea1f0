import GatewayCore
import Synchronization

/// The numbers of all loops, merged when someone asks.
///
///     let telemetry = Telemetry(shape: shape, loops: 2, build: build, started: now)
///     let metrics = telemetry.metrics(loop: 0)    // on loop 0, at start and after each reload
///     metrics.pool(3).requestEnded(record)        // on loop 0
///     let text = telemetry.page(gauges: snapshot) // at a scrape, on any thread
///
/// - Isolation: any thread; the lock is held to exchange or copy references, never while counting.
package final class Telemetry: Sendable {
    struct State {
        var loops: [LoopMetrics]
        var sources: [@Sendable (inout MetricsPage) -> Void] = []
    }

    package let build: BuildInfo
    package let started: WallTime
    private let state: Mutex<State>

    package init(shape: TelemetryShape, loops: Int, build: BuildInfo, started: WallTime) {
        precondition(loops > 0)
        self.build = build
        self.started = started
        state = Mutex(
            State(loops: (0..<loops).map { _ in Self.reshaped(nil, to: shape) })
        )
    }

    /// The counters that loop number `loop` writes, in the current shape.
    package func metrics(loop: Int) -> LoopMetrics { state.withLock { $0.loops[loop] } }

    package var shape: TelemetryShape { state.withLock { $0.loops[0].shape } }

    /// Replaces the shape. Pools and replicas whose names stay keep their counts; the others start at zero or are gone.
    ///
    /// Each loop then takes its new ``metrics(loop:)`` together with its new routes.
    package func reshape(to shape: TelemetryShape) {
        state.withLock { state in
            state.loops = state.loops.map { Self.reshaped($0, to: shape) }
        }
    }

    /// Adds what another part wants on the page. Called at every scrape, on the scraper's thread.
    package func addSource(_ source: @escaping @Sendable (inout MetricsPage) -> Void) {
        state.withLock { $0.sources.append(source) }
    }

    /// The page in Prometheus' text format 0.0.4, as UTF-8.
    ///
    /// - Cost: O(loops × (pools + replicas)); runs on the caller's thread.
    package func page(gauges: GaugeSnapshot) -> [UInt8] {
        let (loops, sources) = state.withLock { ($0.loops, $0.sources) }
        var page = MetricsPage()
        page.append(loops: loops)
        page.append(gauges, shape: loops[0].shape)
        page.append(build, started: started)
        for source in sources { source(&page) }
        return page.finish()
    }

    private static func reshaped(_ old: LoopMetrics?, to shape: TelemetryShape) -> LoopMetrics {
        var pools: [String: PoolMetrics] = [:]
        var replicas: [[String]: ReplicaMetrics] = [:]
        if let old {
            for (index, pool) in old.pools.enumerated() { pools[old.shape.poolLabel(index)] = pool }
            for (index, replica) in old.shape.replicas.enumerated() {
                replicas[[old.shape.pools[replica.pool], replica.name]] = old.replicas[index]
            }
        }
        return LoopMetrics(
            shape: shape,
            pools: (0...shape.noPool).map { pools[shape.poolLabel($0)] ?? PoolMetrics() },
            replicas: shape.replicas.map { replicas[[shape.pools[$0.pool], $0.name]] ?? ReplicaMetrics() },
            connections: old?.connections ?? ConnectionMetrics())
    }
}

/// What was built: the labels of `weir_build_info`.
package struct BuildInfo: Equatable, Sendable {
    package let version: String
    package let swift: String

    package init(version: String, swift: String) {
        self.version = version
        self.swift = swift
    }
}
