import GatewayCore
import Reactor
import RedisClient
import Stores
import Testing
import TestSupport

@Suite struct SessionLifetimeTests {
    private static let parts = ["state", "turns", "prints"]

    /// Sets the time to live of a session's keys, as if time had passed.
    private static func age(_ rig: StoreRig, _ id: SessionID, to milliseconds: Int) async throws {
        for part in parts + ["past"] {
            _ = try await rig.command(RedisCommand("PEXPIRE", "test:s:{\(id.text)}:\(part)", String(milliseconds)))
        }
    }

    private static func timesToLive(_ rig: StoreRig, _ id: SessionID) async throws -> [Int64] {
        var all: [Int64] = []
        for part in parts { all.append(try await rig.timeToLive("test:s:{\(id.text)}:\(part)")) }
        return all
    }

    /// Within a minute below the whole.
    private static func isFresh(_ times: [Int64], seconds: Int64 = 3_600) -> Bool {
        times.allSatisfy { $0 <= seconds * 1_000 && $0 > (seconds - 60) * 1_000 }
    }

    @Test func `every turn and every read by the owner starts the time to live anew, an operator's look does not`()
        async throws
    {
        try await StoreRig.run { rig in
            let id = SessionID.random()
            let sign = TurnSign(idempotencyKey: "k", digest: "d")
            try await rig.turn(id, [StoreRig.user("a")], answer: "b", reply: "r", sign: sign)
            try await #expect(Self.isFresh(Self.timesToLive(rig, id)))
            let past = try await rig.timeToLive("test:s:{\(id.text)}:past")
            #expect(past > 6 * 86_400_000)

            let aged: @Sendable (StoreRig) async throws -> Void = { try await Self.age($0, id, to: 100_000) }
            try await aged(rig)
            _ = try await rig.store.show(id, owner: nil)
            #expect(try await Self.timesToLive(rig, id).allSatisfy { $0 <= 100_000 })
            let summary = try await rig.store.show(id, owner: "alice")
            #expect(summary.timeToLive > .seconds(3_000))
            try await #expect(Self.isFresh(Self.timesToLive(rig, id)))

            try await aged(rig)
            let opened = try await rig.open(id)
            try await #expect(Self.isFresh(Self.timesToLive(rig, id)))
            try await aged(rig)
            await rig.store.release(opened)
            try await #expect(Self.isFresh(Self.timesToLive(rig, id)))

            try await aged(rig)
            let replay = try await rig.store.open(
                id, owner: "alice", sign: sign, waitUntil: rig.loop.now)
            guard case .replay = replay else {
                Issue.record("not replayed")
                return
            }
            try await #expect(Self.isFresh(Self.timesToLive(rig, id)))

            try await rig.turn(id, [StoreRig.user("c")], answer: "d")
            try await #expect(Self.isFresh(Self.timesToLive(rig, id)))
        }
    }

    @Test func `a turn that takes longer than the time to live keeps its session`() async throws {
        var rules = StoreRig.rules()
        rules.ttl = .milliseconds(10)
        rules.lease = .seconds(3_600)
        try await StoreRig.run(rules: rules) { rig in
            let id = SessionID.random()
            let session = try await rig.open(id)
            let state = try await rig.timeToLive("test:s:{\(id.text)}:state")
            #expect(state > 3_000_000)
            #expect(await rig.append(session, [StoreRig.user("a")], answer: "b") == .stored(turnNumber: 1))
            let after = try await rig.timeToLive("test:s:{\(id.text)}:state")
            #expect(after <= 10)
        }
    }

    @Test func `a session that expired starts anew and says so, once`() async throws {
        try await StoreRig.run { rig in
            let id = SessionID.random()
            let sign = TurnSign(idempotencyKey: "k", digest: "d")
            try await rig.turn(id, [StoreRig.user("a")], answer: "b", reply: "r", sign: sign)
            try await rig.expire(id)
            // A turn that fails changes nothing about that.
            let failed = try await rig.open(id)
            #expect(failed.startedAnew)
            await rig.store.release(failed)
            // What was answered before is gone too: this is a new turn, not a repetition.
            let anew = try await rig.turn(id, [StoreRig.user("c")], answer: "d", sign: sign)
            #expect(anew.startedAnew)
            #expect(anew.turnNumber == 1)
            #expect(anew.history.isEmpty)
            let next = try await rig.turn(id, [StoreRig.user("e")], answer: "f")
            #expect(!next.startedAnew)
            #expect(next.turnNumber == 2)
        }
    }

    @Test func `a session of which Redis dropped a part starts anew instead of losing turns silently`() async throws {
        for part in ["state", "turns", "prints"] {
            try await StoreRig.run { rig in
                let id = SessionID.random()
                try await rig.turn(id, [StoreRig.user("a")], answer: "b")
                _ = try await rig.command(RedisCommand("DEL", "test:s:{\(id.text)}:\(part)"))
                let anew = try await rig.turn(id, [StoreRig.user("c")], answer: "d")
                #expect(anew.startedAnew, "\(part)")
                try await #expect(rig.history(id) == StoreRig.user("c") + "," + StoreRig.assistant("d"))
            }
        }
    }

    // MARK: Trimming

    @Test func `a history beyond its bytes loses its oldest turns but keeps the system prompt and the newest turns`()
        async throws
    {
        var rules = StoreRig.rules()
        rules.historyBytesMax = 2_000
        rules.turnsKept = 5
        try await StoreRig.run(rules: rules) { rig in
            let id = SessionID.random()
            try await rig.turn(id, [StoreRig.system("be kind"), StoreRig.user("q1")], answer: "a1")
            for number in 2...9 { try await rig.turn(id, [StoreRig.user("q\(number)")], answer: "a\(number)") }
            try await #expect(rig.store.show(id, owner: nil).droppedTurns == 0)
            // Five large turns are more than the bytes, but five turns are kept.
            let large = String(repeating: "x", count: 600)
            for number in 10...14 {
                try await rig.turn(id, [StoreRig.user("q\(number)\(large)")], answer: "a\(number)")
            }
            let summary = try await rig.store.show(id, owner: nil)
            #expect(summary.droppedTurns == 9)
            #expect(summary.turns == 14)
            let history = String(decoding: summary.history, as: UTF8.self)
            #expect(history.hasPrefix(StoreRig.system("be kind") + "," + #"{"role":"user","content":"q10x"#))
            #expect(history.utf8.count <= summary.historyBytes + 6 && history.utf8.count >= summary.historyBytes)
            for number in 10...14 { #expect(history.contains("\"a\(number)\"")) }
            #expect(!history.contains("\"a9\""))
            let next = try await rig.open(id)
            #expect(next.isTrimmed)
            #expect(next.turnNumber == 15)
            #expect(next.fingerprints.count == 11)
            // A client that has the whole conversation is still recognised.
            var whole = [StoreRig.system("be kind")]
            for number in 1...9 { whole += [StoreRig.user("q\(number)"), StoreRig.assistant("a\(number)")] }
            for number in 10...14 { whole += [StoreRig.user("q\(number)\(large)"), StoreRig.assistant("a\(number)")] }
            whole.append(StoreRig.user("q15"))
            #expect(next.known(of: StoreRig.run(of: whole)) == (29, true))
            await rig.store.release(next)
        }
    }

    @Test func `fifty turns are kept by default, and turn 1 is still there at turn 50`() async throws {
        var rules = StoreRig.rules()
        rules.historyBytesMax = 16
        try await StoreRig.run(rules: rules) { rig in
            let id = SessionID.random()
            for number in 1...50 { try await rig.turn(id, [StoreRig.user("q\(number)")], answer: "a\(number)") }
            try await #expect(rig.history(id).hasPrefix(StoreRig.user("q1") + ","))
            try await rig.turn(id, [StoreRig.user("q51")], answer: "a51")
            let summary = try await rig.store.show(id, owner: nil)
            #expect(summary.droppedTurns == 1)
            #expect(String(decoding: summary.history, as: UTF8.self).hasPrefix(StoreRig.user("q2") + ","))
        }
    }

    @Test func `the ceiling holds whatever the number of turns, but the newest turn stays`() async throws {
        var rules = StoreRig.rules()
        rules.historyBytesCeiling = 1_000
        try await StoreRig.run(rules: rules) { rig in
            let id = SessionID.random()
            for number in 1...4 {
                let text = String(repeating: "\(number)", count: 400)
                try await rig.turn(id, [StoreRig.user(text)], answer: "a\(number)")
            }
            try await #expect(rig.store.show(id, owner: nil).droppedTurns == 2)
            try await rig.turn(id, [StoreRig.user(String(repeating: "5", count: 3_000))], answer: "a5")
            let summary = try await rig.store.show(id, owner: nil)
            #expect(summary.droppedTurns == 4)
            #expect(summary.historyBytes > 3_000)
        }
    }

    @Test func `a limit of turns drops the oldest ones`() async throws {
        var rules = StoreRig.rules()
        rules.turnsMax = 3
        rules.turnsKept = 3
        try await StoreRig.run(rules: rules) { rig in
            let id = SessionID.random()
            for number in 1...7 { try await rig.turn(id, [StoreRig.user("q\(number)")], answer: "a\(number)") }
            let expected = (5...7).flatMap { [StoreRig.user("q\($0)"), StoreRig.assistant("a\($0)")] }
            try await #expect(rig.history(id) == expected.joined(separator: ","))
        }
    }
}
