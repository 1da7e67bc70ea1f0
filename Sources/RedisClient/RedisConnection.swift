import DequeModule
import GatewayCore
import Reactor

/// One loop's connection to Redis: many tasks send commands at once, the replies come in the same order.
///
/// It keeps itself connected. While it is not, commands fail at once, and a command that Redis does not answer by its
/// deadline fails then: a Redis that is away or slow costs a request a bounded time, never the gateway. If the oldest
/// command is overdue, the connection is given up with everything on it, because no later reply can overtake.
///
///     let redis = RedisConnection(on: loop, settings)
///     redis.start()
///     let reply = try await redis.send(RedisCommand("GET", "name"), deadline: loop.now + .milliseconds(250))
///
/// - Isolation: the loop's thread.
/// - Owns: the socket, and a task that lives until ``close()``; so close it.
package final class RedisConnection: ReadinessHandler {
    enum State { case disconnected, greeting, connected, closed }

    /// A command whose reply is still to come.
    struct Pending {
        /// Nil once its deadline has passed: the reply is dropped when it comes.
        var continuation: UnsafeContinuation<Result<RedisReply, RedisError>, Never>?
        let deadline: Moment
    }

    package let loop: EventLoop
    let settings: RedisConnectionSettings
    var state = State.disconnected
    var stream: Stream?
    /// The keeper parks here.
    let parking: Parking
    var delay = ReconnectDelay()
    /// SHA-1 digests of scripts by name, as a server reported them. Bounded by the number of scripts in the program.
    var scriptDigests: [String: String] = [:]
    /// Tasks that wait for the connection to stand.
    var waiters: [Parking] = []
    package internal(set) var counts = RedisConnectionCounts()
    /// Why there is no connection, for status pages and the log. Never holds a secret.
    package internal(set) var problem: String?

    private var reader: RedisReplyReader
    private var pending = Deque<Pending>()
    /// Encoded commands; the first `sent` bytes are with the kernel already.
    private var output: [UInt8] = []
    private var sent = 0
    private let timer: LoopTimer
    /// What the timer is set to: no waiting command's deadline is earlier.
    private var nextDeadline = Moment.never

    /// Reads in one turn of the loop (64 KiB each), so that a long reply leaves others their turn.
    private static let readsPerTurn = 16
    /// hiredis moves what is left after each kilobyte of replies; small slices keep that cheap.
    private static let slice = 16 << 10
    /// An output buffer that grew beyond this for one large command is given back.
    private static let keptCapacity = 256 << 10

    package init(on loop: EventLoop, _ settings: RedisConnectionSettings) {
        self.loop = loop
        self.settings = settings
        parking = Parking(on: loop)
        reader = RedisReplyReader(limits: settings.limits.reply)
        timer = LoopTimer(on: loop)
        timer.onFire { [unowned self] in failOverdue() }
    }

    /// Whether commands are accepted now.
    package var isConnected: Bool { state == .connected }

    /// Commands without a reply.
    package var inFlight: Int { pending.count }

    /// Sends a command and waits for its reply.
    ///
    /// - Throws: any ``RedisError``; `.unavailable` and `.overloaded` at once, `.timedOut` at the deadline.
    /// - Cost: one suspension; one system call unless the socket is busy.
    package func send(_ command: RedisCommand, deadline: Moment) async throws(RedisError) -> RedisReply {
        try await exchange(in: .connected, byteCount: command.byteCount, deadline: deadline) {
            command.encode(into: &$0)
        }
    }

    func send(
        _ command: RedisCommand, followedBy rest: RedisCommand, deadline: Moment
    ) async throws(RedisError) -> RedisReply {
        let byteCount = command.byteCount + rest.byteCount
        return try await exchange(in: .connected, byteCount: byteCount, deadline: deadline) {
            command.encode(followedBy: rest, into: &$0)
        }
    }

    /// Ends the connection for good. Commands that wait fail with `.connectionLost`.
    package func close() {
        guard state != .closed else { return }
        drop(.connectionLost)
        state = .closed
        problem = "closed"
        timer.cancel()
        parking.wake()
        wakeWaiters()
    }

    func exchange(
        in expected: State, byteCount: Int, deadline: Moment, _ encode: (inout [UInt8]) -> Void
    ) async throws(RedisError) -> RedisReply {
        // Looked at inside the continuation's body: until there other jobs of the loop may run.
        let result = await withUnsafeContinuation { continuation in
            if let refusal = refusal(in: expected, byteCount: byteCount, deadline: deadline) {
                counts.failures += 1
                continuation.resume(returning: Result<RedisReply, RedisError>.failure(refusal))
                return
            }
            counts.commands += 1
            encode(&output)
            pending.append(Pending(continuation: continuation, deadline: deadline))
            if deadline < nextDeadline {
                nextDeadline = deadline
                timer.set(deadline)
            }
            flush()
        }
        return try result.get()
    }

    private func refusal(in expected: State, byteCount: Int, deadline: Moment) -> RedisError? {
        guard state == expected else { return .unavailable }
        guard pending.count < settings.limits.commandsMax,
            output.count - sent + byteCount <= settings.limits.unsentBytesMax
        else { return .overloaded }
        return deadline <= loop.now ? .timedOut : nil
    }

    // MARK: The socket

    /// Takes over a connected stream.
    func adopt(_ connected: Stream) {
        stream = connected
        reader = RedisReplyReader(limits: settings.limits.reply)
        connected.handler = self
        state = .greeting
    }

    package func becameReady(_ ready: Stream) {
        guard ready === stream else { return }
        flush()
        receive(ready)
    }

    private func flush() {
        guard let stream else { return }
        while sent < output.count {
            let result = output.withUnsafeBytes { stream.write(UnsafeRawBufferPointer(rebasing: $0[sent...])) }
            switch result {
            case .wrote(let count): sent += count
            case .wouldBlock: return
            case .failed: return drop(.connectionLost)
            }
        }
        sent = 0
        if output.capacity > Self.keptCapacity { output = [] } else { output.removeAll(keepingCapacity: true) }
    }

    private func receive(_ stream: Stream) {
        for _ in 0..<Self.readsPerTurn {
            switch stream.read(into: loop.scratch) {
            case .bytes(let count):
                let received = UnsafeRawBufferPointer(rebasing: loop.scratch[..<count])
                do throws(RedisError) { try deliver(received) } catch { return drop(error) }
            case .wouldBlock: return
            case .end, .failed: return drop(.connectionLost)
            }
        }
        loop.revisit(stream)
    }

    private func deliver(_ received: UnsafeRawBufferPointer) throws(RedisError) {
        var start = 0
        while start < received.count {
            let end = min(received.count, start + Self.slice)
            try reader.feed(UnsafeRawBufferPointer(rebasing: received[start..<end]))
            start = end
            while let reply = try reader.next() { try deliver(reply) }
        }
        if pending.isEmpty { nextDeadline = .never }
    }

    private func deliver(_ reply: RedisReply) throws(RedisError) {
        guard let oldest = pending.popFirst() else { throw .malformedReply }
        guard case .error(let text) = reply else {
            oldest.continuation?.resume(returning: .success(reply))
            return
        }
        counts.failures += 1
        oldest.continuation?.resume(returning: .failure(.refused(text)))
        // A former primary: behind the same address there may be the new one.
        if text.hasPrefix("READONLY") { throw .connectionLost }
    }

    // MARK: Ends

    private func failOverdue() {
        nextDeadline = .never
        if let oldest = pending.first, oldest.deadline <= loop.now {
            problem = "a command was not answered in time"
            return drop(.connectionLost)
        }
        for index in pending.indices {
            guard let continuation = pending[index].continuation else { continue }
            let deadline = pending[index].deadline
            if deadline <= loop.now {
                pending[index].continuation = nil
                counts.failures += 1
                counts.timeouts += 1
                continuation.resume(returning: .failure(.timedOut))
            } else if deadline < nextDeadline {
                nextDeadline = deadline
            }
        }
        if nextDeadline < .never { timer.set(nextDeadline) }
    }

    /// Gives the connection up; everything that waits on it fails. The keeper makes a new one.
    func drop(_ error: RedisError) {
        guard let stream else { return }
        stream.close()
        self.stream = nil
        if state == .connected { counts.losses += 1 }
        state = .disconnected
        if problem == nil { problem = "the connection was lost" }
        output = []
        sent = 0
        nextDeadline = .never
        timer.set(.never)
        let failed = pending
        pending = []
        for command in failed {
            guard let continuation = command.continuation else { continue }
            let isOverdue = command.deadline <= loop.now
            counts.failures += 1
            if isOverdue { counts.timeouts += 1 }
            continuation.resume(returning: .failure(isOverdue ? .timedOut : error))
        }
        parking.wake()
    }

    func wakeWaiters() {
        let woken = waiters
        waiters = []
        for waiter in woken { waiter.wake() }
    }
}
