import GatewayCore
import Reactor
import RedisClient
import Stores
import Testing
import TestSupport

/// What a request sees when Redis is slow, dies or comes back.
@Suite struct RedisOutageTests {
    @Test func `a slow Redis costs a turn its timeout, and then nothing`() async throws {
        let server = try RedisServer()
        var rules = StoreRig.rules()
        rules.commandTimeout = .milliseconds(50)
        try await StoreRig.run(on: server, rules: rules) { rig in
            // Loaded before, so that the first command of the test is the script itself.
            try await rig.turn(SessionID.random(), [StoreRig.user("a")], answer: "b")
            server.pause()
            await #expect(problem { try await rig.open(SessionID.random()) } == .unavailable("timed_out"))
            await #expect(problem { try await rig.open(SessionID.random()) } == .unavailable("unavailable"))
            server.resume()
            #expect(await rig.redis.waitUntilConnected(deadline: rig.loop.now + .seconds(30)))
            try await rig.turn(SessionID.random(), [StoreRig.user("a")], answer: "b")
        }
    }

    @Test func `an open whose reply was lost does not leave the session locked`() async throws {
        let server = try RedisServer()
        var rules = StoreRig.rules()
        rules.commandTimeout = .milliseconds(50)
        try await StoreRig.run(on: server, rules: rules) { rig in
            let id = SessionID.random()
            try await rig.turn(id, [StoreRig.user("a")], answer: "b")
            server.pause()
            // Sent, and run as soon as the server goes on; but nobody waits for it then.
            await #expect(problem { try await rig.open(id) } == .unavailable("timed_out"))
            server.resume()
            #expect(await rig.redis.waitUntilConnected(deadline: rig.loop.now + .seconds(30)))
            let next = try await rig.turn(id, [StoreRig.user("c")], answer: "d", wait: .seconds(20))
            #expect(next.turnNumber == 2)
        }
    }

    @Test func `a turn that can't be stored in time is reported as unknown, and does not stand in the way`()
        async throws
    {
        let server = try RedisServer()
        try await StoreRig.run(on: server) { rig in
            let id = SessionID.random()
            try await rig.turn(id, [StoreRig.user("a")], answer: "b")
            let session = try await rig.open(id)
            server.pause()
            let outcome = await rig.store.append(
                session, StoreRig.run(of: [StoreRig.user("c")]), answer: Array(StoreRig.assistant("d").utf8),
                deadline: rig.loop.now + .milliseconds(60))
            #expect(outcome == .unknown("timed_out"))
            server.resume()
            #expect(await rig.redis.waitUntilConnected(deadline: rig.loop.now + .seconds(30)))
            let next = try await rig.open(id, wait: .seconds(20))
            // It was stored or it was not, but not twice, and the turn after it runs.
            #expect([2, 3].contains(next.turnNumber))
            #expect(next.fingerprints.count == (next.turnNumber - 1) * 2)
            await rig.store.release(next)
        }
    }

    @Test func `a connection that breaks during an append is made again and the turn stored once`() async throws {
        let server = try RedisServer()
        try await StoreRig.run(on: server) { rig in
            let id = SessionID.random()
            try await rig.turn(id, [StoreRig.user("a")], answer: "b")
            let session = try await rig.open(id)
            let parking = Parking(on: rig.loop)
            defer { parking.close() }
            var outcome: TurnOutcome?
            server.pause()
            rig.loop.spawn {
                outcome = await rig.append(session, [StoreRig.user("c")], answer: "d")
                parking.wake()
            }
            while rig.redis.inFlight == 0 { _ = await parking.park(until: rig.loop.now + .milliseconds(1)) }
            // The server gets the append, and the order to hang up before it can answer.
            let other = Self.hangUpEverybody(server)
            server.resume()
            while outcome == nil { _ = await parking.park(until: rig.loop.now + .seconds(30)) }
            #expect(outcome == .stored(turnNumber: 2))
            let all = [StoreRig.user("a"), StoreRig.assistant("b"), StoreRig.user("c"), StoreRig.assistant("d")]
            try await #expect(rig.history(id) == all.joined(separator: ","))
            try await other.value
        }
    }

    /// From a loop of its own: `CLIENT KILL TYPE normal` ends every other connection.
    private static func hangUpEverybody(_ server: RedisServer) -> Task<Void, any Error> {
        Task {
            try await StoreRig.run(on: server) { rig in
                _ = try await rig.command(RedisCommand("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
            }
        }
    }

    @Test func `a Redis that died fails opens at once, and a new empty one is used as soon as it is there`()
        async throws
    {
        let server = try RedisServer()
        try await StoreRig.run(on: server) { rig in
            let id = SessionID.random()
            try await rig.turn(id, [StoreRig.user("a")], answer: "b")
            let running = try await rig.open(id)
            server.kill()
            let parking = Parking(on: rig.loop)
            defer { parking.close() }
            while rig.redis.isConnected { _ = await parking.park(until: rig.loop.now + .milliseconds(1)) }
            await #expect(problem { try await rig.open(SessionID.random()) } == .unavailable("unavailable"))
            try server.start()
            #expect(await rig.redis.waitUntilConnected(deadline: rig.loop.now + .seconds(30)))
            // The session is gone, and so the turn can't be stored; the scripts are loaded again by themselves.
            #expect(await rig.append(running, [StoreRig.user("c")], answer: "d") == .lost)
            let anew = try await rig.turn(id, [StoreRig.user("e")], answer: "f")
            #expect(anew.turnNumber == 1)
        }
    }
}
