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

    /// The least bad replica: warming, unknown, slow, 5xx, timed out, refused. `nil` if any enabled replica is up, even
    /// if it isn't eligible, or if nobody is left.
    ///
    /// - Parameter rotation: any counter; equals take turns by it.
    /// - Cost: O(n).
    package static func choose(
        among snapshots: [HealthSnapshot], rotation: Int, isEligible: (Int) -> Bool
    ) -> Int? {
        choose(count: snapshots.count, rotation: rotation, snapshot: { snapshots[$0] }, isEligible: isEligible)
    }

    /// The same without a list of snapshots; asks for each at most once.
    package static func choose(
        count: Int, rotation: Int, snapshot: (Int) -> HealthSnapshot, isEligible: (Int) -> Bool
    ) -> Int? {
        guard count > 0 else { return nil }
        var best: Int?
        var least = Int.max
        let first = Int(rotation.magnitude % UInt(count))
        for step in 0..<count {
            let index = (first + step) % count
            let snapshot = snapshot(index)
            if snapshot.isServing { return nil }
            guard let rank = snapshot.panicRank, rank < least, isEligible(index) else { continue }
            (best, least) = (index, rank)
        }
        return best
    }
}
