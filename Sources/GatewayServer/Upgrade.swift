import GatewayConfig
import GatewayCore
import Glibc
import Supervision
import Synchronization
import Telemetry

/// How far an upgrade is that was asked for: another process of the same program with the same arguments, which takes
/// over. See ``HandOver`` for how.
///
/// - Isolation: any thread.
final class Upgrade: Sendable {
    enum Phase: Equatable, Sendable {
        case none
        case starting(pid: Int32)
        case failed(String)
        /// That process accepts now.
        case done(pid: Int32)

        var name: String {
            switch self {
            case .none: "none"
            case .starting: "starting"
            case .failed: "failed"
            case .done: "done"
            }
        }
    }

    /// How long the new process may take.
    static let limit = Interval.seconds(90)

    private let state = Mutex(Phase.none)
    /// How this process was started; looked at once, while the file on the disk is still the one that runs.
    private let program: String
    private let arguments: [String]

    init() {
        let own = CommandLine.arguments
        let name = own.first ?? ""
        // A path may be a link to the current release: it is followed anew each time.
        program = name.contains("/") ? name : Self.executable
        // What a process that took over was told is no longer true.
        var rest: [String] = []
        var skips = false
        for argument in own.dropFirst() {
            if skips {
                skips = false
            } else if argument == "--take-over-from" {
                skips = true
            } else if argument != "--take-over" {
                rest.append(argument)
            }
        }
        arguments = rest
    }

    var phase: Phase { state.withLock { $0 } }

    /// Starts a new process. - Returns: why there is none; nil when it starts.
    func start(_ server: GatewayServer) -> String? {
        let isBusy = state.withLock { phase in
            switch phase {
            case .starting, .done: true
            case .none, .failed: false
            }
        }
        if isBusy { return "an upgrade is running already" }
        let directory = server.settings.withLock { $0.state.directory }
        let command = ChildCommand(program, arguments + ["--take-over-from", HandOver.path(in: directory)])
        let child: ChildProcess
        do throws(SpawnError) {
            child = try ChildProcess.start(command)
        } catch {
            failed(error.description)
            server.log.events.log(.error, "upgrade_failed", "\(error)")
            return error.description
        }
        state.withLock { $0 = .starting(pid: child.pid) }
        server.log.events.log(
            .info, "upgrade_started", "Process \(child.pid) was started to take over.", ["pid": String(child.pid)])
        detachThread { self.watch(child, server) }
        return nil
    }

    /// Until it has taken over, ended, or taken too long.
    private func watch(_ child: ChildProcess, _ server: GatewayServer) {
        let deadline = Moment.monotonic + Self.limit
        while phase != .done(pid: child.pid) {
            let exit = child.waitForExit(within: .milliseconds(200))
            if exit == nil, Moment.monotonic < deadline { continue }
            if exit == nil { child.kill() }
            let problem = exit.map { "the new process \($0)" } ?? "the new process was not ready in time"
            // The new process may have said why, on its way to the thread that listens for it.
            usleep(200_000)
            let isNews = state.withLock { phase in
                guard phase == .starting(pid: child.pid) else { return false }
                phase = .failed(problem)
                return true
            }
            if isNews { server.log.events.log(.error, "upgrade_failed", "Nothing was upgraded: \(problem).") }
            return
        }
    }

    func failed(_ problem: String) { state.withLock { $0 = .failed(problem) } }
    func succeeded(pid: Int32) { state.withLock { $0 = .done(pid: pid) } }

    /// Source: proc(5), `/proc/pid/exe`.
    private static var executable: String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        return String(decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
