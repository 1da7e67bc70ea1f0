package import GatewayCore

extension ReplicaPicker {
    /// What the shell knows of one replica now.
    package struct Candidate: Sendable {
        package var health: HealthSnapshot
        /// `maxInFlight` requests are there already.
        package var isFull: Bool
        /// The end of its last cool-down (``CoolDown``); any moment of the past if there is none.
        package var coolUntil: Moment
        /// ``Breaker/mayPass(_:)`` for the model that was asked for.
        package var mayPassBreaker: Bool

        package init(health: HealthSnapshot, isFull: Bool, coolUntil: Moment, mayPassBreaker: Bool) {
            self.health = health
            self.isFull = isFull
            self.coolUntil = coolUntil
            self.mayPassBreaker = mayPassBreaker
        }
    }

    package enum Choice: Equatable, Sendable {
        case replica(Int)
        /// Somebody serves, but nobody has room: wait in the pool's queue, then choose again.
        case full
        /// What ``Attempt/Event/noneLeft(coolAt:)`` reports.
        case noneLeft(coolAt: Moment?)

        /// Nil where nobody was found, so that one goes on looking.
        fileprivate init?(_ pick: Pick) {
            switch pick {
            case .replica(let index): self = .replica(index)
            case .full: self = .full
            case .none: return nil
            }
        }
    }

    /// Performs ``Attempt/Action/pick(_:)`` and ``Attempt/Action/resume(_:)``: the whole order of preference.
    ///
    ///     1. serving, breaker passes, not met by this request
    ///     2. serving, although its breaker stops it: a breaker must not take the last replica away
    ///     3. nobody is up: the least bad; or somebody is, but not for this request: one only suspected (``Panic``)
    ///     4. serving, failed for this request before, but not by a timeout
    ///     5. as 3, among those that failed for this request before: a reset may have been one connection's
    ///
    /// A replica that is cooling down is left alone in all of them.
    ///
    /// - Parameter isSuitable: whether the replica can do what is asked; for a resume, whether it offers the way.
    /// - Cost: usually the first pick only.
    package mutating func choose(
        excluding exclusions: Attempt.Exclusions, now: Moment, inFlight: (Int) -> Int = { _ in 0 },
        isSuitable: (Int) -> Bool = { _ in true }, candidate: (Int) -> Candidate
    ) -> Choice {
        if let choice = choose(.first, exclusions, now, inFlight, isSuitable, candidate) { return choice }
        if let choice = choose(.withoutBreaker, exclusions, now, inFlight, isSuitable, candidate) { return choice }
        if let choice = panic(exclusions.allows, now, isSuitable, candidate) { return choice }
        if let choice = choose(.last, exclusions, now, inFlight, isSuitable, candidate) { return choice }
        if let choice = panic(exclusions.allowsAtLast, now, isSuitable, candidate) { return choice }
        return .noneLeft(coolAt: coolest(exclusions, now, isSuitable, candidate))
    }

    private enum Pass { case first, withoutBreaker, last }

    private mutating func choose(
        _ pass: Pass, _ exclusions: Attempt.Exclusions, _ now: Moment, _ inFlight: (Int) -> Int,
        _ isSuitable: (Int) -> Bool, _ candidate: (Int) -> Candidate
    ) -> Choice? {
        let pick = pick(inFlight: inFlight) { index in
            guard pass == .last ? exclusions.allowsAtLast(index) : exclusions.allows(index), isSuitable(index) else {
                return .unavailable
            }
            let candidate = candidate(index)
            guard candidate.health.isServing, candidate.coolUntil <= now else { return .unavailable }
            guard pass != .first || candidate.mayPassBreaker else { return .unavailable }
            return candidate.isFull ? .full : .available
        }
        return Choice(pick)
    }

    private mutating func panic(
        _ allows: (Int) -> Bool, _ now: Moment, _ isSuitable: (Int) -> Bool, _ candidate: (Int) -> Candidate
    ) -> Choice? {
        panics &+= 1
        let pick = Panic.choose(count: count, rotation: panics, snapshot: { candidate($0).health }) { index in
            guard allows(index), isSuitable(index) else { return .unavailable }
            let candidate = candidate(index)
            guard candidate.coolUntil <= now else { return .unavailable }
            return candidate.isFull ? .full : .available
        }
        return Choice(pick)
    }

    private func coolest(
        _ exclusions: Attempt.Exclusions, _ now: Moment, _ isSuitable: (Int) -> Bool, _ candidate: (Int) -> Candidate
    ) -> Moment? {
        var soonest: Moment?
        for index in 0..<count where !exclusions.never.contains(index) && isSuitable(index) {
            let candidate = candidate(index)
            guard candidate.health.intent == .enabled, candidate.coolUntil > now else { continue }
            soonest = min(soonest ?? .never, candidate.coolUntil)
        }
        return soonest
    }
}
