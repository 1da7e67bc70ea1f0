import Balancing
import GatewayCore
import Reactor
import Synchronization
import Testing
import Upstreams
import Wire

/// Names and their addresses as a test wants them, and which names were asked for.
private final class Names: Sendable {
    private struct Answers {
        var byName: [String: [SocketAddress]]
        var asked: [String] = []
    }
    private let answers: Mutex<Answers>

    init(_ byName: [String: [SocketAddress]]) { answers = Mutex(Answers(byName: byName)) }

    func change(_ name: String, to addresses: [SocketAddress]) {
        answers.withLock { $0.byName[name] = addresses }
    }

    func lookUp(_ names: [String]) -> [String: [SocketAddress]] {
        answers.withLock { answers in
            answers.asked += names
            return answers.byName.filter { names.contains($0.key) }
        }
    }

    var asked: [String] { answers.withLock { $0.asked } }
}

/// One replica `a` of the name `replica.test`, on a loop of its own, and who looks its name up.
private final class Rig: Sendable {
    /// What lives on the loop.
    private final class Inside {
        let resolver: NameResolver
        let replica: Replica
        init(_ resolver: NameResolver, _ replica: Replica) {
            self.resolver = resolver
            self.replica = replica
        }
    }

    private let worker = Worker()
    private let moves = Mutex<[String]>([])
    let state: ReplicaState

    init(_ names: Names, host: String = "replica.test", every interval: Interval) throws {
        let breaker = BreakerSettings(
            failuresInARow: 5, failuresOf32: 24, shortest: .seconds(1), longest: .seconds(60))
        state = ReplicaState(host: host, address: address(1), breaker: breaker)
        let replica = Replica(
            ReplicaSettings(
                name: "a", host: "\(host):8000", tlsHost: nil, pathPrefix: "", credential: nil, weight: 1,
                kind: .generic, maxInFlight: 1, isBackup: false, probePath: "/", breaker: breaker),
            index: 0, metricsIndex: 0, tls: nil, state: state)
        worker.start(name: "names")
        try worker.call { [self] loop in
            let fleet = Fleet(pools: [Pool(poolSettings(interval), index: 0, replicas: [replica])])
            let resolver = NameResolver(on: loop) { wanted, found in
                found(names.lookUp(wanted))
            } onMove: { [self] _, replica, before in
                moves.withLock { $0.append("\(replica.name): \(before) to \(replica.state.address)") }
            }
            resolver.use(fleet)
            resolver.start()
            loop.resident = Inside(resolver, replica)
        }
    }

    private func inside(_ body: @escaping @Sendable (NameResolver, Replica) -> Void) throws {
        try worker.call { loop in
            guard let inside = loop.resident as? Inside else { return }
            body(inside.resolver, inside.replica)
        }
    }

    func fail() throws { try inside { $0.failed($1) } }
    func stop() throws { try inside { resolver, _ in resolver.stop() } }
    var moved: [String] { moves.withLock { $0 } }
}

private func address(_ number: UInt32) -> SocketAddress {
    SocketAddress(.v4(UInt32(0x0A00_0000 + number).bigEndian), port: 8000)
}

private func poolSettings(_ resolveInterval: Interval) -> PoolSettings {
    let minute = Interval.seconds(60)
    return PoolSettings(
        name: "main", models: [], policy: .smoothRoundRobin,
        health: HealthSettings(
            interval: .seconds(2), jitterPercent: 0, fall: 3, rise: 2, pressingInterval: .milliseconds(250),
            ramp: .zero, warmsUp: false),
        probeTimeout: .seconds(1), deepTimeout: minute,
        timeouts: UpstreamTimeouts(
            connect: minute, firstByte: minute, firstContent: minute, firstContentPerKiB: .zero, streamStall: minute,
            total: minute, headHold: minute),
        attempt: AttemptSettings(sendsMax: 3, waitMax: .seconds(10)), retryPercent: 20, retriesPerSecond: 10,
        resumes: true, queueLength: 1, queueTimeout: minute, idleConnectionsMax: 1, resolveInterval: resolveInterval,
        replyHead: HeadLimits(headBytes: 8_192, requestLineBytes: 4_096, fields: 64),
        replyChunks: ChunkedDecoder.Limits(extensionBytes: 64, trailerBytes: 64, trailerFields: 4))
}

/// Polls until `condition` holds; false after twenty seconds.
private func eventually(_ condition: () -> Bool) async throws -> Bool {
    for _ in 0..<2_000 {
        if condition() { return true }
        try await Task.sleep(for: .milliseconds(10))
    }
    return false
}

@Suite struct NameResolverTests {
    @Test func `a replica goes where its name leads, without a reload`() async throws {
        let names = Names(["replica.test": [address(1)]])
        let rig = try Rig(names, every: .milliseconds(10))
        #expect(try await eventually { names.asked.count > 2 })
        #expect(rig.moved.isEmpty)
        names.change("replica.test", to: [address(2)])
        #expect(try await eventually { rig.state.address == address(2) })
        #expect(rig.moved == ["a: 10.0.0.1:8000 to 10.0.0.2:8000"])
        try rig.stop()
    }

    @Test func `a name that is not found any more changes nothing`() async throws {
        let names = Names(["replica.test": []])
        let rig = try Rig(names, every: .milliseconds(10))
        #expect(try await eventually { names.asked.count > 5 })
        #expect(rig.moved.isEmpty && rig.state.address == address(1))
        try rig.stop()
    }

    @Test func `a replica that can't be reached is looked up at once`() async throws {
        let names = Names(["replica.test": [address(2)]])
        let rig = try Rig(names, every: .seconds(86_400))
        try rig.fail()
        #expect(try await eventually { rig.state.address == address(2) })
        #expect(names.asked == ["replica.test"])
        try rig.stop()
    }

    @Test func `addresses in figures, and an interval of zero, are never looked up`() throws {
        let names = Names([:])
        let often = Interval.milliseconds(1)
        for (host, interval) in [("10.0.0.1", often), ("fd00::1", often), ("replica.test", .zero)] {
            let rig = try Rig(names, host: host, every: interval)
            try rig.fail()
            try rig.fail()
            try rig.stop()
        }
        #expect(names.asked.isEmpty)
    }

    @Test func `a replica keeps an address that its name still has, unless it can't be reached there`() {
        func choose(_ found: [UInt32], isUnreachable: Bool = false) -> SocketAddress {
            let portless = found.map { SocketAddress(address($0).kind) }
            return NameResolver.choose(among: portless, now: address(1), isUnreachable: isUnreachable)
        }
        #expect(choose([1]) == address(1) && choose([3, 2, 1]) == address(1))
        #expect(choose([2, 3]) == address(2) && choose([]) == address(1))
        #expect(choose([1, 2, 3], isUnreachable: true) == address(2))
        #expect(choose([3, 1], isUnreachable: true) == address(3))
        #expect(choose([1], isUnreachable: true) == address(1) && choose([], isUnreachable: true) == address(1))
    }
}
