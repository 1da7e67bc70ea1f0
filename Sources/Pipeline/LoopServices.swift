import GatewayCore
import HTTPConnections
import Identity
import Reactor
import Synchronization
import Telemetry
import Upstreams
import Wire

/// What the whole process shares on the request path: few things, each behind its own lock or atomic.
package final class SharedServices: Sendable {
    package let authenticator: Authenticator
    package let limiter: RequestLimiter
    package let memory: BodyMemory
    /// SIGTERM came: not ready, and connections end after their request.
    package let isDraining = Atomic<Bool>(false)
    /// Turns answered without being remembered, since the start.
    package let sessionsDegraded = Atomic<Int>(0)
    package let started: WallTime

    package init(authenticator: Authenticator, limiter: RequestLimiter, memory: BodyMemory, started: WallTime) {
        self.authenticator = authenticator
        self.limiter = limiter
        self.memory = memory
        self.started = started
    }
}

/// What the request path uses on one loop.
///
/// - Isolation: its loop.
package final class LoopServices {
    package let loop: EventLoop
    package let shared: SharedServices
    /// The shared one.
    let authenticator: Authenticator
    package let upstreams: LoopUpstreams
    package let tokens: TokenCache<LimiterSlot>
    package let bodyMemory: LoopBodyMemory
    /// Those of the fleet in force.
    package private(set) var metrics: LoopMetrics
    /// What is counted whatever the fleet.
    let counters: ConnectionMetrics
    package let accessLog: LineBuffer?
    /// What the line of the request says that ends now.
    let record = AccessRecord()
    package private(set) var settings: PipelineSettings
    private(set) var fleet: Fleet
    let recentModels = RecentModels()
    package private(set) var connectionSettings: ConnectionSettings
    /// Those of the open client connections: whoever accepts a connection puts its exchange in, and takes it out when
    /// the connection has ended.
    package var exchanges: [ObjectIdentifier: Exchange] = [:]
    package var sessions: SessionMemory?
    var date = HTTPDate()
    /// Where replies are built: nothing in it outlives a suspension.
    var reply = ByteWriter(capacity: 16_384)
    /// How the request ids of this loop begin: sixteen hexadecimal digits, drawn once.
    let idPrefix: [UInt8]
    private var random: QuickRandom

    package init(
        loop: EventLoop, shared: SharedServices, upstreams: LoopUpstreams, tokenCacheEntries: Int,
        metrics: LoopMetrics, accessLog: LineBuffer?, settings: PipelineSettings, fleet: Fleet,
        connectionSettings: ConnectionSettings
    ) {
        self.loop = loop
        self.shared = shared
        authenticator = shared.authenticator
        bodyMemory = LoopBodyMemory(of: shared.memory)
        self.upstreams = upstreams
        tokens = TokenCache(capacity: tokenCacheEntries, credentialBytesMax: 8_192)
        self.metrics = metrics
        counters = metrics.connections
        self.accessLog = accessLog
        self.settings = settings
        self.fleet = fleet
        self.connectionSettings = connectionSettings
        random = QuickRandom(seed: .random(in: .min ... .max))
        var prefix = ByteWriter()
        prefix.append(hex: UInt64.random(in: .min ... .max), digits: 16)
        idPrefix = prefix.withUnsafeBytes { Array($0) }
    }

    /// Takes a new configuration on, as a whole. Nothing of the fleet before is kept but by requests that run.
    package func use(
        _ fleet: Fleet, _ metrics: LoopMetrics, settings: PipelineSettings, connectionSettings: ConnectionSettings
    ) {
        self.metrics = metrics
        upstreams.use(fleet, metrics)
        self.fleet = fleet
        recentModels.forget()
        self.settings = settings
        self.connectionSettings = connectionSettings
        for exchange in exchanges.values { exchange.fleetChanged() }
    }

    var isDraining: Bool { shared.isDraining.load(ordering: .relaxed) }

    /// The second half of a request id, unlike that of any other request of this loop. Not secret.
    func nextID() -> UInt64 { random.next() }
}
