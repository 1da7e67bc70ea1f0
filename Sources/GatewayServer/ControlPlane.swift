import Balancing
import GatewayConfig
import GatewayCore
import Glibc
import HTTPConnections
import Identity
import Pipeline
import Reactor
import Supervision
import Synchronization
import Telemetry
import Upstreams
import Wire

/// What exists once, on the first loop: the probers, and the admin listeners.
///
/// - Isolation: the first loop, where it is the ``EventLoop/resident``.
final class ControlPlane {
    let loop: EventLoop
    let server: GatewayServer
    let loopServer: LoopServer
    /// One for each pool.
    private var probers: [HealthProber] = []
    /// Of pools that are gone, until their last request has ended.
    private var retired: [HealthProber] = []
    private lazy var names = NameResolver(on: loop, lookUp: Self.lookUp) { [weak self] pool, replica, before in
        self?.moved(replica, in: pool, from: before)
    }
    private var listeners: [Listener] = []
    private var socketPath: String?
    /// From ``use(_:intents:)`` on.
    private(set) var hooks: ReplicaHooks?
    /// The restart of replicas that runs, or the last one.
    private(set) var rolling: RollingRestart?
    /// Nil without Redis.
    private(set) var storedKeys: StoredKeys?

    init(loop: EventLoop, server: GatewayServer, loopServer: LoopServer) {
        self.loop = loop
        self.server = server
        self.loopServer = loopServer
    }

    static func on(_ loop: EventLoop) -> ControlPlane? { loop.resident as? ControlPlane }

    // MARK: Probing

    /// Starts probing `fleet`. What was probed before and is still there is probed on; what is gone, until it is idle.
    ///
    /// - Parameter intents: what operators asked for before, by replica.
    func use(_ fleet: Fleet, intents: [String: HealthMachine.Intent]) {
        var before = Dictionary(uniqueKeysWithValues: probers.map { ($0.pool.name, $0) })
        probers = fleet.pools.map { pool in
            if let prober = before.removeValue(forKey: pool.name) {
                prober.change(to: pool, intents: intents)
                return prober
            }
            let prober = HealthProber(
                pool, on: loop, intents: intents,
                survey: { [weak self] replica, parking in await self?.survey(replica, parking) },
                onChange: { [weak self] pool, replica, change in self?.changed(replica, in: pool, change) })
            prober.onProbe = { [weak self] pool, replica, problem in self?.hooks?.probed(replica, in: pool, problem) }
            prober.onUnreachable = { [weak self] replica in self?.names.failed(replica) }
            prober.start()
            return prober
        }
        names.use(fleet)
        for prober in before.values { prober.retire() }
        retired = retired.filter { !$0.isDone } + before.values
        let settings = server.settings.withLock { $0.hooks }
        if let hooks {
            hooks.change(to: settings, replicas: Set(fleet.pools.flatMap { $0.replicas.map(\.name) }))
        } else {
            hooks = ReplicaHooks(control: self, settings: settings)
        }
    }

    func find(replica name: String) -> (pool: Pool, replica: Replica)? {
        for pool in server.fleet.withLock({ $0.pools }) {
            if let replica = pool.replicas.first(where: { $0.name == name }) { return (pool, replica) }
        }
        return nil
    }

    /// ``GatewayServer/reload()`` on a thread of its own. - Returns: the problem, if there was one.
    func reload() async -> String? {
        let parking = Parking(on: loop)
        defer { parking.close() }
        let errand = Errand<String?>(on: loop)
        detachThread { [server] in errand.bring(server.reload()) }
        return await errand.results(parking).first ?? nil
    }

    // MARK: Names

    /// Blocks a thread of its own while it looks them up, one after the other.
    private static func lookUp(
        _ names: [String], _ found: @escaping @Sendable ([String: [SocketAddress]]) -> Void
    ) {
        detachThread {
            var addresses: [String: [SocketAddress]] = [:]
            for name in names { addresses[name] = try? SocketAddress.resolve(host: name, port: 0) }
            found(addresses)
        }
    }

    func startNames() { names.start() }

    private func moved(_ replica: Replica, in pool: Pool, from before: SocketAddress) {
        for worker in server.workers {
            worker.post { loop in LoopServer.on(loop)?.services.upstreams.closeIdle(to: replica, in: pool) }
        }
        for prober in probers { prober.moved(replica) }
        server.log.events.log(
            .info, "replica_moved", "Replica \(replica.name) is at \(replica.state.address) now, not at \(before).",
            ["pool": pool.name, "replica": replica.name])
    }

    // MARK: Restarting

    func startRolling(_ replicas: [(pool: String, name: String)], drainLimit: Interval, force: Bool) {
        let rolling = RollingRestart(
            self, number: (rolling?.number ?? 0) + 1, replicas: replicas, drainLimit: drainLimit, force: force)
        self.rolling = rolling
        loop.spawn { await rolling.run() }
    }

    func wasRestarted(_ name: String) {
        for prober in probers { prober.wasRestarted(name) }
    }

    /// What operators asked for, by replica.
    var intents: [String: HealthMachine.Intent] {
        var intents: [String: HealthMachine.Intent] = [:]
        for pool in server.fleet.withLock({ $0.pools }) {
            for replica in pool.replicas { intents[replica.name] = replica.snapshot.intent }
        }
        return intents
    }

    /// How long the loops may take to look after their streams: what a probe may wait at most.
    private static let surveyTime = Interval.milliseconds(50)

    /// Has every loop note when streams at the replica last had an event, and waits until all have.
    private func survey(_ replica: Replica, _ parking: Parking) async {
        let errand = Errand<Void>(on: loop, results: server.workers.count)
        for worker in server.workers {
            worker.post { loop in
                LoopServer.on(loop)?.services.upstreams.surveyStreams(at: replica)
                errand.bring(())
            }
        }
        _ = await errand.results(parking, until: loop.now + Self.surveyTime)
    }

    func trafficFailed(_ replica: Replica, _ reason: HealthMachine.Reason) {
        for prober in probers + retired { prober.trafficFailed(replica, reason) }
        names.failed(replica)
    }

    /// - Returns: the replica, or nil when there is none of that name.
    func setIntent(_ intent: HealthMachine.Intent, of name: String) -> Replica? {
        guard probers.contains(where: { $0.setIntent(intent, of: name) }) else { return nil }
        return server.fleet.withLock { $0.pools }.lazy.flatMap(\.replicas).first { $0.name == name }
    }

    private func changed(_ replica: Replica, in pool: Pool, _ change: HealthProber.Change) {
        for worker in server.workers {
            worker.post { loop in
                guard let upstreams = LoopServer.on(loop)?.services.upstreams else { return }
                switch change {
                case .suspected: upstreams.closeIdle(to: replica, in: pool)
                case .died: upstreams.replicaDied(replica, in: pool)
                case .served:
                    upstreams.replicaServes(replica, in: pool)
                    pool.placeFreed(at: replica, now: loop.now)
                case .shareChanged: upstreams.shareChanged(of: replica, in: pool)
                }
            }
        }
        switch change {
        case .suspected(let news), .died(let news):
            if !pool.isAnyServing { pool.queue.callAll() }
            guard let news else { break }
            server.log.events.log(
                .warning, "replica_down", "Replica \(replica.name) is down: \(news).",
                ["pool": pool.name, "replica": replica.name])
        case .served:
            server.log.events.log(
                .info, "replica_up", "Replica \(replica.name) serves.", ["pool": pool.name, "replica": replica.name])
        case .shareChanged: break
        }
    }

    /// Keys in Redis, from now on.
    func followKeys(_ redis: LoopRedis?, _ settings: GatewaySettings) {
        storedKeys = redis.map {
            StoredKeys(
                $0.connection, prefix: settings.sessions.prefix, timeout: settings.redis?.timeout ?? .zero,
                keys: server.shared.authenticator.keys)
        }
    }

    // MARK: Admin listeners

    /// The TCP listener, if one is configured. Blocks while a name is looked up.
    static func openAddress(_ settings: AdminSettings) throws -> Int32? {
        guard let wanted = settings.address else { return nil }
        guard let address = try SocketAddress.resolve(host: wanted.host, port: wanted.port).first else {
            throw StartProblem("admin.address: \(wanted.host) has no address")
        }
        return try Listener.open(address, sharesPort: false)
    }

    /// - Parameters:
    ///   - inherited: the listening Unix socket of the process before.
    ///   - address: from ``openAddress(_:)``, or inherited too.
    /// - Returns: the Unix socket's descriptor.
    func listen(_ settings: AdminSettings, inherited: Int32?, address: Int32?) throws -> Int32 {
        let api = AdminAPI(control: self)
        let descriptor = try inherited ?? Listener.open(.unix(settings.socket), sharesPort: false)
        if inherited == nil { chmod(settings.socket, 0o600) }
        socketPath = settings.socket
        try listen(descriptor, api, AdminDoor(isLocal: true, settings: settings))
        if let address { try listen(address, api, AdminDoor(isLocal: false, settings: settings)) }
        return descriptor
    }

    private func listen(_ descriptor: Int32, _ api: AdminAPI, _ door: AdminDoor) throws {
        let listener = try Listener(on: loop, descriptor: descriptor) { [unowned self] socket in
            guard let stream = try? Stream.accepted(socket, on: loop, tls: nil) else { return }
            let connection = ServerConnection(
                stream, settings: loopServer.services.connectionSettings, memory: loopServer.services.bodyMemory,
                rooms: loopServer.rooms)
            loop.spawn { await AdminConnection(connection, api: api, door: door).serve() }
        }
        listeners.append(listener)
    }

    /// Another process has these listeners too. Probing goes on for the requests that are still here.
    func handOver() {
        for listener in listeners { listener.handOver() }
        listeners = []
        socketPath = nil
    }

    func stop() {
        for prober in probers + retired { prober.stop() }
        names.stop()
        hooks?.stop()
        storedKeys?.stop()
        for listener in listeners { listener.close() }
        listeners = []
        if let socketPath { unlink(socketPath) }
    }
}
