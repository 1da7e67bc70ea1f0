import GatewayCore
import Reactor
import RedisClient
import Stores
import TestSupport

/// One Redis for all tests of this target; each test uses names of its own.
let sharedRedis = Result { try RedisServer() }

/// A loop with a connection that stands and a session store on it.
struct StoreRig {
    let redis: RedisConnection
    let store: RedisSessionStore
    let loop: EventLoop

    static func rules(prefix: String = "test") -> SessionRules {
        SessionRules(
            prefix: prefix, ttl: .seconds(3_600), historyBytesMax: 1 << 20, turnsMax: nil, commandTimeout: .seconds(10))
    }

    /// Runs `body` on a loop of its own.
    static func run<Value: Sendable>(
        on server: RedisServer? = nil, rules: SessionRules = rules(), queue: TurnQueue = TurnQueue(waitersMax: 64),
        _ body: @escaping @Sendable (StoreRig) async throws -> Value
    ) async throws -> Value {
        let server = try server ?? sharedRedis.get()
        let path = server.socketPath
        let worker = Worker()
        worker.start(name: "stores-test")
        return try await worker.run { loop in
            let settings = RedisConnectionSettings(addresses: [.unix(path)], database: 0, connectTimeout: .seconds(5))
            let redis = RedisConnection(on: loop, settings)
            redis.start()
            _ = await redis.waitUntilConnected(deadline: loop.now + .seconds(10))
            let rig = StoreRig(
                redis: redis, store: RedisSessionStore(on: redis, rules: rules, queue: queue), loop: loop)
            defer {
                rig.store.close()
                redis.close()
                loop.stop()
            }
            return try await body(rig)
        }
    }

    func command(_ command: RedisCommand) async throws -> RedisReply {
        try await redis.send(command, deadline: loop.now + .seconds(10))
    }

    /// Milliseconds that a key has left; -2 if there is none.
    func timeToLive(_ key: String) async throws -> Int64 {
        try await command(RedisCommand("PTTL", key)).integer ?? -3
    }

    /// Lets a key expire as if its time had passed.
    func expire(_ id: SessionID, prefix: String = "test") async throws {
        for part in ["state", "turns", "prints"] {
            _ = try await command(RedisCommand("DEL", "\(prefix):s:{\(id.text)}:\(part)"))
        }
    }

    // MARK: Turns

    static func user(_ text: String) -> String { #"{"role":"user","content":"\#(text)"}"# }
    static func assistant(_ text: String) -> String { #"{"role":"assistant","content":"\#(text)"}"# }
    static func system(_ text: String) -> String { #"{"role":"system","content":"\#(text)"}"# }

    static func run(of messages: [String]) -> MessageRun {
        var run = MessageRun()
        for message in messages { run.append(Array(message.utf8)) }
        return run
    }

    func open(
        _ id: SessionID, owner: String = "alice", _ sign: TurnSign = TurnSign(digest: "d"), turn: TurnID = .random(),
        wait: Interval = .zero
    ) async throws -> OpenedSession {
        switch try await store.open(id, owner: owner, sign: sign, turn: turn, waitUntil: loop.now + wait) {
        case .opened(let session): return session
        case .replay: throw Unexpected.replay
        }
    }

    enum Unexpected: Error { case replay, notStored }

    /// Opens, answers, appends. - Returns: the session as it was opened.
    @discardableResult
    func turn(
        _ id: SessionID, owner: String = "alice", _ messages: [String], answer: String, reply: String = "",
        sign: TurnSign = TurnSign(digest: "d"), wait: Interval = .zero
    ) async throws -> OpenedSession {
        let session = try await open(id, owner: owner, sign, wait: wait)
        let outcome = await append(session, messages, answer: answer, reply: reply)
        guard outcome == .stored(turnNumber: session.turnNumber) else { throw Unexpected.notStored }
        return session
    }

    func append(
        _ session: OpenedSession, _ messages: [String], answer: String, reply: String = ""
    ) async -> TurnOutcome {
        await store.append(
            session, Self.run(of: messages), answer: Array(Self.assistant(answer).utf8), reply: Array(reply.utf8),
            deadline: loop.now + .seconds(10))
    }

    /// The history as it stands, without touching it.
    func history(_ id: SessionID) async throws -> String {
        String(decoding: try await store.show(id, owner: nil).history, as: UTF8.self)
    }
}

func problem<Value>(_ body: () async throws -> Value) async -> SessionProblem? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? SessionProblem
    }
}
