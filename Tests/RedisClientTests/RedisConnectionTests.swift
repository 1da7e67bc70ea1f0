import GatewayCore
import Reactor
import RedisClient
import Synchronization
import Testing
import TestSupport

@Suite struct RedisConnectionTests {
    /// Runs `body` on a loop with a connection that stands, unless it can't by the end of `wait`.
    private func connected<Result: Sendable>(
        to server: RedisServer, wait: Interval = .seconds(10),
        _ change: @escaping @Sendable (inout RedisConnectionSettings) -> Void = { _ in },
        _ body: @escaping @Sendable (RedisConnection, EventLoop) async throws -> Result
    ) async throws -> Result {
        let worker = Worker()
        worker.start(name: "redis-test")
        let path = server.socketPath
        return try await worker.run { loop in
            var settings = RedisConnectionSettings(addresses: [.unix(path)], database: 0, connectTimeout: .seconds(1))
            change(&settings)
            let redis = RedisConnection(on: loop, settings)
            redis.start()
            _ = await redis.waitUntilConnected(deadline: loop.now + wait)
            defer {
                redis.close()
                loop.stop()
            }
            return try await body(redis, loop)
        }
    }

    private static func failure(_ body: () async throws(RedisError) -> RedisReply) async -> RedisError? {
        do throws(RedisError) {
            _ = try await body()
            return nil
        } catch {
            return error
        }
    }

    @Test func `commands of many tasks are answered each with its own reply`() async throws {
        let server = try RedisServer()
        let wrong = try await connected(to: server) { redis, loop in
            let parking = Parking(on: loop)
            defer { parking.close() }
            var left = 500
            var wrong = 0
            for number in 0..<500 {
                loop.spawn {
                    let text = String(repeating: "x", count: number) + String(number)
                    let reply = try? await redis.send(RedisCommand("ECHO", text), deadline: loop.now + .seconds(10))
                    if reply != .bulk(Array(text.utf8)) { wrong += 1 }
                    left -= 1
                    if left == 0 { parking.wake() }
                }
            }
            while left > 0 { _ = await parking.park(until: loop.now + .seconds(1)) }
            return wrong
        }
        #expect(wrong == 0)
    }

    @Test func `megabytes pass in both directions`() async throws {
        let server = try RedisServer()
        let size = try await connected(to: server) { redis, loop in
            let value = [UInt8](repeating: 0xFE, count: 20_000_000)
            var set = RedisCommand("SET")
            set.append("large")
            set.append(value)
            _ = try await redis.send(set, deadline: loop.now + .seconds(20))
            let reply = try await redis.send(RedisCommand("GET", "large"), deadline: loop.now + .seconds(20))
            return reply.bytes == value ? value.count : -1
        }
        #expect(size == 20_000_000)
    }

    @Test func `an error that Redis reports fails its command only`() async throws {
        let server = try RedisServer()
        try await connected(to: server) { redis, loop in
            let deadline = loop.now + .seconds(10)
            let refused = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("NOSUCHCOMMAND"), deadline: deadline)
            }
            guard case .refused(let text) = refused else {
                Issue.record("not refused: \(String(describing: refused))")
                return
            }
            #expect(text.hasPrefix("ERR unknown command"))
            try await #expect(redis.send(RedisCommand("PING"), deadline: deadline) == .status("PONG"))
        }
    }

    @Test func `a password and a database number are used before the first command`() async throws {
        let server = try RedisServer(options: ["--requirepass", "open sesame"])
        let used = try await connected(
            to: server,
            {
                $0.password = "open sesame"
                $0.database = 5
            }
        ) { redis, loop in
            let info = try await redis.send(RedisCommand("CLIENT", "INFO"), deadline: loop.now + .seconds(10))
            return info.text?.contains(" db=5 ") ?? false
        }
        #expect(used)
    }

    @Test func `a wrong password leaves the connection unavailable and the problem named without the secret`()
        async throws
    {
        let server = try RedisServer(options: ["--requirepass", "right"])
        let (problem, failure) = try await connected(
            to: server, wait: .seconds(1), { $0.password = "wrong-secret" }
        ) { redis, loop in
            let failure = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("PING"), deadline: loop.now + .seconds(1))
            }
            let patient = loop.now + .seconds(30)
            let parking = Parking(on: loop)
            defer { parking.close() }
            while redis.problem == nil, loop.now < patient {
                _ = await parking.park(until: loop.now + .milliseconds(5))
            }
            return (redis.problem, failure)
        }
        #expect(problem == "refused: WRONGPASS")
        #expect(failure == .unavailable)
    }

    @Test func `a script runs by its digest, and again after the server forgot it`() async throws {
        let server = try RedisServer()
        let replies = try await connected(to: server) { redis, loop in
            let script = RedisScript(name: "test", source: "return {KEYS[1], ARGV[1], #ARGV}")
            var call = RedisScriptCall(script, keys: ["k"])
            call.append("a")
            call.append([0x00, 0x0D])
            let deadline = loop.now + .seconds(10)
            let first = try await redis.run(call, deadline: deadline)
            _ = try await redis.send(RedisCommand("SCRIPT", "FLUSH"), deadline: deadline)
            let second = try await redis.run(call, deadline: deadline)
            let third = try await redis.run(call, deadline: deadline)
            let calls = try await redis.send(RedisCommand("INFO", "commandstats"), deadline: deadline)
            #expect(calls.text?.contains("cmdstat_eval:calls=1,") == true)
            #expect(calls.text?.contains("cmdstat_evalsha:calls=3,") == true)
            return [first, second, third]
        }
        let expected = RedisReply.array([.bulk(Array("k".utf8)), .bulk(Array("a".utf8)), .integer(2)])
        #expect(replies == [expected, expected, expected])
    }

    @Test func `a server that stopped answering fails commands at their deadlines, and later ones at once`()
        async throws
    {
        let server = try RedisServer()
        let (waited, failures) = try await connected(to: server) { redis, loop in
            server.pause()
            defer { server.resume() }
            let start = loop.now
            let slow = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("PING"), deadline: start + .milliseconds(60))
            }
            let waited = loop.now - start
            let next = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("PING"), deadline: loop.now + .seconds(600))
            }
            return (waited, [slow, next])
        }
        #expect(failures == [.timedOut, .unavailable])
        #expect(waited >= .milliseconds(60))
    }

    @Test func `a younger command that is overdue fails alone, and the oldest still gets its reply`()
        async throws
    {
        let server = try RedisServer()
        try await connected(to: server) { redis, loop in
            let parking = Parking(on: loop)
            defer { parking.close() }
            var oldest: RedisReply?
            var isDone = false
            let patient = loop.now + .seconds(30)
            server.pause()
            loop.spawn {
                oldest = try? await redis.send(RedisCommand("ECHO", "oldest"), deadline: patient)
                isDone = true
                parking.wake()
            }
            while redis.inFlight == 0 { _ = await parking.park(until: loop.now + .milliseconds(1)) }
            let younger = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("PING"), deadline: loop.now + .milliseconds(20))
            }
            #expect(younger == .timedOut)
            #expect(redis.isConnected)
            server.resume()
            while !isDone { _ = await parking.park(until: patient) }
            #expect(oldest?.text == "oldest")
            // The late reply of the abandoned PING must not be taken for the next command's.
            try await #expect(redis.send(RedisCommand("ECHO", "next"), deadline: patient).text == "next")
        }
    }

    @Test func `a killed server fails what waits, and the connection stands again when it is back`() async throws {
        let server = try RedisServer()
        try await connected(to: server) { redis, loop in
            let parking = Parking(on: loop)
            defer { parking.close() }
            var failures: [RedisError] = []
            let patient = loop.now + .seconds(60)
            server.pause()
            for _ in 0..<20 {
                loop.spawn {
                    if let failure = await Self.failure({ () async throws(RedisError) in
                        try await redis.send(RedisCommand("PING"), deadline: patient)
                    }) {
                        failures.append(failure)
                    }
                    parking.wake()
                }
            }
            while redis.inFlight < 20 { _ = await parking.park(until: loop.now + .milliseconds(1)) }
            server.kill()
            while failures.count < 20 { _ = await parking.park(until: patient) }
            #expect(failures.allSatisfy { $0 == .connectionLost })
            #expect(!redis.isConnected)
            let meanwhile = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("PING"), deadline: patient)
            }
            #expect(meanwhile == .unavailable)
            try server.start()
            await #expect(redis.waitUntilConnected(deadline: patient))
            try await #expect(redis.send(RedisCommand("PING"), deadline: patient) == .status("PONG"))
            #expect(redis.counts.connects == 2)
            #expect(redis.counts.losses == 1)
        }
    }

    @Test func `a server that has become a replica is left, for what may be behind its address now`() async throws {
        let server = try RedisServer()
        try await connected(to: server) { redis, loop in
            let patient = loop.now + .seconds(30)
            _ = try await redis.send(RedisCommand("REPLICAOF", "127.0.0.1", "1"), deadline: patient)
            let failure = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("SET", "a", "b"), deadline: patient)
            }
            guard case .refused(let text) = failure else {
                Issue.record("not refused: \(String(describing: failure))")
                return
            }
            #expect(text.hasPrefix("READONLY"))
            #expect(redis.counts.losses == 1)
            #expect(!redis.isConnected)
        }
    }

    @Test func `commands and bytes in flight are bounded`() async throws {
        let server = try RedisServer()
        try await connected(
            to: server,
            {
                $0.limits.commandsMax = 3
                $0.limits.unsentBytesMax = 1_000
            }
        ) { redis, loop in
            let deadline = loop.now + .seconds(30)
            let large = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("ECHO", String(repeating: "x", count: 1_000)), deadline: deadline)
            }
            #expect(large == .overloaded)
            server.pause()
            let parking = Parking(on: loop)
            defer { parking.close() }
            var answered = 0
            for _ in 0..<3 {
                loop.spawn {
                    if (try? await redis.send(RedisCommand("PING"), deadline: deadline)) != nil { answered += 1 }
                    parking.wake()
                }
            }
            while redis.inFlight < 3 { _ = await parking.park(until: loop.now + .milliseconds(1)) }
            let fourth = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("PING"), deadline: deadline)
            }
            #expect(fourth == .overloaded)
            server.resume()
            while answered < 3, loop.now < deadline { _ = await parking.park(until: deadline) }
            #expect(answered == 3)
        }
    }

    @Test func `a command whose deadline has passed is not sent`() async throws {
        let server = try RedisServer()
        try await connected(to: server) { redis, loop in
            let late = await Self.failure { () async throws(RedisError) in
                try await redis.send(RedisCommand("SET", "late", "1"), deadline: loop.now)
            }
            #expect(late == .timedOut)
            let value = try await redis.send(RedisCommand("GET", "late"), deadline: loop.now + .seconds(10))
            #expect(value == .null)
        }
    }

    @Test func `closing fails what waits and ends the keeper`() async throws {
        let server = try RedisServer()
        try await connected(to: server) { redis, loop in
            server.pause()
            let parking = Parking(on: loop)
            defer { parking.close() }
            var failure: RedisError?
            loop.spawn {
                failure = await Self.failure { () async throws(RedisError) in
                    try await redis.send(RedisCommand("PING"), deadline: loop.now + .seconds(60))
                }
                parking.wake()
            }
            while redis.inFlight == 0 { _ = await parking.park(until: loop.now + .milliseconds(1)) }
            redis.close()
            while failure == nil { _ = await parking.park(until: loop.now + .seconds(60)) }
            #expect(failure == .connectionLost)
            await #expect(redis.waitUntilConnected(deadline: loop.now + .seconds(60)) == false)
            server.resume()
        }
    }
}
