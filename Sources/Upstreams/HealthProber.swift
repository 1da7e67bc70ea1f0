import Balancing
import GatewayCore
import Glibc
import HTTPConnections
import Reactor
import Wire

/// Probes the replicas of one pool, and performs what their ``HealthMachine``s decide.
///
/// All machines of a pool live on one loop; what they find is published in each ``Replica`` for all loops.
/// - Isolation: its loop. ``trafficFailed(_:_:)`` and ``setIntent(_:of:)`` must be called there.
/// - Owns: a task for each replica, until ``stop()``.
package final class HealthProber {
    /// What the assembly is told, on the prober's loop.
    package enum Change {
        /// The replica stopped serving: requests that wait there without content move.
        case died(problem: String?)
        case served, shareChanged
    }

    private let pool: Pool
    private let loop: EventLoop
    private let onChange: (Pool, Replica, Change) -> Void
    private var machines: [HealthMachine]
    private var nextProbe: [Moment]
    private var parkings: [Parking]
    /// Why each replica's last probe failed, in words; nil when it did not.
    private var problems: [String?]
    private var random = SystemRandomNumberGenerator()
    private var isStopped = false
    /// Told how each probe ended: why it failed, or nil.
    package var onProbe: (Replica, String?) -> Void = { _, _ in }

    /// - Parameter intents: what operators asked for before, by replica name.
    package init(
        _ pool: Pool, on loop: EventLoop, intents: [String: HealthMachine.Intent],
        onChange: @escaping (Pool, Replica, Change) -> Void
    ) {
        self.pool = pool
        self.loop = loop
        self.onChange = onChange
        machines = pool.replicas.map { replica in
            var settings = pool.settings.health
            settings.warmsUp = settings.warmsUp && replica.settings.kind.abilities.contains(.tinyProbe)
            return HealthMachine(settings: settings, intent: intents[replica.name] ?? .enabled)
        }
        nextProbe = pool.replicas.map { _ in Moment.never }
        problems = pool.replicas.map { _ in nil }
        parkings = pool.replicas.map { _ in Parking(on: loop) }
    }

    /// Starts probing: every replica at once.
    package func start() {
        for replica in pool.replicas {
            loop.spawn { [self] in await run(replica) }
        }
    }

    package func stop() {
        isStopped = true
        for parking in parkings { parking.wake() }
    }

    // MARK: Events from elsewhere

    /// A request could not connect to the replica, or its connection was reset.
    package func trafficFailed(_ replica: Replica, _ reason: HealthMachine.Reason) {
        perform(machines[replica.index].trafficFailed(reason), replica, startedAt: loop.now)
        parkings[replica.index].wake()
    }

    /// - Returns: false for a replica that this pool does not have.
    package func setIntent(_ intent: HealthMachine.Intent, of name: String) -> Bool {
        guard let replica = pool.replicas.first(where: { $0.name == name }) else { return false }
        let action = machines[replica.index].setIntent(intent)
        replica.publish(machines[replica.index].snapshot(at: loop.now))
        perform(action, replica, startedAt: loop.now)
        parkings[replica.index].wake()
        return true
    }

    /// Another process runs in its place: what was known of it is forgotten, and its probes begin anew.
    package func wasRestarted(_ name: String) {
        guard let replica = pool.replicas.first(where: { $0.name == name }) else { return }
        problems[replica.index] = "it was restarted"
        perform(machines[replica.index].trafficFailed(.refused), replica, startedAt: loop.now)
        parkings[replica.index].wake()
    }

    // MARK: One replica

    private func run(_ replica: Replica) async {
        let index = replica.index
        perform(machines[index].start(), replica, startedAt: loop.now)
        while !isStopped {
            let share = machines[index].nextShareChange(after: loop.now) ?? .never
            if loop.now >= nextProbe[index] {
                let startedAt = loop.now
                nextProbe[index] = .never
                let reason = await probe(replica, path: replica.settings.probePath)
                if isStopped { break }
                let around = surroundings(of: replica)
                let action =
                    if let reason { machines[index].probeFailed(reason, around) } else {
                        machines[index].probeSucceeded(around)
                    }
                perform(action, replica, startedAt: startedAt)
                onProbe(replica, reason == nil ? nil : problems[index] ?? "its probe failed")
                continue
            }
            if await parkings[index].park(until: min(nextProbe[index], share)) == .deadline, loop.now >= share {
                replica.publish(machines[index].snapshot(at: loop.now))
                onChange(pool, replica, .shareChanged)
            }
        }
        parkings[index].close()
    }

    private func perform(_ action: HealthMachine.Action, _ replica: Replica, startedAt: Moment) {
        switch action {
        case .none: break
        case .probe(let after): nextProbe[replica.index] = startedAt + after
        case .announce(let isServing, let after):
            if let after { nextProbe[replica.index] = startedAt + after }
            announce(replica, isServing: isServing)
        case .warmUp(let after):
            nextProbe[replica.index] = startedAt + after
            replica.publish(machines[replica.index].snapshot(at: loop.now))
            loop.spawn { [self] in await warmUp(replica) }
        case .rest:
            nextProbe[replica.index] = .never
            announce(replica, isServing: false)
        }
    }

    private func announce(_ replica: Replica, isServing: Bool) {
        replica.publish(machines[replica.index].snapshot(at: loop.now))
        let isDead = if case .down = machines[replica.index].health { true } else { false }
        onChange(pool, replica, isServing ? .served : isDead ? .died(problem: problems[replica.index]) : .shareChanged)
        guard isDead, !pool.isAnyServing else { return }
        for other in pool.replicas where other !== replica {
            perform(machines[other.index].othersWentDown(), other, startedAt: loop.now)
            parkings[other.index].wake()
        }
    }

    private func surroundings(of replica: Replica) -> HealthMachine.Surroundings {
        HealthMachine.Surroundings(
            now: loop.now, isAnyOtherUp: pool.replicas.contains { $0 !== replica && $0.isServing },
            random: random.next())
    }

    // MARK: Requests

    /// - Returns: why the probe failed; nil when it was answered with 200 in time.
    private func probe(_ replica: Replica, path: String) async -> HealthMachine.Reason? {
        var request = ByteWriter()
        Self.append("GET", path, replica, to: &request)
        request.append("\r\n")
        let parking = Parking(on: loop)
        defer { parking.close() }
        let deadline = loop.now + pool.settings.probeTimeout
        switch await exchange(request, replica, method: .get, parking: parking, deadline: deadline) {
        case .success(let status):
            problems[replica.index] = status == 200 ? nil : "its probe was answered with \(status)"
            return status == 200 ? nil : .serverError
        case .failure(let failure):
            problems[replica.index] = failure.text ?? failure.reason.text
            return failure.reason
        }
    }

    /// One token from a replica that comes back, so that no client is the first to wait for it.
    private func warmUp(_ replica: Replica) async {
        let model = pool.settings.models.first.map { $0.upstreamName ?? $0.name } ?? ""
        var body = ByteWriter()
        body.append("{\"model\":")
        body.append(jsonString: model)
        body.append(",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":1,\"stream\":false}")
        var request = ByteWriter()
        Self.append("POST", "/v1/chat/completions", replica, to: &request)
        request.append("content-type: application/json\r\n")
        request.appendContentLength(body.count)
        request.appendHeadEnd()
        request.append(body.bytes)
        let parking = Parking(on: loop)
        defer { parking.close() }
        let deadline = loop.now + pool.settings.timeouts.firstByte
        let result = await exchange(request, replica, method: .post, parking: parking, deadline: deadline)
        if isStopped { return }
        let around = surroundings(of: replica)
        let action: HealthMachine.Action =
            switch result {
            // A model that refuses these words is warm all the same.
            case .success(let status) where status < 500: machines[replica.index].warmUpSucceeded(around)
            case .success: machines[replica.index].warmUpFailed(.serverError, around)
            case .failure(let failure): machines[replica.index].warmUpFailed(failure.reason, around)
            }
        perform(action, replica, startedAt: loop.now)
        parkings[replica.index].wake()
    }

    private static func append(
        _ method: StaticString, _ path: String, _ replica: Replica, to request: inout ByteWriter
    ) {
        request.append(method)
        request.append(" ")
        request.append(replica.settings.pathPrefix)
        request.append(path)
        request.append(" HTTP/1.1\r\n")
        request.appendField("host", replica.settings.host)
        request.appendField("user-agent", "weir-probe")
        request.appendField("connection", "close")
        if let credential = replica.settings.credential { request.appendField("authorization", credential) }
    }

    private struct ProbeFailure: Error {
        var reason: HealthMachine.Reason
        /// What the kernel or TLS said, where it was them.
        var text: String?
    }

    /// Sends a request on a connection of its own and returns the reply's status.
    private func exchange(
        _ request: borrowing ByteWriter, _ replica: Replica, method: HTTPMethod, parking: Parking, deadline: Moment
    ) async -> Result<Int, ProbeFailure> {
        let connection: ClientConnection
        do throws(SocketError) {
            connection = try await ClientConnection.open(
                to: replica.settings.address, tls: replica.tlsPeer, parking: parking, deadline: deadline)
        } catch {
            return .failure(
                ProbeFailure(reason: error.code == ETIMEDOUT ? .timedOut : .refused, text: error.description))
        }
        connection.stream.handler = parking
        defer { connection.close() }
        var sent = 0
        while sent < request.count {
            let result = request.withUnsafeBytes {
                connection.stream.write(UnsafeRawBufferPointer(rebasing: $0[sent...]))
            }
            switch result {
            case .wrote(let count): sent += count
            case .failed: return .failure(ProbeFailure(reason: .refused))
            case .wouldBlock:
                if await parking.park(until: deadline) == .deadline { return .failure(ProbeFailure(reason: .timedOut)) }
            }
        }
        while true {
            do throws(HTTPViolation) {
                if try connection.parseHead(limits: pool.settings.replyHead, method: method) {
                    return .success(connection.head.status)
                }
            } catch {
                return .failure(ProbeFailure(reason: .serverError))
            }
            switch connection.receive() {
            case .bytes: continue
            case .end, .failed: return .failure(ProbeFailure(reason: .refused))
            case .wouldBlock:
                if await parking.park(until: deadline) == .deadline { return .failure(ProbeFailure(reason: .timedOut)) }
            }
        }
    }
}

extension HealthMachine.Reason {
    /// In words, for the log.
    fileprivate var text: String {
        switch self {
        case .slow: "its probe was answered too late"
        case .serverError: "its probe's answer was not valid"
        case .timedOut: "its probe was not answered in time"
        case .refused: "its connection ended before the probe was answered"
        }
    }
}
