import Balancing
import GatewayConfig
import GatewayCore
import Glibc
import HTTPConnections
import Identity
import Pipeline
import Reactor
import Stores
import Synchronization
import Telemetry
import Upstreams

/// The gateway as a process: starts its loops, listens, and ends as signals ask.
///
///     SIGTERM, SIGINT    drain, then exit 0; a second one exits at once
///     SIGHUP             read the configuration again, open the log files again
///     SIGUSR1            open the log files again
///     SIGUSR2            start the program anew and let the new process take over
package final class GatewayServer: Sendable {
    package static let version = "0.1.0"

    let settings: Mutex<GatewaySettings>
    let configFile: String
    let workers: [Worker]
    let loads: [LoopLoad]
    let shared: SharedServices
    let telemetry: Telemetry
    let log: LogWriter
    let fleet: Mutex<Fleet>
    /// One reload after the other.
    let reloading = Mutex(())
    let listenAddress: String
    let listenPort: UInt16
    let turns = TurnQueue(waitersMax: 32)
    let upgrade = Upgrade()
    let board = RestartBoard()

    /// Runs a gateway until it is asked to end. Blocks the calling thread, which must be the process's first.
    ///
    /// - Returns: the exit status: 0 after a drain in time, 1 when something was still open.
    /// - Throws: ``StartProblem``, `SocketError` and what else kept it from starting; the gateway that was to be taken
    ///   over from has been told.
    package static func run(
        settings: GatewaySettings, configFile: String, takingOver takeOver: TakeOver = .nobody
    ) throws -> Int32 {
        Signals.prepare()
        let inheritance = try Inheritance.claim(takeOver, settings)
        do {
            var lock = try inheritance?.lock.map(ListenLock.init(inherited:)) ?? ListenLock(settings.listen.address)
            let descriptors = try openListeners(settings, inheritance)
            let server = try GatewayServer(settings: settings, configFile: configFile, listeners: descriptors)
            if settings.listen.address.port == 0, inheritance?.lock == nil {
                lock = try ListenLock(HostPort(settings.listen.address.host, server.listenPort))
            }
            defer { lock.release() }
            let handOver = try server.begin(descriptors, lock, inheritance)
            return try server.runUntilAsked(handOver)
        } catch {
            inheritance?.decline("\(error)")
            throw error
        }
    }

    private init(settings: GatewaySettings, configFile: String, listeners: [Int32]) throws {
        let plain = PlainSettings(settings: settings)
        try Self.makeStateDirectory(settings.state.directory)
        self.settings = Mutex(settings)
        self.configFile = configFile
        let loopCount = Self.loopCount(settings)
        workers = (0..<loopCount).map { _ in Worker() }
        loads = (0..<loopCount).map { _ in LoopLoad() }
        let keys = KeyDirectory(
            configured: plain.configuredKeys, state: settings.redis == nil ? .loaded : .loading)
        shared = SharedServices(
            authenticator: Authenticator(keys: keys, verifier: try plain.verifier()),
            limiter: RequestLimiter(limits: plain.limits, keysMax: settings.rateLimit.keysMax),
            memory: BodyMemory(limitBytes: settings.http.bodyMemoryBytes), started: EventLoop.wall())
        telemetry = Telemetry(
            shape: plain.telemetryShape, loops: loopCount, build: BuildInfo(version: Self.version, swift: "6.3"),
            started: EventLoop.wall())
        log = try LogWriter(
            access: Self.destination(settings.log.access), loops: loopCount,
            bytesMaxPerLoop: settings.log.bufferBytes, events: .standardError,
            level: Self.level(settings.log.level))
        telemetry.addSource { [log] page in log.append(to: &page) }
        fleet = Mutex(try plain.fleet(before: nil))
        telemetry.addSource { [board, telemetry] page in
            let shape = telemetry.shape
            board.append(to: &page, replicas: shape.replicas.map { (pool: shape.pools[$0.pool], name: $0.name) })
        }
        listenPort = Listener.port(of: listeners[0])
        listenAddress = "\(settings.listen.address.host):\(listenPort)"
    }

    // MARK: Starting

    private static func loopCount(_ settings: GatewaySettings) -> Int {
        settings.listen.loops > 0 ? settings.listen.loops : EventLoop.usableCores
    }

    func startLoops(_ intents: [String: HealthMachine.Intent]) throws {
        let fleet = fleet.withLock { $0 }
        let settings = settings.withLock { $0 }
        let plain = PlainSettings(settings: settings)
        let serverTLS = try plain.listenerTLS()
        let connections = plain.connections
        let pipeline = plain.pipeline
        let redisAddresses = try LoopRedis.addresses(settings)
        for (index, worker) in workers.enumerated() {
            worker.start(name: "weir-loop-\(index)")
            try worker.call { [self] loop in
                let metrics = telemetry.metrics(loop: index)
                let upstreams = LoopUpstreams(
                    on: loop, loopIndex: index, loopCount: workers.count, fleet: fleet, metrics: metrics)
                let services = LoopServices(
                    loop: loop, shared: shared, upstreams: upstreams,
                    tokenCacheEntries: settings.identity.tokenCacheEntries, metrics: metrics,
                    accessLog: log.access(loop: index), settings: pipeline, fleet: fleet,
                    connectionSettings: connections)
                var redis: LoopRedis?
                if settings.redis != nil {
                    redis = LoopRedis(loop, settings, addresses: redisAddresses, queue: turns)
                    services.sessions = redis.map { SessionMemory($0.sessions) }
                }
                upstreams.onTrafficFailure = { [workers] replica, reason in
                    workers[0].post { loop in ControlPlane.on(loop)?.trafficFailed(replica, reason) }
                }
                let server = LoopServer(
                    loop: loop, index: index, services: services, loads: loads, workers: workers,
                    connectionsMax: settings.listen.connectionsMax, tls: serverTLS)
                if index == 0 {
                    let control = ControlPlane(loop: loop, server: self, loopServer: server)
                    loop.resident = control
                    control.followKeys(redis, settings)
                    control.use(fleet, intents: intents)
                    control.startNames()
                } else {
                    loop.resident = server
                }
            }
        }
    }

    /// One for each loop, or more where the process before had more: each may have connections in its queue.
    private static func openListeners(_ settings: GatewaySettings, _ inheritance: Inheritance?) throws -> [Int32] {
        let wanted = settings.listen.address
        guard var address = try SocketAddress.resolve(host: wanted.host, port: wanted.port).first else {
            throw StartProblem("listen.address: \(wanted.host) has no address")
        }
        var descriptors = inheritance?.publicListeners ?? []
        for descriptor in descriptors {
            Listener.adopt(descriptor, backlog: Int32(settings.listen.backlog))
            address.port = Listener.port(of: descriptor)
        }
        while descriptors.count < loopCount(settings) {
            let descriptor = try Listener.open(
                address, backlog: Int32(settings.listen.backlog), sharesPort: true)
            address.port = Listener.port(of: descriptor)
            descriptors.append(descriptor)
        }
        return descriptors
    }

    private static func makeStateDirectory(_ path: String) throws {
        var made = ""
        for part in path.split(separator: "/", omittingEmptySubsequences: false) {
            made += part + "/"
            if made != "/", mkdir(made, 0o700) != 0, errno != EEXIST {
                throw StartProblem("can't make the state directory \(path): \(String(cString: strerror(errno)))")
            }
        }
    }

    static func level(_ level: LogSettings.Level) -> EventLog.Level {
        switch level {
        case .debug: .debug
        case .info: .info
        case .warning: .warning
        case .error: .error
        }
    }

    static func destination(_ target: LogSettings.Target) -> LogDestination {
        switch target {
        case .stdout: .standardOutput
        case .stderr: .standardError
        case .off: .off
        case .file(let path): .file(path)
        }
    }

    var connectionCount: Int { loads.reduce(0) { $0 + $1.count } }
    var isReady: Bool {
        !shared.isDraining.load(ordering: .relaxed) && fleet.withLock { $0.isAnyServing }
    }
}
