package import GatewayCore

/// How many retries a pool may make, so that a sick pool isn't flooded by its own gateway.
///
/// In any ten seconds at most `percent` of the requests of the last ten seconds plus `perSecond` for each of them.
/// Moves off a replica that was just found dead don't ask. Counted in slots of half a second: requests of whole slots
/// only, retries of partial ones too, so that it errs on the careful side.
///
/// Pure; constant memory (21 slots).
///
/// - Source: Finagle, `RetryBudget` (`percentCanRetry`, `minRetriesPerSec`, a TTL of 10 s).
package struct RetryBudget: Sendable {
    private struct Slot {
        var requests = 0
        var retries = 0
    }

    package static let window = Interval.seconds(10)
    private static let slotCount = 21
    private static let slotLength = window.nanoseconds / Int64(slotCount - 1)

    private let percent: Int
    private let reserve: Int
    private var slots = InlineArray<21, Slot>(repeating: Slot())
    private var newest: Int64 = 0
    /// Its place in `slots`, and when it ends.
    private var newestPlace = 0
    private var newestEnd = Moment(nanoseconds: slotLength)
    private var requests = 0
    private var retries = 0

    /// - Parameter perSecond: retries that are always allowed, so that a quiet pool can retry at all.
    package init(percent: Int, perSecond: Int) {
        precondition(percent >= 0 && perSecond >= 0)
        self.percent = percent
        reserve = perSecond * Int(Self.window.nanoseconds / 1_000_000_000)
    }

    /// A request of a client begins.
    package mutating func requestStarted(_ now: Moment) {
        advance(to: now)
        slots[newestPlace].requests += 1
        requests += 1
    }

    /// Takes one retry from the budget, if there is one.
    package mutating func spend(_ now: Moment) -> Bool {
        advance(to: now)
        guard retries < allowed else { return false }
        slots[newestPlace].retries += 1
        retries += 1
        return true
    }

    /// Retries that are left now.
    package mutating func remaining(_ now: Moment) -> Int {
        advance(to: now)
        return max(0, allowed - retries)
    }

    /// The oldest slot is partly outside: its requests don't count, its retries do.
    private var allowed: Int { (requests - slots[place(newest + 1)].requests) * percent / 100 + reserve }

    private func place(_ slot: Int64) -> Int { Int(slot % Int64(Self.slotCount)) }

    private mutating func advance(to now: Moment) {
        if now >= newestEnd { turn(to: now.nanoseconds / Self.slotLength) }
    }

    private mutating func turn(to slot: Int64) {
        for next in (max(newest + 1, slot - Int64(Self.slotCount) + 1))...slot {
            let old = slots[place(next)]
            requests -= old.requests
            retries -= old.retries
            slots[place(next)] = Slot()
        }
        newest = slot
        newestPlace = place(slot)
        newestEnd = Moment(nanoseconds: (slot + 1) * Self.slotLength)
    }
}
