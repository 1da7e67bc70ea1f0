package import GatewayCore

/// What the balancer knows of a replica's health; published by its prober.
package struct HealthSnapshot: Equatable, Sendable {
    package var intent: HealthMachine.Intent
    package var health: HealthMachine.Health
    /// Of the configured weight, in sixteenths.
    package var share: Int
    /// See ``HealthMachine/isSuspected``.
    package var isSuspected: Bool

    package init(
        intent: HealthMachine.Intent, health: HealthMachine.Health, share: Int, isSuspected: Bool = false
    ) {
        self.intent = intent
        self.health = health
        self.share = share
        self.isSuspected = isSuspected
    }

    package var isServing: Bool {
        guard intent == .enabled, case .up = health else { return false }
        return true
    }

    /// Whether a probe found it down: what waits there waits in vain.
    package var isDeclaredDead: Bool {
        guard case .down = health else { return false }
        return !isSuspected
    }

    /// How bad a choice this replica is when none is up; `nil` if it is no choice at all.
    package var panicRank: Int? {
        guard intent == .enabled else { return nil }
        return switch health {
        case .up: 0
        case .warming: 1
        case .unknown: 2
        case .down(_, let reason): 3 + reason.rawValue
        }
    }
}

/// What to do when no enabled replica is up: send to the least bad one rather than to none.
///
/// The probes may be wrong, the replicas may be slow rather than dead, and a request that fails costs no more than one
/// that was never sent. A draining replica, or one in maintenance, is never chosen.
///
/// Where some are up, but none that this request may ask, one that is only suspected is worth the try as well: one
/// connection of it broke a moment ago, and its probe is on the way. If that fails, the request leaves again
/// (``DeathNotice``).
package enum Panic {
    /// How long one request waits for the first sign of life from replicas that are down and silent, all together: a
    /// client should hear within a second that nobody is there.
    package static let patience = Interval.milliseconds(750)

    /// Whether nothing at all comes from a replica that is down: neither answers to its probes, good or bad, nor real
    /// ones lately. From any other one an answer may take its time.
    package static func isSilent(_ snapshot: HealthSnapshot, sinceAnswer: Interval, window: Interval) -> Bool {
        guard case .down(_, let reason) = snapshot.health else { return false }
        return reason >= .timedOut && sinceAnswer > window
    }

    /// The least bad replica: warming, unknown, slow, 5xx, timed out, refused. If any enabled replica is up, even if it
    /// isn't available: the least bad of those that are only suspected.
    ///
    /// - Parameters:
    ///   - rotation: any counter; equals take turns by it.
    ///   - snapshot: asked once for each.
    ///   - availability: whether the request may be sent there, whatever its health. `.full` if all that would do are.
    /// - Cost: O(n).
    package static func choose(
        count: Int, rotation: Int, snapshot: (Int) -> HealthSnapshot, availability: (Int) -> ReplicaPicker.Availability
    ) -> ReplicaPicker.Pick {
        guard count > 0 else { return .none }
        var (any, suspected) = (Best(), Best())
        var isAnyServing = false
        let first = Int(rotation.magnitude % UInt(count))
        for step in 0..<count {
            let index = (first + step) % count
            let snapshot = snapshot(index)
            if snapshot.isServing { isAnyServing = true }
            guard let rank = snapshot.panicRank, !snapshot.isServing else { continue }
            guard snapshot.isSuspected || !isAnyServing else { continue }
            let availability = availability(index)
            any.consider(index, rank, availability)
            if snapshot.isSuspected { suspected.consider(index, rank, availability) }
        }
        return isAnyServing ? suspected.pick : any.pick
    }

    /// The best of those seen so far.
    private struct Best {
        private var index: Int?
        private var least = Int.max
        private var isAnyFull = false

        mutating func consider(_ index: Int, _ rank: Int, _ availability: ReplicaPicker.Availability) {
            switch availability {
            case .unavailable: break
            case .full: isAnyFull = true
            case .available: if rank < least { (self.index, least) = (index, rank) }
            }
        }

        var pick: ReplicaPicker.Pick {
            if let index { return .replica(index) }
            return isAnyFull ? .full : .none
        }
    }
}
