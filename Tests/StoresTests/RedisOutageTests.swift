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
        let path = server.socketPath
        try await StoreRig.run(on: server) { rig in
            let id = SessionID.random()
            try await rig.turn(id, [StoreRig.user("a")], answer: "b")
            let session = try await rig.open(id)
            let settings = RedisConnectionSettings(addresses: [.unix(path)], database: 0, connectTimeout: .seconds(5))
            let other = RedisConnection(on: rig.loop, settings)
            other.start()
            #expect(await other.waitUntilConnected(deadline: rig.loop.now + .seconds(30)))
            let parking = Parking(on: rig.loop)
            defer {
                parking.close()
                other.close()
            }
            var outcome: TurnOutcome?
            // Redis runs the append but does not say so, and then the connection breaks.
            rig.loop.spawn {
                _ = try? await rig.command(RedisCommand("CLIENT", "REPLY", "OFF"))
            }
            while rig.redis.inFlight < 1 { _ = await parking.park(until: rig.loop.now + .milliseconds(1)) }
            rig.loop.spawn {
                outcome = await rig.append(session, [StoreRig.user("c")], answer: "d")
                parking.wake()
            }
            let observer = RedisSessionStore(on: other, rules: rig.store.rules, queue: TurnQueue(waitersMax: 1))
            while try await observer.show(id, owner: nil).turns < 2 {}
            #expect(outcome == nil)
            let hangUp = RedisCommand("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            _ = try await other.send(hangUp, deadline: rig.loop.now + .seconds(30))
            while outcome == nil { _ = await parking.park(until: rig.loop.now + .seconds(30)) }
            #expect(outcome == .stored(turnNumber: 2))
            #expect(rig.redis.counts.losses == 1)
            let all = [StoreRig.user("a"), StoreRig.assistant("b"), StoreRig.user("c"), StoreRig.assistant("d")]
            try await #expect(rig.history(id) == all.joined(separator: ","))
        }
    }

    @Test func `a Redis without memory refuses a turn whole, and the session is free for the next one`() async throws {
        let server = try RedisServer()
        try await StoreRig.run(on: server) { rig in
            let id = SessionID.random()
            try await rig.turn(id, [StoreRig.user("a")], answer: "b")
            let session = try await rig.open(id)
            _ = try await rig.command(RedisCommand("CONFIG", "SET", "maxmemory", "1"))
            #expect(await rig.append(session, [StoreRig.user("c")], answer: "d") == .unknown("refused"))
            await #expect(problem { try await rig.open(SessionID.random()) } == .unavailable("refused"))
            _ = try await rig.command(RedisCommand("CONFIG", "SET", "maxmemory", "0"))
            // Sooner than the lease of 30 seconds would lapse.
            let next = try await rig.turn(id, [StoreRig.user("e")], answer: "f", wait: .seconds(10))
            #expect(next.turnNumber == 2)
            #expect(next.fingerprints.count == 2)
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
