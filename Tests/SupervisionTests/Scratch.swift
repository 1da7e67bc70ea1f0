import GatewayCore
import Glibc
import Synchronization
import Testing

@testable import Supervision

/// A folder for one test, removed with everything in it at the end.
final class Scratch {
    let folder: String

    init() throws {
        var template = Array("/tmp/weir-sup-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        let remover = try? ChildProcess.start(ChildCommand("/bin/rm", ["-rf", folder]))
        _ = remover?.waitForExit(within: .seconds(10))
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    func content(_ name: String) -> String {
        let descriptor = open(path(name), O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        return String(unsafeUninitializedCapacity: 65_536) { max(0, read(descriptor, $0.baseAddress, $0.count)) }
    }

    /// The number that a child wrote, once it has.
    func number(_ name: String) -> Int32? {
        var found: Int32?
        _ = eventually {
            let text = content(name)
            if text.hasSuffix("\n") { found = Int32(text.dropLast()) }
            return found != nil
        }
        return found
    }
}

/// Waits until `condition` holds, at most ten seconds.
func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<10_000 {
        if condition() { return true }
        usleep(1000)
    }
    return condition()
}

/// Whether the process is gone, or dead and only waits to be reaped by whoever inherited it.
func isGone(_ pid: Int32) -> Bool {
    let descriptor = open("/proc/\(pid)/stat", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return true }
    defer { close(descriptor) }
    let text = String(unsafeUninitializedCapacity: 512) { max(0, read(descriptor, $0.baseAddress, $0.count)) }
    guard let end = text.lastIndex(of: ")") else { return true }
    return text[end...].dropFirst(2).first == "Z"
}

/// A shell command as a child process.
func shell(_ script: String, output: ChildCommand.Output = .discarded) -> ChildCommand {
    ChildCommand("/bin/sh", ["-c", script], output: output)
}

/// Runs a supervisor on a thread of its own and collects what it says.
final class SupervisedRun: Sendable {
    let supervisor: Supervisor
    private let log: EventCollector
    private let result = Mutex<Result<Supervisor.End, SpawnError>?>(nil)
    private let isOver = Latch()

    init(_ stages: [[ServiceSettings]]) {
        let log = EventCollector()
        self.log = log
        supervisor = Supervisor(stages: stages) { log.add($0) }
        detachThread { self.run() }
    }

    private func run() {
        do throws(SpawnError) {
            let end = try supervisor.run()
            result.withLock { $0 = .success(end) }
        } catch {
            result.withLock { $0 = .failure(error) }
        }
        isOver.set()
    }

    var events: [SupervisorEvent] { log.events }

    func status(_ name: String) -> Supervisor.Status? { supervisor.statuses.first { $0.name == name } }

    /// Waits until `name` is ready as another process than `other`.
    func readyPID(_ name: String, otherThan other: Int32? = nil) -> Int32? {
        var found: Int32?
        _ = eventually {
            guard let status = status(name), status.state == .ready, let pid = status.pid, pid != other
            else { return false }
            found = pid
            return true
        }
        return found
    }

    func wait(for condition: (SupervisorEvent) -> Bool) -> Bool { eventually { log.events.contains(where: condition) } }

    /// What `run()` returned, within 20 seconds.
    func end() -> Supervisor.End? {
        _ = isOver.wait(milliseconds: 20_000)
        return try? result.withLock { $0 }?.get()
    }
}

final class EventCollector: Sendable {
    private let collected = Mutex<[SupervisorEvent]>([])
    var events: [SupervisorEvent] { collected.withLock { $0 } }
    func add(_ event: SupervisorEvent) { collected.withLock { $0.append(event) } }
}
