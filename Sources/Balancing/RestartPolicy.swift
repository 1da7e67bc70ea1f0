package import GatewayCore

/// How a process that we started is kept alive.
package struct RestartSettings: Equatable, Sendable {
    /// Wait before the first restart; it doubles with each further one, up to `longestDelay`.
    package var firstDelay: Interval
    package var longestDelay: Interval
    /// Restarts allowed within `window`; one more means `coolDown`.
    package var restartsMax: Int
    package var window: Interval
    package var coolDown: Interval
    /// A process that ran this long was stable: all is forgotten.
    package var stableAfter: Interval

    package init(
        firstDelay: Interval, longestDelay: Interval, restartsMax: Int, window: Interval, coolDown: Interval,
        stableAfter: Interval
    ) {
        self.firstDelay = firstDelay
        self.longestDelay = longestDelay
        self.restartsMax = restartsMax
        self.window = window
        self.coolDown = coolDown
        self.stableAfter = stableAfter
    }
}

/// Whether and when a process that ended is started again.
///
/// Pure; remembers the moments of at most `restartsMax` restarts.
package struct RestartPolicy: Sendable {
    package enum Action: Equatable, Sendable {
        case restart(after: Interval)
        /// It ends too often: leave it alone for this long, tell somebody, then start it with a clean record.
        case coolDown(for: Interval)
    }

    private let settings: RestartSettings
    private var restarts: [Moment] = []
    private var startedAt: Moment?
    /// Restarts since it was last stable: what the back-off counts.
    private var inARow = 0

    package init(settings: RestartSettings) {
        precondition(settings.restartsMax > 0)
        self.settings = settings
    }

    /// The process runs.
    package mutating func started(_ now: Moment) { startedAt = now }

    /// The process ended, although nobody asked it to.
    package mutating func exited(_ now: Moment) -> Action {
        if let startedAt, now - startedAt >= settings.stableAfter { forget() }
        startedAt = nil
        restarts.removeAll { $0 + settings.window <= now }
        guard restarts.count < settings.restartsMax else {
            forget()
            return .coolDown(for: settings.coolDown)
        }
        let delay = min(settings.firstDelay * (1 << Int64(min(inARow, 16))), settings.longestDelay)
        restarts.append(now + delay)
        inARow += 1
        return .restart(after: delay)
    }

    private mutating func forget() {
        restarts = []
        inARow = 0
    }
}

/// How a process is ended: SIGTERM, patience, SIGKILL.
package struct StopPolicy: Sendable {
    package enum Action: Equatable, Sendable {
        case terminate
        case wait(until: Moment)
        case kill
    }

    private let patience: Interval
    private var killAt: Moment?

    /// - Parameter patience: from SIGTERM to SIGKILL.
    package init(patience: Interval) { self.patience = patience }

    /// What to do now with a process that should end and still runs. Ask again after each action.
    package mutating func next(_ now: Moment) -> Action {
        guard let killAt else {
            self.killAt = now + patience
            return .terminate
        }
        return now >= killAt ? .kill : .wait(until: killAt)
    }
}
