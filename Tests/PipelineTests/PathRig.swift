import Balancing
import GatewayCore
import HTTPConnections
import Identity
import Limiting
import Reactor
import Telemetry
import Upstreams
import Wire

@testable import Pipeline

/// The request path of one loop, with a replica that gives everybody the same answer, and one client's connection.
final class PathRig {
    let loop: EventLoop
    let services: LoopServices
    /// The replica keeps what it is asked to itself meanwhile.
    var isHolding = false
    private(set) var heldCount = 0
    private let near: Stream
    private let parking: Parking
    private let rooms: BodyRooms
    private var listeners: [Listener] = []
    private let replicaPort: UInt16
    private var replicaTasks = 0

    private static let never = Interval.seconds(600)
    private static let headLimits = HeadLimits(headBytes: 8_192, requestLineBytes: 4_096, fields: 64)
    private static let chunkLimits = ChunkedDecoder.Limits(extensionBytes: 64, trailerBytes: 64, trailerFields: 4)
    private static let connections = ConnectionSettings(
        head: headLimits, chunks: chunkLimits, bodyBytesMax: 1 << 20, headTimeout: never, bodyStall: never,
        idleTimeout: never, writeStall: never)
    private static let settings = PipelineSettings(
        requiresCredential: false, totalTimeout: never, trustedPeers: [],
        cors: .init(allowedOrigins: [], maxAge: .zero), sessions: nil)

    /// Runs `work` on a loop of its own with a client that is connected.
    static func run<Result: Sendable>(
        _ work: @escaping @Sendable (PathRig) async throws -> Result
    ) async throws -> Result {
        let worker = Worker()
        worker.start(name: "path-test")
        defer { worker.post { $0.stop() } }
        return try await worker.run { loop async throws -> Result in
            let rig = try PathRig(on: loop)
            try await rig.near.waitUntilConnected(parking: rig.parking, deadline: loop.now + .seconds(10))
            let result = try await work(rig)
            await rig.close()
            return result
        }
    }

    private init(on loop: EventLoop) throws {
        self.loop = loop
        let replica = try Listener.open(.loopback(port: 0), sharesPort: false)
        let gateway = try Listener.open(.loopback(port: 0), sharesPort: false)
        replicaPort = Listener.port(of: replica)
        let fleet = Self.fleet("before", port: replicaPort)
        let metrics = Self.metrics("before")
        let upstreams = LoopUpstreams(on: loop, loopIndex: 0, loopCount: 1, fleet: fleet, metrics: metrics)
        let shared = SharedServices(
            authenticator: Authenticator(
                keys: KeyDirectory(configured: [], state: .loaded),
                verifier: try TokenVerifier(issuers: [], tokenBytesMax: 8_192)),
            limiter: RequestLimiter(limits: .unlimited, keysMax: 64), memory: BodyMemory(limitBytes: 1 << 20),
            started: WallTime(secondsSinceEpoch: 0))
        services = LoopServices(
            loop: loop, shared: shared, upstreams: upstreams, tokenCacheEntries: 16, metrics: metrics, accessLog: nil,
            settings: Self.settings, fleet: fleet, connectionSettings: Self.connections)
        parking = Parking(on: loop)
        rooms = BodyRooms(on: loop)
        near = try Stream.connect(to: .loopback(port: Listener.port(of: gateway)), on: loop)
        let path = RequestPath(services)
        listeners = [
            try Listener(on: loop, descriptor: replica) { [unowned self] in answer(on: $0) },
            try Listener(on: loop, descriptor: gateway) { [unowned self] in serve($0, path) },
        ]
    }

    /// As the assembly does it.
    private func serve(_ socket: Int32, _ path: RequestPath) {
        guard let stream = try? Stream.accepted(socket, on: loop, tls: nil) else { return }
        let connection = ServerConnection(
            stream, settings: Self.connections, memory: services.bodyMemory, rooms: rooms)
        let exchange = Exchange(connection, path: path)
        services.exchanges[ObjectIdentifier(exchange)] = exchange
        loop.spawn { [self] in
            await path.serve(exchange)
            services.exchanges[ObjectIdentifier(exchange)] = nil
        }
    }

    // MARK: The replica

    private func answer(on socket: Int32) {
        guard let stream = try? Stream.accepted(socket, on: loop, tls: nil) else { return }
        let connection = ServerConnection(
            stream, settings: Self.connections, memory: LoopBodyMemory(of: BodyMemory(limitBytes: 1 << 20)),
            rooms: rooms)
        replicaTasks += 1
        loop.spawn { [self] in
            while (try? await connection.receiveHead()) == true, (try? await connection.receiveBody()) != nil {
                if isHolding { heldCount += 1 }
                while isHolding { _ = await connection.parking.park(until: loop.now + .milliseconds(1)) }
                connection.send(
                    """
                    HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 103\r\n\r\n\
                    {"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},\
                    "finish_reason":"stop"}]}
                    """)
            }
            await connection.close()
            replicaTasks -= 1
        }
    }

    private static func fleet(_ name: String, port: UInt16) -> Fleet {
        let breaker = BreakerSettings(failuresInARow: 5, failuresOf32: 24, shortest: .seconds(1), longest: .seconds(60))
        let state = ReplicaState(host: "127.0.0.1", address: .loopback(port: port), breaker: breaker)
        state.publish(HealthSnapshot(intent: .enabled, health: .up(failures: 0), share: HealthMachine.fullShare))
        let replica = Replica(
            ReplicaSettings(
                name: name, host: "replica.test", tlsHost: nil, pathPrefix: "", credential: nil, weight: 1,
                kind: .generic, maxInFlight: 8, isBackup: false, probePath: "/", breaker: breaker),
            index: 0, metricsIndex: 0, tls: nil, state: state)
        let settings = PoolSettings(
            name: name, models: [ServedModel(name: "m", upstreamName: nil)], policy: .smoothRoundRobin,
            health: HealthSettings(
                interval: never, jitterPercent: 0, fall: 3, rise: 2, pressingInterval: never, ramp: .zero,
                warmsUp: false),
            probeTimeout: never, deepTimeout: never,
            timeouts: UpstreamTimeouts(
                connect: never, firstByte: never, firstContent: never, firstContentPerKiB: .zero, streamStall: never,
                total: never, headHold: never),
            attempt: AttemptSettings(sendsMax: 3, waitMax: .zero), retryPercent: 20, retriesPerSecond: 10,
            resumes: true, queueLength: 1, queueTimeout: never, idleConnectionsMax: 4, resolveInterval: .zero,
            replyHead: headLimits, replyChunks: chunkLimits)
        return Fleet(pools: [Pool(settings, index: 0, replicas: [replica])])
    }

    private static func metrics(_ name: String) -> LoopMetrics {
        let shape = TelemetryShape(pools: [name], replicas: [.init(name, pool: 0)])
        let build = BuildInfo(version: "test", swift: "test")
        return Telemetry(shape: shape, loops: 1, build: build, started: WallTime(secondsSinceEpoch: 0)).metrics(loop: 0)
    }

    // MARK: What tests do

    /// Puts another fleet in force, whose pool and replica are called `after`.
    func reload() {
        services.use(
            Self.fleet("after", port: replicaPort), Self.metrics("after"), settings: Self.settings,
            connectionSettings: Self.connections)
    }

    func send() {
        let body = #"{"model":"m","messages":[{"role":"user","content":"Hello"}]}"#
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: weir\r\ncontent-length: \(body.utf8.count)\r\n\r\n"
        _ = Array((head + body).utf8).withUnsafeBytes { near.write($0) }
    }

    /// What the client gets, up to the end of the answer that the replica gives.
    func receive() async -> String {
        var text = ""
        let deadline = loop.now + .seconds(10)
        while !text.hasSuffix("]}"), loop.now < deadline {
            switch near.read(into: loop.scratch) {
            case .bytes(let count): text += String(decoding: loop.scratch[0..<count], as: UTF8.self)
            case .wouldBlock: _ = await parking.park(until: deadline)
            case .end, .failed: return text
            }
        }
        return text
    }

    /// Lets the loop turn until `condition` holds, ten seconds at most. - Returns: whether it does.
    func eventually(_ condition: () -> Bool) async -> Bool {
        let deadline = loop.now + .seconds(10)
        while !condition(), loop.now < deadline { _ = await parking.park(until: loop.now + .milliseconds(1)) }
        return condition()
    }

    private func close() async {
        isHolding = false
        near.close()
        services.upstreams.closeIdle()
        _ = await eventually { services.exchanges.isEmpty && replicaTasks == 0 }
        for listener in listeners { listener.close() }
        rooms.close()
        parking.close()
    }
}
