import GatewayCore
import Reactor
import RedisClient
import Stores
import Synchronization
import Testing
import TestSupport

@Suite struct SessionTurnsTests {
    /// Each history must be what all earlier turns said: nothing lost, nothing twice, nothing out of order.
    private static func check(_ history: String, turns: Int) {
        let contents = history.split(separator: #""content":""#).dropFirst().map { $0.prefix { $0 != "\"" } }
        #expect(contents.count == turns * 2)
        for index in stride(from: 0, to: contents.count - 1, by: 2) {
            // Each answer names its question and how many messages the history had before it.
            #expect(contents[index + 1] == "\(contents[index]) after \(index)")
        }
        #expect(Set(contents).count == contents.count)
    }

    private static func takeTurn(_ rig: StoreRig, _ id: SessionID, _ name: String, wait: Interval) async throws {
        let session = try await rig.open(id, TurnSign(digest: name), wait: wait)
        let answer = "\(name) after \(session.fingerprints.count)"
        guard case .stored = await rig.append(session, [StoreRig.user(name)], answer: answer) else {
            throw StoreRig.Unexpected.notStored
        }
    }

    @Test func `20 turns at once are 20 turns in the history, once each and in an order`() async throws {
        try await StoreRig.run { rig in
            let id = SessionID.random()
            let parking = Parking(on: rig.loop)
            defer { parking.close() }
            var left = 20
            var failures = 0
            for number in 0..<20 {
                rig.loop.spawn {
                    do { try await Self.takeTurn(rig, id, "t\(number)", wait: .seconds(60)) } catch { failures += 1 }
                    left -= 1
                    parking.wake()
                }
            }
            while left > 0 { _ = await parking.park(until: rig.loop.now + .seconds(60)) }
            #expect(failures == 0)
            try await Self.check(rig.history(id), turns: 20)
        }
    }

    @Test func `turns of several gateways and loops at once are in the history once each`() async throws {
        let id = SessionID.random()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for gateway in 0..<3 {
                // Each has a queue of its own, as another process would.
                group.addTask {
                    try await StoreRig.run { rig in
                        for step in 0..<7 {
                            try await Self.takeTurn(rig, id, "g\(gateway)-\(step)", wait: .seconds(120))
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let history = try await StoreRig.run { try await $0.history(id) }
        Self.check(history, turns: 21)
        for gateway in 0..<3 {
            let steps = history.split(separator: "\"").filter { $0.hasPrefix("g\(gateway)-") && !$0.contains(" ") }
            #expect(steps == (0..<7).map { "g\(gateway)-\($0)" })
        }
    }

    @Test func `whoever does not wait is told that the session is busy`() async throws {
        try await StoreRig.run { rig in
            let id = SessionID.random()
            let running = try await rig.open(id)
            await #expect(problem { try await rig.open(id) } == .busy)
            // The same from another gateway, whose own queue is empty.
            try await StoreRig.run { other in
                await #expect(problem { try await other.open(id) } == .busy)
                await #expect(problem { try await other.open(id, wait: .milliseconds(50)) } == .busy)
            }
            await rig.store.release(running)
            let next = try await rig.open(id)
            #expect(next.turnNumber == 1)
            await rig.store.release(next)
        }
    }

    @Test func `a turn that failed leaves the history as it was, and no session that never had a turn`() async throws {
        try await StoreRig.run { rig in
            let id = SessionID.random()
            await rig.store.release(try await rig.open(id))
            await #expect(problem { try await rig.store.show(id, owner: nil) } == .notFound)
            try await rig.turn(id, [StoreRig.user("a")], answer: "b")
            await rig.store.release(try await rig.open(id))
            let summary = try await rig.store.show(id, owner: nil)
            #expect(summary.turns == 1)
            #expect(!summary.isTurnRunning)
        }
    }

    @Test func `the append script appends once, however often it runs`() async throws {
        // Of its own, because the slow log is one for all.
        let server = try RedisServer()
        try await StoreRig.run(on: server) { rig in
            let id = SessionID.random()
            // What a gateway sends, taken from Redis' own record of it, and then sent again byte by byte.
            let session = try await rig.open(id)
            _ = try await rig.command(RedisCommand("CONFIG", "SET", "slowlog-log-slower-than", "0"))
            #expect(await rig.append(session, [StoreRig.user("a")], answer: "b") == .stored(turnNumber: 1))
            let log = try await rig.command(RedisCommand("SLOWLOG", "GET", "128"))
            let commands = (log.elements ?? []).compactMap { $0.elements?[3].elements?.compactMap(\.bytes) }
            let turn = Array(session.turn.text.utf8)
            let sent = try #require(commands.first { $0.contains(turn) }, "no append in the slow log")
            var again = RedisCommand("EVALSHA")
            for part in sent.dropFirst() { again.append(part) }
            for _ in 0..<3 {
                let reply = try await rig.command(again)
                #expect(reply == .array([.bulk(Array("stored".utf8)), .integer(1), .integer(0)]))
            }
            // Also after another turn, when this one is not the last any more.
            try await rig.turn(id, [StoreRig.user("c")], answer: "d")
            _ = try await rig.command(again)
            let all = [StoreRig.user("a"), StoreRig.assistant("b"), StoreRig.user("c"), StoreRig.assistant("d")]
            try await #expect(rig.history(id) == all.joined(separator: ","))
        }
    }

    @Test func `opening again for the same turn gives the same, because the lock is its own`() async throws {
        try await StoreRig.run { rig in
            let id = SessionID.random()
            try await rig.turn(id, [StoreRig.user("a")], answer: "b")
            let turn = TurnID.random()
            let first = try await rig.open(id, turn: turn)
            // As after a reply that was lost: another process' queue knows nothing.
            try await StoreRig.run { other in
                let second = try await other.open(id, turn: turn)
                #expect(second.turnNumber == 2)
                #expect(second.history == Array((StoreRig.user("a") + "," + StoreRig.assistant("b")).utf8))
            }
            #expect(await rig.append(first, [StoreRig.user("c")], answer: "d") == .stored(turnNumber: 2))
        }
    }

    @Test func `a lease that lapsed lets the next turn in, and the late one is not stored`() async throws {
        var rules = StoreRig.rules()
        rules.lease = .milliseconds(1)
        let short = rules
        try await StoreRig.run(rules: short) { crashed in
            let id = SessionID.random()
            let late = try await crashed.open(id)
            // Stop renewing, as a gateway that hangs does.
            crashed.store.close()
            try await StoreRig.run { rig in
                _ = try await rig.turn(id, [StoreRig.user("next")], answer: "one", wait: .seconds(30))
            }
            #expect(await crashed.append(late, [StoreRig.user("late")], answer: "two") == .lost)
            try await #expect(crashed.history(id) == StoreRig.user("next") + "," + StoreRig.assistant("one"))
        }
    }

    @Test func `a lease that lapsed without another turn costs nothing`() async throws {
        var rules = StoreRig.rules()
        rules.lease = .milliseconds(1)
        try await StoreRig.run(rules: rules) { rig in
            let id = SessionID.random()
            let session = try await rig.open(id)
            rig.store.close()
            let parking = Parking(on: rig.loop)
            defer { parking.close() }
            while try await rig.store.show(id, owner: nil).isTurnRunning {
                _ = await parking.park(until: rig.loop.now + .milliseconds(1))
            }
            #expect(await rig.append(session, [StoreRig.user("a")], answer: "b") == .stored(turnNumber: 1))
        }
    }

    @Test func `a long turn renews its lease`() async throws {
        var rules = StoreRig.rules()
        rules.lease = .seconds(2)
        try await StoreRig.run(rules: rules) { rig in
            let id = SessionID.random()
            let state = "test:s:{\(id.text)}:state"
            let session = try await rig.open(id)
            let before = try await rig.command(RedisCommand("HGET", state, "lockUntil")).integer
            let parking = Parking(on: rig.loop)
            defer { parking.close() }
            let patient = rig.loop.now + .seconds(30)
            var after = before
            while after == before, rig.loop.now < patient {
                _ = await parking.park(until: rig.loop.now + .milliseconds(20))
                after = try await rig.command(RedisCommand("HGET", state, "lockUntil")).integer
            }
            #expect(try #require(after) > #require(before))
            #expect(!session.isLost)
            // One that was overtaken learns it.
            _ = try await rig.command(RedisCommand("HSET", state, "lock", "somebody else's"))
            while !session.isLost, rig.loop.now < patient {
                _ = await parking.park(until: rig.loop.now + .milliseconds(20))
            }
            #expect(session.isLost)
            #expect(await rig.append(session, [StoreRig.user("a")], answer: "b") == .lost)
        }
    }
}
