package import GatewayCore

/// When a breaker steps in and for how long.
package struct BreakerSettings: Equatable, Sendable {
    /// Failures in a row that stop a model on a replica.
    package var failuresInARow: Int
    /// Failures among the last 32 answers that stop it as well; 33 or more for never.
    package var failuresOf32: Int
    /// How long the first stop lasts; each one after a failed trial lasts twice as long, up to `longest`.
    package var shortest: Interval
    package var longest: Interval
    /// A stop ends only after a deep probe succeeded (``Breaker/proved()``): no client's request is the first to find
    /// out. Off where no deep probe may be sent.
    package var needsProof: Bool

    package init(
        failuresInARow: Int, failuresOf32: Int, shortest: Interval, longest: Interval, needsProof: Bool = false
    ) {
        self.failuresInARow = failuresInARow
        self.failuresOf32 = failuresOf32
        self.shortest = shortest
        self.longest = longest
        self.needsProof = needsProof
    }
}

/// Keeps one model off one replica while real traffic fails there, even if its health probe is fine.
///
///     passing ──failures──► stopped ──time──► (deep probe) ──► one trial ──success──► passing
///                              ▲                   │               │
///                              └────twice as long──┴────failure────┘
///
/// Overload is no failure: 429 and 503 never stop anything (``UpstreamFailure/countsForBreaker``). A replica that says
/// that it is busy, and not until when, is passed by for a moment only: others are asked first, as long as there are.
///
/// Pure, 72 bytes.
package struct Breaker: Sendable {
    private enum State: Equatable {
        case passing
        case stopped(until: Moment)
        /// A deep probe succeeded after a stop: a request may try.
        case proven
        /// One request is on its way; if it never reports, the next trial may start at the moment.
        case trying(until: Moment)
    }

    private let settings: BreakerSettings
    private var state = State.passing
    /// The last 32 answers, newest in bit 0; a set bit is a failure.
    private var history: UInt32 = 0
    private var stops = 0
    /// Busy answers since the last good one, and when the replica's turn comes again.
    private var busyInARow = 0
    private var busyUntil = Moment.zero

    /// How long others are asked first after a busy answer; each further one doubles it, up to the longest.
    package static let shortestPause = Interval.milliseconds(50)
    package static let longestPause = Interval.seconds(1)

    package init(settings: BreakerSettings) {
        precondition(settings.failuresInARow > 0 && settings.failuresOf32 > 0 && settings.shortest > .zero)
        self.settings = settings
    }

    package var isPassing: Bool { state == .passing }

    /// Passing, and the last 32 answers were good: until the next failure nothing need be asked or reported, which
    /// keeps the breaker off the path of a healthy replica.
    package var isIdle: Bool { state == .passing && history == 0 && busyInARow == 0 }

    /// Whether a request may be sent now: always while passing, one at a time on trial.
    package func mayPass(_ now: Moment) -> Bool {
        guard now >= busyUntil else { return false }
        return switch state {
        case .passing, .proven: true
        case .stopped(let until): now >= until && !settings.needsProof
        case .trying(let until): now >= until
        }
    }

    /// Whether a deep probe should find out if the model works there again.
    package func awaitsProof(_ now: Moment) -> Bool {
        guard settings.needsProof, case .stopped(let until) = state else { return false }
        return now >= until
    }

    /// A deep probe of this model succeeded.
    package mutating func proved() { if case .stopped = state { state = .proven } }

    /// A deep probe of this model failed: the next one is due after a stop twice as long.
    package mutating func proofFailed(_ now: Moment) { if case .stopped = state { stop(now) } }

    /// A request that ``mayPass(_:)`` let through is sent.
    package mutating func sent(_ now: Moment) {
        if state != .passing { state = .trying(until: now + settings.longest) }
    }

    /// An answer was good.
    package mutating func succeeded() {
        history <<= 1
        busyInARow = 0
        guard case .trying = state else { return }
        state = .passing
        history = 0
        stops = 0
    }

    /// A request ended without a verdict on the replica: its client left, it was refused for its own fault, or the
    /// replica was busy. If it was the trial, another one may be made at once.
    package mutating func endedWithoutVerdict(_ now: Moment) {
        if case .trying = state { state = settings.needsProof ? .proven : .stopped(until: now) }
    }

    /// An answer was 429 or 503 and named no time.
    package mutating func wasBusy(_ now: Moment) {
        endedWithoutVerdict(now)
        busyUntil = now + min(Self.shortestPause * (1 << Int64(min(busyInARow, 16))), Self.longestPause)
        busyInARow += 1
    }

    /// An answer failed in a way that counts. Answers to requests of before the stop change nothing.
    ///
    /// - Returns: whether this one stopped the model, for the log.
    package mutating func failed(_ now: Moment) -> Bool {
        history = history << 1 | 1
        switch state {
        case .passing:
            let inARow = (~history).trailingZeroBitCount
            let failures = history.nonzeroBitCount
            guard inARow >= settings.failuresInARow || failures >= settings.failuresOf32 else { return false }
        case .stopped, .proven: return false
        case .trying: break
        }
        stop(now)
        return true
    }

    private mutating func stop(_ now: Moment) {
        let longer = settings.shortest * (1 << Int64(min(stops, 16)))
        state = .stopped(until: now + min(longer, settings.longest))
        stops += 1
    }
}
