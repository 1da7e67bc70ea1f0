import Balancing
import GatewayCore

/// What to do with one supervised process: events go in, an ``Action`` comes out, and the ``Supervisor`` performs it.
///
///     state         event               becomes         action
///     waiting       start               starting        spawn
///     starting      ready               ready
///     starting      start limit over    starting        kill
///     any running   exited              resting         (spawn, when the rest is over)
///     any running   exited too often    coolingDown     (spawn, when that is over)
///     any running   stop                stopping        terminate, then kill when patience ends
///     stopping      exited              stopped
///     not running   stop                stopped
///
/// Pure: it holds no clock and touches no process.
package struct ServiceMachine: Sendable {
    package enum Action: Equatable, Sendable {
        case spawn
        /// SIGTERM to the process.
        case terminate
        /// SIGKILL to its group.
        case kill
    }

    package private(set) var state = ServiceState.waiting
    /// Whether it was ever ready: what came after may rely on it once.
    package private(set) var hasBeenReady = false
    /// Starts after the first one.
    package private(set) var restarts = 0

    private let startLimit: Interval
    private let patience: Interval
    private var policy: RestartPolicy
    /// While it should end: when to be patient no longer.
    private var stop: StopPolicy?
    private var startDeadline = Moment.never
    private var killed = false
    /// Its end was asked for, and so was a new start.
    private var returns = false

    package init(startLimit: Interval, patience: Interval, restart: RestartSettings) {
        self.startLimit = startLimit
        self.patience = patience
        policy = RestartPolicy(settings: restart)
    }

    package var isRunning: Bool {
        switch state {
        case .starting, .ready, .stopping: true
        case .waiting, .resting, .coolingDown, .stopped: false
        }
    }

    /// The next moment at which ``tick(_:)`` may have something to do.
    package var nextDeadline: Moment {
        switch state {
        case .resting(let until), .coolingDown(let until): return until
        case .starting: return killed ? .never : startDeadline
        case .stopping:
            guard !killed, var stop, case .wait(let until) = stop.next(.zero) else { return .never }
            return until
        case .waiting, .ready, .stopped: return .never
        }
    }

    /// What it needs is ready.
    package mutating func start(_ now: Moment) -> Action? {
        guard state == .waiting else { return nil }
        return spawn(now)
    }

    /// The readiness check succeeded.
    package mutating func becameReady() {
        guard state == .starting else { return }
        state = .ready
        hasBeenReady = true
    }

    /// The process ended, or could not be started. - Returns: what to do at once, which is to spawn or nothing.
    package mutating func exited(_ now: Moment) -> Action? {
        guard isRunning else { return nil }
        killed = false
        if state == .stopping {
            stop = nil
            guard returns else {
                state = .stopped
                return nil
            }
            returns = false
            restarts += 1
            return spawn(now)
        }
        switch policy.exited(now) {
        case .restart(let delay): state = .resting(until: now + delay)
        case .coolDown(let pause): state = .coolingDown(until: now + pause)
        }
        return nil
    }

    /// Time went by.
    package mutating func tick(_ now: Moment) -> Action? {
        switch state {
        case .resting(let until), .coolingDown(let until):
            guard now >= until else { return nil }
            restarts += 1
            return spawn(now)
        case .starting where now >= startDeadline && !killed:
            killed = true
            return .kill
        case .stopping:
            guard !killed, stop?.next(now) == .kill else { return nil }
            killed = true
            return .kill
        default:
            return nil
        }
    }

    /// It should end and stay ended.
    package mutating func requestStop(_ now: Moment) -> Action? {
        returns = false
        return end(now)
    }

    /// It should end as gently as for a stop, and be started again at once.
    package mutating func requestRestart(_ now: Moment) -> Action? {
        guard state != .stopping, state != .stopped else { return nil }
        guard isRunning else {
            if state == .waiting { return nil }
            restarts += 1
            return spawn(now)
        }
        returns = true
        return end(now)
    }

    /// It should end now.
    package mutating func force() -> Action? {
        returns = false
        guard isRunning else {
            state = .stopped
            return nil
        }
        state = .stopping
        guard !killed else { return nil }
        killed = true
        return .kill
    }

    private mutating func end(_ now: Moment) -> Action? {
        guard isRunning else {
            state = .stopped
            return nil
        }
        guard state != .stopping else { return nil }
        state = .stopping
        var policy = StopPolicy(patience: patience)
        _ = policy.next(now)
        stop = policy
        return .terminate
    }

    private mutating func spawn(_ now: Moment) -> Action {
        state = .starting
        startDeadline = now + startLimit
        policy.started(now)
        return .spawn
    }
}
