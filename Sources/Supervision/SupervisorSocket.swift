import GatewayCore
import Glibc
import Reactor
import Synchronization

/// The socket at which a gateway asks the ``Supervisor`` that runs its replicas. One line each way:
///
///     restart NAME    ok PID           the new process is ready
///                     failed REASON
///     statuses        ok NAME STATE RESTARTS SECONDS; NAME …
///
/// `STATE` is a word of ``ServiceState``; `SECONDS` is how much of a pause is left.
///
/// - Isolation: a thread, and one more for each connection.
package final class SupervisorSocket: Sendable {
    /// Longest line that is read or kept waiting for.
    private static let patience = Interval.seconds(10)
    /// Connections at once; more are closed.
    private static let connectionsMax = 16

    private let supervisor: Supervisor
    private let listener: Int32
    private let path: String
    private let open = Atomic<Int>(0)

    /// Listens at `path` (mode 0600) from now on.
    ///
    /// - Throws: `SocketError`, such as a path that is too long.
    package init(_ supervisor: Supervisor, path: String) throws(SocketError) {
        self.supervisor = supervisor
        self.path = path
        listener = try Listener.open(.unix(path), sharesPort: false)
        chmod(path, 0o600)
        // It belongs to a thread that has nothing else to do.
        _ = fcntl(listener, F_SETFL, 0)
        detachThread { self.serve() }
    }

    /// Takes the file away; the threads end with the process.
    package func end() { unlink(path) }

    private func serve() {
        while let channel = UnixChannel.accept(from: listener, timeout: Self.patience) {
            guard channel.peer?.user == getuid(),
                open.wrappingAdd(1, ordering: .relaxed).newValue <= Self.connectionsMax
            else {
                open.wrappingSubtract(1, ordering: .relaxed)
                channel.close()
                continue
            }
            detachThread {
                if let line = channel.receiveLine() { try? channel.send(line: self.answer(line)) }
                channel.close()
                self.open.wrappingSubtract(1, ordering: .relaxed)
            }
        }
    }

    private func answer(_ line: String) -> String {
        if line == "statuses" { return "ok " + statuses }
        guard line.hasPrefix("restart ") else { return "failed unknown request" }
        return restart(String(line.dropFirst(8)))
    }

    private var statuses: String {
        let now = supervisor.clock()
        return supervisor.statuses.map { status in
            var left: Int64 = 0
            if case .resting(let until) = status.state { left = (until - now).secondsRoundedUp }
            if case .coolingDown(let until) = status.state { left = (until - now).secondsRoundedUp }
            return "\(status.name) \(status.state.word) \(status.restarts) \(max(0, left))"
        }.joined(separator: ";")
    }

    /// Asks for the restart and waits for the new process: its patience, its start and a second.
    private func restart(_ name: String) -> String {
        guard let settings = supervisor.stages.joined().first(where: { $0.name == name }),
            let before = supervisor.statuses.first(where: { $0.name == name })
        else { return "failed there is no process \(name)" }
        supervisor.restart(name)
        let deadline = supervisor.clock() + settings.patience + settings.startLimit + .seconds(1)
        while supervisor.clock() < deadline {
            usleep(20_000)
            guard let status = supervisor.statuses.first(where: { $0.name == name }) else { break }
            switch status.state {
            case .ready where status.restarts > before.restarts: return "ok \(status.pid ?? 0)"
            case .coolingDown, .stopped: return "failed \(name) \(status.state.sentence)"
            default: continue
            }
        }
        return "failed \(name) was not ready in time"
    }
}

extension ServiceState {
    /// One word, for machines.
    package var word: String {
        switch self {
        case .waiting: "waiting"
        case .starting: "starting"
        case .ready: "ready"
        case .resting: "resting"
        case .coolingDown: "cooling_down"
        case .stopping: "stopping"
        case .stopped: "stopped"
        }
    }
}
