import Balancing
import GatewayConfig
import GatewayCore
import Pipeline
import Reactor
import Synchronization
import Telemetry
import Upstreams
import Wire

/// Restarts replicas one after the other while requests flow, so that none fails and no stream is cut.
///
///     waiting ──► draining ──► moving ──► restarting ──► warming ──► done
///        └───────────┴────────────┴───────────┴─────────────┴──────► failed, and the rest stays as it is
///
/// Draining: no new requests; running ones finish, at most `drainLimit`. Moving: streams that can be continued on
/// another replica without a seam are; others get as long again. Restarting: the configured hook. Warming: probes and
/// the warm-up request succeed. Then the replica is wanted as much as before.
/// - Isolation: the first loop.
final class RollingRestart {
    enum Phase: String, Sendable { case waiting, draining, moving, restarting, warming, done, failed }
    enum State: String, Sendable { case running, done, failed, stopped }

    struct Step {
        let pool: String
        let name: String
        var phase = Phase.waiting
        var startedAt: Moment?
        var endedAt: Moment?
        /// Requests that went on to another replica.
        var moved = 0
        var problem: String?
    }

    /// How often the state of a replica is looked at.
    private static let lookInterval = Interval.milliseconds(20)
    /// How often streams that could not be moved yet are asked for again.
    private static let moveInterval = Interval.milliseconds(250)

    let number: Int
    private(set) var steps: [Step]
    private(set) var state = State.running
    private(set) var problem: String?
    private unowned let control: ControlPlane
    private let drainLimit: Interval
    private let isForced: Bool
    private let parking: Parking
    private var mustStop = false

    init(
        _ control: ControlPlane, number: Int, replicas: [(pool: String, name: String)], drainLimit: Interval,
        force: Bool
    ) {
        self.control = control
        self.number = number
        self.drainLimit = drainLimit
        isForced = force
        steps = replicas.map { Step(pool: $0.pool, name: $0.name) }
        parking = Parking(on: control.loop)
    }

    /// Ends after the replica that is being restarted.
    func stop() { mustStop = true }

    func isTouching(_ replica: String) -> Bool {
        state == .running && steps.contains { $0.name == replica && $0.phase != .waiting && $0.endedAt == nil }
    }

    func run() async {
        for index in steps.indices {
            if mustStop {
                state = .stopped
                problem = "stopped before \(steps[index].name)"
                break
            }
            steps[index].startedAt = control.loop.now
            let failure = await restart(index)
            steps[index].endedAt = control.loop.now
            steps[index].problem = failure
            steps[index].phase = failure == nil ? .done : .failed
            if let failure {
                state = .failed
                problem = "\(steps[index].name): \(failure)"
                break
            }
        }
        if state == .running { state = .done }
        parking.close()
        let level: EventLog.Level = state == .done ? .info : .error
        control.server.log.events.log(
            level, "replicas_restarted",
            problem.map { "The restart of replicas ended: \($0)." } ?? "All were restarted.")
    }

    // MARK: One replica

    /// - Returns: why the replica did not come back; nil when it did.
    private func restart(_ index: Int) async -> String? {
        let name = steps[index].name
        guard let (pool, replica) = control.find(replica: name) else { return "it is no longer configured" }
        let wanted = replica.snapshot.intent
        let hasOthers = pool.replicas.contains { $0 !== replica && $0.isServing }
        if replica.isServing, !hasOthers, !isForced {
            return "no other replica of pool \(pool.name) serves, so requests would fail"
        }
        if wanted == .enabled { set(.draining, name) }
        await drain(index, replica, in: pool)
        steps[index].phase = .restarting
        // Nothing is probed meanwhile: the old process must not be taken for the new one.
        set(.maintenance, name)
        let failure = await control.hooks?.restart(replica, in: pool) ?? nil
        control.server.board.restarted(name, in: pool.name, ok: failure == nil)
        guard wanted != .maintenance else { return failure }
        set(.draining, name)
        control.wasRestarted(name)
        if let failure {
            set(wanted, name)
            return failure
        }
        steps[index].phase = .warming
        let limit = control.hooks?.settings.restart?.readyTimeout ?? .seconds(300)
        let isBack = await wait(limit) { self.isUp(name) }
        set(wanted, name)
        return isBack ? nil : "it was not healthy within \(limit.secondsRoundedUp) s"
    }

    private func isUp(_ name: String) -> Bool {
        guard let health = control.find(replica: name)?.replica.snapshot.health else { return false }
        return if case .up = health { true } else { false }
    }

    private func drain(_ index: Int, _ replica: Replica, in pool: Pool) async {
        steps[index].phase = .draining
        if await wait(drainLimit, until: { replica.inFlight == 0 }) { return }
        steps[index].phase = .moving
        let deadline = control.loop.now + drainLimit
        let moved = Moved()
        while replica.inFlight > 0, control.loop.now < deadline {
            for worker in control.server.workers {
                worker.post { loop in
                    guard let upstreams = LoopServer.on(loop)?.services.upstreams else { return }
                    moved.count.wrappingAdd(upstreams.moveAway(from: replica, in: pool), ordering: .relaxed)
                }
            }
            _ = await wait(Self.moveInterval) { replica.inFlight == 0 }
            steps[index].moved = moved.count.load(ordering: .relaxed)
        }
    }

    /// Counted by all loops.
    private final class Moved: Sendable { let count = Atomic<Int>(0) }

    private func set(_ intent: HealthMachine.Intent, _ name: String) { _ = control.setIntent(intent, of: name) }

    /// - Returns: whether `isOver` came to be within `limit`.
    private func wait(_ limit: Interval, until isOver: () -> Bool) async -> Bool {
        let deadline = control.loop.now + limit
        while !isOver() {
            if control.loop.now >= deadline { return false }
            _ = await parking.park(until: min(deadline, control.loop.now + Self.lookInterval))
        }
        return true
    }

    // MARK: For the admin API

    func append(to writer: inout ByteWriter, now: Moment) {
        writer.openObject()
        writer.member("id", number: number)
        writer.member("state", string: state.rawValue)
        writer.member("problem", string: problem)
        writer.member("replicas")
        writer.openArray()
        for step in steps {
            writer.element()
            writer.openObject()
            writer.member("pool", string: step.pool)
            writer.member("name", string: step.name)
            writer.member("state", string: step.phase.rawValue)
            let took = step.startedAt.map { (step.endedAt ?? now) - $0 } ?? .zero
            writer.member("seconds", number: Double(took.nanoseconds / 1_000_000) / 1000)
            writer.member("moved", number: step.moved)
            writer.member("problem", string: step.problem)
            writer.closeObject()
        }
        writer.closeArray()
        writer.closeObject()
    }
}
