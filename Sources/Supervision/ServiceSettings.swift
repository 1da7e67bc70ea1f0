import Balancing
import GatewayCore

/// A process that a ``Supervisor`` keeps running.
package struct ServiceSettings: Sendable {
    /// How it is known that a started process can be used.
    package enum Readiness: Sendable {
        /// As soon as it runs.
        case started
        /// When this says so. Asked every 50 ms on the supervisor's thread: it may take 250 ms, not more.
        case check(@Sendable () -> Bool)
    }

    /// For events and ``Supervisor/statuses``. Each once.
    package var name: String
    package var command: ChildCommand
    package var readiness: Readiness
    /// From the start until it must be ready; then it is killed, and that counts as an end.
    package var startLimit: Interval
    /// From SIGTERM to SIGKILL.
    package var patience: Interval
    package var restart: RestartSettings

    package init(
        name: String, command: ChildCommand, readiness: Readiness, startLimit: Interval, patience: Interval,
        restart: RestartSettings
    ) {
        self.name = name
        self.command = command
        self.readiness = readiness
        self.startLimit = startLimit
        self.patience = patience
        self.restart = restart
    }
}

extension RestartSettings {
    /// For a stack on one machine: at once, then slower, up to 5 s; five restarts a minute, then half a minute's pause.
    package static let local = RestartSettings(
        firstDelay: .milliseconds(100), longestDelay: .seconds(5), restartsMax: 5, window: .seconds(60),
        coolDown: .seconds(30), stableAfter: .seconds(30))
}

extension RestartSettings {
    /// For a replica: at once, then slower; three restarts in 300 s, then a minute's pause. One that runs for 300 s has
    /// a clean record.
    package static let replica = RestartSettings(
        firstDelay: .milliseconds(100), longestDelay: .seconds(30), restartsMax: 3, window: .seconds(300),
        coolDown: .seconds(60), stableAfter: .seconds(300))
}

/// What a service is doing.
package enum ServiceState: Equatable, Sendable {
    /// What it needs is not ready yet.
    case waiting
    /// It runs, but can't be used yet.
    case starting
    /// It runs and can be used.
    case ready
    /// It ended, and is started again at that moment.
    case resting(until: Moment)
    /// It ended too often, and is left alone until that moment.
    case coolingDown(until: Moment)
    /// It was asked to end and still runs.
    case stopping
    /// It ended because it was asked to, or never ran. It is not started again.
    case stopped

    /// The same for people.
    package var sentence: String {
        switch self {
        case .waiting: "waits for what it needs"
        case .starting: "is starting"
        case .ready: "is ready"
        case .resting: "ended and is about to be started again"
        case .coolingDown: "ended too often and is left alone for a while"
        case .stopping: "is ending"
        case .stopped: "is stopped"
        }
    }
}
