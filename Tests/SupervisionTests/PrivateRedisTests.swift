import GatewayCore
import Glibc
import Testing

@testable import Supervision

/// The first redis-server in the search path, or what nobody can run.
private let redisProgram: String = {
    let folders = getenv("PATH").map { String(cString: $0) } ?? ""
    let candidates = folders.split(separator: ":").map { "\($0)/redis-server" }
    return candidates.first { access($0, X_OK) == 0 } ?? "redis-server"
}()

/// One command on a new connection, in Redis' inline form; the first 64 bytes of the answer.
private func ask(_ socketPath: String, _ command: String) -> String {
    guard var address = LocalProbe.unixAddress(socketPath) else { return "" }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(descriptor) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let connected = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
    }
    guard connected == 0 else { return "" }
    var line = command + "\r\n"
    line.withUTF8 { _ = send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    var reply = [UInt8](repeating: 0, count: 64)
    let count = recv(descriptor, &reply, reply.count, 0)
    return String(decoding: reply.prefix(max(0, count)), as: UTF8.self)
}

@Suite(.enabled(if: access(redisProgram, X_OK) == 0, "needs redis-server"))
struct PrivateRedisTests {
    @Test func `it answers on a socket that is only ours, on no port, and keeps its data when it is killed`() throws {
        let scratch = try Scratch()
        let redis = try PrivateRedis(
            directory: scratch.path("redis"), program: redisProgram, log: .file(scratch.path("log")))
        let run = SupervisedRun([[redis.service]])
        let first = try #require(run.readyPID("redis"))
        var information = stat()
        #expect(stat(redis.socket, &information) == 0)
        #expect(information.st_mode & 0o777 == 0o600)
        #expect(stat(scratch.path("redis"), &information) == 0)
        #expect(information.st_mode & 0o777 == 0o700)
        #expect(ask(redis.socket, "CONFIG GET port").hasSuffix("$1\r\n0\r\n"))
        #expect(ask(redis.socket, "SET colour green") == "+OK\r\n")
        #expect(kill(first, SIGKILL) == 0)
        #expect(run.readyPID("redis", otherThan: first) != nil)
        #expect(ask(redis.socket, "GET colour") == "$5\r\ngreen\r\n")
        run.supervisor.stop()
        #expect(run.end() == .stopped)
        #expect(run.events.last?.kind == .stopped(.status(0)))
    }

    @Test func `a later run in the same folder finds the data`() throws {
        let scratch = try Scratch()
        for round in 0..<2 {
            let redis = try PrivateRedis(directory: scratch.path("redis"), program: redisProgram, log: .discarded)
            let run = SupervisedRun([[redis.service]])
            #expect(run.readyPID("redis") != nil)
            #expect(ask(redis.socket, "INCR rounds") == ":\(round + 1)\r\n")
            run.supervisor.stop()
            #expect(run.end() == .stopped)
        }
    }

    @Test func `a whole stack comes up in order, heals, and leaves nothing behind`() throws {
        let scratch = try Scratch()
        let redis = try PrivateRedis(directory: scratch.path("redis"), program: redisProgram, log: .discarded)
        func sleeper(_ name: String) -> ServiceSettings {
            ServiceSettings(
                name: name, command: ChildCommand("/bin/sleep", ["1000"]), readiness: .started,
                startLimit: .seconds(10), patience: .seconds(10), restart: .local)
        }
        let names = ["redis", "replica-1", "replica-2", "replica-3", "gateway"]
        let stack = StackSupervisor(
            redis: redis, replicas: names[1...3].map(sleeper), gateway: sleeper("gateway")) { _ in }
        let run = SupervisedRun(stack.supervisor.stages)
        var pids = try names.map { try #require(run.readyPID($0)) }
        #expect(kill(pids[2], SIGKILL) == 0)
        pids[2] = try #require(run.readyPID("replica-2", otherThan: pids[2]))
        run.supervisor.stop()
        #expect(run.end() == .stopped)
        for pid in pids { #expect(isGone(pid)) }
        #expect(run.events.last?.service == "redis")
    }
}

@Suite struct PrivateRedisFolderTests {
    @Test func `a path that is too long for a socket is refused before anything is made`() throws {
        let scratch = try Scratch()
        let folder = scratch.path(String(repeating: "x", count: 100))
        #expect(throws: PrivateRedis.Problem.pathTooLong("\(folder)/redis.sock")) {
            _ = try PrivateRedis(directory: folder, program: "redis-server", log: .discarded)
        }
        #expect(access(folder, F_OK) != 0)
    }

    @Test func `a folder that can't be made is an error that names it`() {
        #expect(throws: PrivateRedis.Problem.folder(path: "/nowhere/at/all", errno: ENOENT)) {
            _ = try PrivateRedis(directory: "/nowhere/at/all", program: "redis-server", log: .discarded)
        }
    }
}
