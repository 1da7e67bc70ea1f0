package import GatewayCore

/// When a replica is probed and what it takes to change sides.
package struct HealthSettings: Equatable, Sendable {
    /// From the start of one probe to the start of the next, while all is well.
    package var interval: Interval
    /// How much of the interval is random, in percent: probes of many gateways must not march in step.
    package var jitterPercent: Int
    /// Failed probes in a row that take a replica out, and good ones that bring it back.
    package var fall: Int
    package var rise: Int
    /// The interval while no replica of the pool is up.
    package var pressingInterval: Interval
    /// How long the weight of a replica that returned takes to rise to its full value; zero for at once.
    package var ramp: Interval
    /// Whether a replica that returns first answers a warm-up request. Off for kinds that can't be trusted with one.
    package var warmsUp: Bool
    /// So long after its last real answer a replica that has nothing to do is sent a deep probe; zero for never, and
    /// for kinds that can't be trusted with one.
    package var deepInterval: Interval

    package init(
        interval: Interval, jitterPercent: Int, fall: Int, rise: Int, pressingInterval: Interval, ramp: Interval,
        warmsUp: Bool, deepInterval: Interval = .zero
    ) {
        self.interval = interval
        self.jitterPercent = jitterPercent
        self.fall = fall
        self.rise = rise
        self.pressingInterval = pressingInterval
        self.ramp = ramp
        self.warmsUp = warmsUp
        self.deepInterval = deepInterval
    }

    /// Failed probes in a row that real answers excuse, at most.
    package var excusesMax: Int { fall * 3 }

    /// The interval after a failure.
    package var quickInterval: Interval { interval / 4 }
}

/// Whether one replica may receive requests, and when it should next be probed.
///
/// What an operator asked for and what was observed are separate facts: a drained replica keeps its health, and a probe
/// never undoes a drain.
///
///     intent         health     receives requests
///     .enabled       .up        yes
///     .enabled       .warming   no, only its warm-up request
///     .enabled       .down      no, but see `Panic`
///     .enabled       .unknown   no, but see `Panic`
///     .draining      any        no, running requests finish; probes go on
///     .maintenance   .unknown   no, and it is not probed
///
///     unknown ──1 success──► up ──`fall` failures──► down
///        └─────1 failure───────────────────────────► down
///     up ──a connect failure or reset on traffic──► down, but only suspected ──1 failure──► down
///     down ──`rise` successes──► warming ──warm-up answered──► up, its weight rising
///     down ──1 success, and no other replica is up──► up, with its full weight
///     up ──a deep probe fails──► down, and only a warm-up that is answered brings it back
///
/// A failed probe that real answers contradict doesn't count: a health page alone decides nothing. Where no answer came
/// in time, the replica may be frozen, and only what came after the probe was sent contradicts that; where the page
/// said no, whatever came since the probe before. At most `excusesMax` in a row are excused, because a replica that
/// goes on answering its page with 503 wants to be left alone.
///
/// A replica that is only suspected (``isSuspected``) takes no new requests, but see `Panic`; those that wait there
/// stay: one broken connection says nothing of the others. Its first failed probe settles it, and is announced. Only
/// probes that were sent after the suspicion began count, and real answers that came after it contradict them as they
/// would while it is up.
///
/// Pure: events go in, an ``Action`` comes out, and the prober performs it. Busy answers (429, 503) on traffic are no
/// events of this machine.
package struct HealthMachine: Sendable {
    /// What the operator wants.
    package enum Intent: String, Sendable, CaseIterable { case enabled, draining, maintenance }

    /// Why a replica is down, least bad first: the order in which ``Panic`` tries them.
    package enum Reason: Int, Comparable, Sendable, CaseIterable {
        /// Its probe was answered well, but later than it may.
        case slow
        /// Its probe was answered, but not with 200; or its warm-up was not well-formed.
        case serverError
        /// No answer in time.
        case timedOut
        /// No connection, or one that was reset.
        case refused

        package static func < (left: Reason, right: Reason) -> Bool { left.rawValue < right.rawValue }
    }

    package enum Health: Equatable, Sendable {
        /// Not probed yet.
        case unknown
        /// `failures` probes in a row have failed.
        case up(failures: Int)
        /// `successes` probes in a row have succeeded.
        case down(successes: Int, Reason)
        /// Its probes succeed, and its warm-up request is on the way.
        case warming
    }

    package enum Action: Equatable, Sendable {
        /// What is scheduled stays.
        case none
        /// Probe again, this long after the start of the last probe.
        case probe(after: Interval)
        /// The replica changed: publish it. Then probe after the delay; `nil` leaves the schedule as it is.
        case announce(isServing: Bool, thenProbeAfter: Interval?)
        /// Send one warm-up request and report how it ended; probe again after the delay meanwhile.
        case warmUp(thenProbeAfter: Interval)
        /// Publish that it does not serve, and stop probing until the operator ends the maintenance.
        case rest
    }

    /// What an event happens in.
    package struct Surroundings: Sendable {
        package var now: Moment
        /// Whether another enabled replica of the pool is up.
        package var isAnyOtherUp: Bool
        /// Any random number, for the jitter.
        package var random: UInt64
        /// When the probe that ended was sent.
        package var probedAt: Moment
        /// When real traffic last got an answer, or a part of one.
        package var answeredAt: Moment

        package init(
            now: Moment, isAnyOtherUp: Bool, random: UInt64, probedAt: Moment = .zero, answeredAt: Moment = .zero
        ) {
            self.now = now
            self.isAnyOtherUp = isAnyOtherUp
            self.random = random
            self.probedAt = probedAt
            self.answeredAt = answeredAt
        }

    }

    /// A full share of the weight; see ``share(at:)``.
    package static let fullShare = 16

    private var settings: HealthSettings
    package private(set) var intent: Intent
    package private(set) var health = Health.unknown
    /// It is down because of traffic alone: no probe that counts has failed since.
    package private(set) var isSuspected = false
    /// When it was last suspected. A probe that was sent before tells nothing: the answer to it, or its failure, may be
    /// older than the suspicion.
    private var suspectedAt = Moment.zero
    /// When the weight began to rise; `nil` once a full weight was given at once.
    private var rampStart: Moment?
    /// Failed probes in a row that real answers contradicted.
    private var excuses = 0
    /// When the probe before was sent.
    private var probedBefore = Moment.zero
    /// Generating failed there: its health page alone does not bring it back, even if no other replica is up.
    private var owesProof = false
    /// When it came up, or a deep probe succeeded.
    private var provedAt = Moment.zero
    private var downAt = Moment.zero

    package init(settings: HealthSettings, intent: Intent) {
        precondition(settings.fall > 0 && settings.rise > 0 && settings.interval > .zero)
        self.settings = settings
        self.intent = intent
    }

    package var isUp: Bool { if case .up = health { true } else { false } }
    package var isServing: Bool { intent == .enabled && isUp }

    package func snapshot(at now: Moment) -> HealthSnapshot {
        HealthSnapshot(intent: intent, health: health, share: share(at: now), isSuspected: isSuspected)
    }

    /// The part of the configured weight that counts now, in sixteenths: the caller multiplies every weight of the pool
    /// by its replica's share.
    package func share(at now: Moment) -> Int {
        guard let rampStart, settings.ramp > .zero else { return Self.fullShare }
        let risen = max(0, (now - rampStart).nanoseconds) / max(1, settings.ramp.nanoseconds / Int64(Self.fullShare))
        return Int(min(Int64(Self.fullShare), risen + 1))
    }

    /// When ``share(at:)`` next changes; `nil` if it won't.
    package func nextShareChange(after now: Moment) -> Moment? {
        let share = share(at: now)
        guard let rampStart, share < Self.fullShare else { return nil }
        return rampStart + .nanoseconds(settings.ramp.nanoseconds / Int64(Self.fullShare) * Int64(share))
    }
}

// What the operator does.
extension HealthMachine {
    /// The first action of a replica's life.
    package func start() -> Action { intent == .maintenance ? .rest : .probe(after: .zero) }

    /// The configuration changed: what is wanted and what is known stays.
    package mutating func change(to settings: HealthSettings) { self.settings = settings }

    package mutating func setIntent(_ new: Intent) -> Action {
        let old = intent
        guard new != old else { return .none }
        intent = new
        if new == .maintenance {
            health = .unknown
            isSuspected = false
            rampStart = nil
            owesProof = false
            return .rest
        }
        return .announce(isServing: isServing, thenProbeAfter: old == .maintenance ? .zero : nil)
    }
}

// What was observed.
extension HealthMachine {
    package mutating func probeSucceeded(_ around: Surroundings) -> Action {
        guard intent != .maintenance, around.probedAt >= suspectedAt else { return .none }
        excuses = 0
        probedBefore = around.probedAt
        // A request that was sent there all the same is as good a proof as any.
        if owesProof, around.answeredAt > downAt { owesProof = false }
        switch health {
        case .unknown:
            return comeUp(around, ramped: false)
        case .up:
            health = .up(failures: 0)
            return .probe(after: ordinary(around))
        case .down where !around.isAnyOtherUp && !owesProof:
            return comeUp(around, ramped: false)
        case .down(let successes, let reason) where successes + 1 < settings.rise && around.isAnyOtherUp:
            health = .down(successes: successes + 1, reason)
            return .probe(after: settings.quickInterval)
        case .down:
            guard settings.warmsUp || owesProof else { return comeUp(around, ramped: true) }
            health = .warming
            isSuspected = false
            return .warmUp(thenProbeAfter: ordinary(around))
        case .warming where !around.isAnyOtherUp && !owesProof:
            return comeUp(around, ramped: false)
        case .warming:
            return .probe(after: ordinary(around))
        }
    }

    package mutating func probeFailed(_ reason: Reason, _ around: Surroundings) -> Action {
        guard intent != .maintenance, around.probedAt >= suspectedAt else { return .none }
        let since = reason == .timedOut ? around.probedAt : max(probedBefore, suspectedAt)
        let isContradicted = around.answeredAt > since
        probedBefore = around.probedAt
        switch health {
        case .up where isContradicted && excuses < settings.excusesMax:
            excuses += 1
            return .probe(after: settings.quickInterval)
        case .up(let failures) where failures + 1 < settings.fall:
            health = .up(failures: failures + 1)
            return .probe(after: settings.quickInterval)
        case .up, .unknown, .warming:
            goDown(reason, around.now)
            return .announce(isServing: false, thenProbeAfter: retry(around))
        case .down where isSuspected && isContradicted && excuses < settings.excusesMax:
            excuses += 1
            return .probe(after: retry(around))
        case .down(_, let before):
            let isNews = isSuspected || reason != before
            health = .down(successes: 0, reason)
            isSuspected = false
            let delay = retry(around)
            return isNews ? .announce(isServing: false, thenProbeAfter: delay) : .probe(after: delay)
        }
    }

    /// A request could not connect, or its connection was reset: the replica is suspected at once and probed at once,
    /// because the next request would meet the same. If it was one bad connection only, the probes bring it back within
    /// `rise` − 1 quick intervals, and at once if no other replica is up.
    ///
    /// - Parameter reason: `.refused`, or `.timedOut` for a connect that was not answered.
    package mutating func trafficFailed(_ reason: Reason, now: Moment) -> Action {
        guard intent != .maintenance else { return .none }
        if case .down = health { return .none }
        goDown(reason, downAt)
        isSuspected = true
        suspectedAt = now
        return .announce(isServing: false, thenProbeAfter: .zero)
    }

    /// Whether a deep probe is due: up, nothing to do, and no sign for long that generating works there. The caller
    /// sees to it that one runs at a time.
    package func isDeepProbeDue(_ around: Surroundings, inFlight: Int) -> Bool {
        guard isServing, settings.deepInterval > .zero, inFlight == 0 else { return false }
        return around.now - max(around.answeredAt, provedAt) >= settings.deepInterval
    }

    package mutating func deepProbeSucceeded(_ around: Surroundings) { provedAt = around.now }

    /// It can't generate, whatever its health page says.
    package mutating func deepProbeFailed(_ reason: Reason, _ around: Surroundings) -> Action {
        guard isUp, around.answeredAt <= around.probedAt else { return .none }
        goDown(reason, around.now)
        owesProof = true
        return .announce(isServing: false, thenProbeAfter: settings.quickInterval)
    }

    package mutating func warmUpSucceeded(_ around: Surroundings) -> Action {
        guard health == .warming else { return .none }
        health = .up(failures: 0)
        owesProof = false
        provedAt = around.now
        rampStart = around.isAnyOtherUp ? around.now : nil
        return .announce(isServing: isServing, thenProbeAfter: nil)
    }

    package mutating func warmUpFailed(_ reason: Reason, _ around: Surroundings) -> Action {
        guard health == .warming else { return .none }
        goDown(reason, around.now)
        return .announce(isServing: false, thenProbeAfter: retry(around))
    }

    /// The last other replica went down: a replica that is down or warming is probed sooner than it was scheduled.
    package func othersWentDown() -> Action {
        switch health {
        case .down, .warming: .probe(after: pressing)
        case .unknown, .up: .none
        }
    }

    private mutating func comeUp(_ around: Surroundings, ramped: Bool) -> Action {
        health = .up(failures: 0)
        isSuspected = false
        provedAt = around.now
        rampStart = ramped ? around.now : nil
        return .announce(isServing: isServing, thenProbeAfter: ordinary(around))
    }

    private mutating func goDown(_ reason: Reason, _ now: Moment) {
        health = .down(successes: 0, reason)
        isSuspected = false
        excuses = 0
        downAt = now
    }

    private var pressing: Interval { min(settings.pressingInterval, settings.quickInterval) }

    private func retry(_ around: Surroundings) -> Interval {
        around.isAnyOtherUp ? settings.quickInterval : pressing
    }

    /// The interval, shortened or lengthened by up to half of the jitter.
    private func ordinary(_ around: Surroundings) -> Interval {
        let spread = settings.interval.nanoseconds / 100 * Int64(settings.jitterPercent)
        guard spread > 0 else { return settings.interval }
        let drawn = Int64(truncatingIfNeeded: around.random % UInt64(spread + 1))
        return .nanoseconds(settings.interval.nanoseconds - spread / 2 + drawn)
    }
}
