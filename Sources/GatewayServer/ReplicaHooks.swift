import Balancing
import GatewayConfig
import GatewayCore
import Reactor
import Supervision
import Telemetry
import Upstreams
import Wire

/// Calls the hooks of replicas: that one is down, and to restart it, asked for or not.
///
/// - Isolation: the first loop, except ``runner`` and the board, which any thread may use.
/// - Owns: a task for each replica that is being revived, and one that asks the supervisor, until ``stop()``.
final class ReplicaHooks {
    /// How often a supervisor is asked how its processes do.
    private static let statusInterval = Interval.seconds(1)
    private static let firstDelay = Interval.seconds(1)
    private static let longestDelay = Interval.seconds(60)

    unowned let control: ControlPlane
    private let runner: HookRunner
    private let statusRunner = HookRunner(concurrency: 1)
    private(set) var settings: HookSettings
    /// Failed probes in a row.
    private var failures: [String: Int] = [:]
    private var policies: [String: RestartPolicy] = [:]
    private var reviving: Set<String> = []
    /// Tasks that wait for a hook, by number.
    private var waiting: [Int: Wait] = [:]
    private var nextWait = 0
    private var isStopped = false
    private var isWatching = false
    private var board: RestartBoard { control.server.board }
    private var log: EventLog { control.server.log.events }

    private final class Wait {
        let parking: Parking
        var result: HookResult?
        init(on loop: EventLoop) { parking = Parking(on: loop) }
    }

    init(control: ControlPlane, settings: HookSettings) {
        self.control = control
        self.settings = settings
        runner = HookRunner(concurrency: settings.concurrency)
        watchSupervisor()
    }

    /// Takes a new configuration on; what runs goes on.
    func change(to new: HookSettings, replicas: Set<String>) {
        if new.restart != settings.restart { policies = [:] }
        settings = new
        runner.setConcurrency(new.concurrency)
        failures = failures.filter { replicas.contains($0.key) }
        board.keep(only: replicas)
        watchSupervisor()
    }

    func stop() {
        isStopped = true
        for wait in waiting.values { wait.parking.wake() }
    }

    // MARK: What probes find

    /// - Parameter problem: why the probe failed; nil when it did not.
    func probed(_ replica: Replica, in pool: Pool, _ problem: String?) {
        guard let problem else {
            failures[replica.name] = nil
            return
        }
        let count = failures[replica.name, default: 0] + 1
        failures[replica.name] = count
        if let hook = settings.replicaDown, count == hook.failures {
            let call = self.call(
                "replica_down", hook.command, hook.url, hook.timeout, replica, pool, ["problem": problem])
            run("replica_down", call, replica.name)
        }
        guard let hook = settings.restart, hook.afterFailures > 0, count >= hook.afterFailures,
            replica.snapshot.intent == .enabled, !reviving.contains(replica.name),
            control.rolling?.isTouching(replica.name) != true
        else { return }
        reviving.insert(replica.name)
        control.loop.spawn { [self] in
            await revive(replica.name)
            reviving.remove(replica.name)
            board.set(.none, of: replica.name)
        }
    }

    private func run(_ hook: StaticString, _ call: HookCall, _ replica: String) {
        let (board, log) = (board, log)
        runner.run(call) { result in
            board.hookRan("\(hook)", result.label)
            if let problem = result.problem {
                log.log(
                    .error, "hook_failed", "The hook \(hook) for \(replica) failed: \(problem).", ["replica": replica])
            } else {
                log.log(.info, "hook_ran", "The hook \(hook) was run for \(replica).", ["replica": replica])
            }
        }
    }

    // MARK: Restarting

    /// Restarts a replica in the configured way.
    ///
    /// - Returns: why it could not be; nil when it was, which says nothing of its health.
    func restart(_ replica: Replica, in pool: Pool) async -> String? {
        guard let hook = settings.restart else { return "no hooks.restart is configured" }
        let call: HookCall
        if let socket = hook.supervisor {
            call = HookCall(.supervisor(socket: socket, line: "restart \(replica.name)"), timeout: hook.timeout)
        } else {
            call = self.call("replica_restart", hook.command, hook.url, hook.timeout, replica, pool, [:])
        }
        let result = await result(of: call, runner)
        board.hookRan("replica_restart", result.label)
        return result.problem
    }

    /// Until the replica answers its probes again, or nobody wants it any more.
    private func revive(_ name: String) async {
        while isDown(name), let hook = settings.restart, hook.afterFailures > 0,
            let (pool, replica) = control.find(replica: name), replica.snapshot.intent == .enabled
        {
            let now = control.loop.now
            var policy =
                policies[name]
                ?? RestartPolicy(
                    settings: RestartSettings(
                        firstDelay: Self.firstDelay, longestDelay: Self.longestDelay, restartsMax: hook.restartsMax,
                        window: hook.window, coolDown: hook.coolDown, stableAfter: hook.window))
            let action = policy.exited(now)
            policies[name] = policy
            switch action {
            case .coolDown(let pause):
                board.set(.coolingDown(until: now + pause), of: name)
                log.log(
                    .error, "replica_restart_cooldown",
                    "Replica \(name) failed too often: no restart for \(pause.secondsRoundedUp) s.",
                    ["pool": pool.name, "replica": name])
                await wait(pause) { !isDown(name) }
            case .restart(let delay):
                board.set(.waiting(until: now + delay), of: name)
                await wait(delay) { !isDown(name) }
                guard isDown(name) else { return }
                await restartDown(replica, in: pool, hook)
            }
        }
    }

    private func restartDown(_ replica: Replica, in pool: Pool, _ hook: RestartHookSettings) async {
        let name = replica.name
        board.set(.restarting, of: name)
        log.log(
            .warning, "replica_restarting", "Replica \(name) does not answer: restarting it.",
            ["pool": pool.name, "replica": name])
        let problem = await restart(replica, in: pool)
        board.restarted(name, in: pool.name, ok: problem == nil)
        if let problem {
            log.log(
                .error, "replica_restart_failed", "Replica \(name) could not be restarted: \(problem).",
                ["pool": pool.name, "replica": name])
        } else {
            board.set(.settling, of: name)
            await wait(hook.readyTimeout) { !isDown(name) }
        }
        if !isDown(name) { policies[name]?.started(control.loop.now) }
    }

    private func isDown(_ name: String) -> Bool { !isStopped && failures[name] != nil }

    // MARK: The supervisor

    private func watchSupervisor() {
        guard !isWatching, settings.restart?.supervisor != nil else { return }
        isWatching = true
        control.loop.spawn { [self] in
            while !isStopped, let socket = settings.restart?.supervisor {
                let call = HookCall(.supervisor(socket: socket, line: "statuses"), timeout: .seconds(2))
                if case .ok(let line) = await result(of: call, statusRunner) { read(line) }
                await wait(Self.statusInterval) { false }
            }
            isWatching = false
        }
    }

    /// Source: ``SupervisorSocket``.
    private func read(_ line: String) {
        for status in line.split(separator: ";") {
            let words = status.split(separator: " ").map(String.init)
            guard words.count == 4, let seconds = Int64(words[3]), !reviving.contains(words[0]) else { continue }
            let end = control.loop.now + .seconds(seconds)
            let state: RestartBoard.State =
                switch words[1] {
                case "cooling_down": .coolingDown(until: end)
                case "resting": .waiting(until: end)
                case "starting": .restarting
                default: .none
                }
            let before = board.state(of: words[0])
            if case .coolingDown = state, before.word != state.word {
                log.log(
                    .error, "replica_restart_cooldown",
                    "\(words[0]) ended too often: it is left alone for \(seconds) s.", ["replica": words[0]])
            }
            board.set(state, of: words[0])
        }
    }

    // MARK: Calls

    private func call(
        _ event: String, _ command: [String], _ url: String?, _ timeout: Interval, _ replica: Replica, _ pool: Pool,
        _ more: KeyValuePairs<StaticString, String>
    ) -> HookCall {
        let address = replica.state.address.description
        guard let url else {
            let filled = command.map { part in
                part.replacing("{replica}", with: replica.name).replacing("{pool}", with: pool.name)
                    .replacing("{address}", with: address)
            }
            var variables = [
                "HOOK_EVENT=\(event)", "HOOK_REPLICA=\(replica.name)", "HOOK_POOL=\(pool.name)",
                "HOOK_ADDRESS=\(address)",
            ]
            for (name, value) in more { variables.append("HOOK_\("\(name)".uppercased())=\(value)") }
            return HookCall(.command(filled), variables: variables, timeout: timeout)
        }
        var writer = ByteWriter(capacity: 256)
        writer.openObject()
        writer.member("event", string: event)
        writer.member("replica", string: replica.name)
        writer.member("pool", string: pool.name)
        writer.member("address", string: address)
        for (name, value) in more { writer.member(name, string: value) }
        writer.member("time", number: Int(control.loop.wallNow.secondsSinceEpoch))
        writer.closeObject()
        return HookCall(.webhook(url: url, body: writer.withUnsafeBytes { Array($0) }), timeout: timeout)
    }

    /// Runs it on another thread and waits without holding the loop up.
    private func result(of call: HookCall, _ runner: HookRunner) async -> HookResult {
        let wait = Wait(on: control.loop)
        nextWait += 1
        let number = nextWait
        waiting[number] = wait
        defer {
            waiting[number] = nil
            wait.parking.close()
        }
        let worker = control.server.workers[0]
        runner.run(call) { result in
            worker.post { loop in ControlPlane.on(loop)?.hooks?.ended(number, result) }
        }
        while wait.result == nil, !isStopped { _ = await wait.parking.park(until: .never) }
        return wait.result ?? .dropped
    }

    private func ended(_ number: Int, _ result: HookResult) {
        waiting[number]?.result = result
        waiting[number]?.parking.wake()
    }

    /// Waits for `interval`, or until `isOver`; looks every 50 ms.
    private func wait(_ interval: Interval, unless isOver: () -> Bool) async {
        let parking = Parking(on: control.loop)
        defer { parking.close() }
        let deadline = control.loop.now + interval
        while !isStopped, !isOver(), control.loop.now < deadline {
            _ = await parking.park(until: min(deadline, control.loop.now + .milliseconds(50)))
        }
    }
}
