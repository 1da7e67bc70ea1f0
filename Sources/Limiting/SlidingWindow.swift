package import GatewayCore

/// How much one key has spent in the window that ends now, in bounded memory.
///
/// The window is cut into 128 slots and the oldest one, partly outside already, is counted whole. So no sliding window
/// ever holds more than `limit`, and a client that keeps asking gets all but one part in 129 of it.
///
///     age    128 ····· 3   2   1   0                the window ends somewhere in slot 0, the newest
///             └ partly outside      └ kept in `current`, without the array
///
/// Of the older slots only those are kept in which something was spent: most callers ask seldom, and what is not there
/// need not be read when it leaves.
///
/// Pure: it holds no clock. The caller passes `now`; an earlier `now` than before (another loop's clock) is counted in
/// the newest slot, which is the cautious side.
///
/// - Cost: 88 bytes, and where more than four older slots have spending in them 4 for each of at most 128, with an
///   array's header. A spend within a slot is two comparisons and two additions, in 64 bytes that lie together; the
///   first one in a new slot also divides once and visits what leaves.
package struct SlidingWindow: Sendable {
    package enum Decision: Equatable, Sendable {
        /// `reset`: until the window is empty again, if nothing more is spent.
        case allowed(remaining: Int, reset: Interval)
        /// Nothing was spent. `retryAfter` is the first moment at which the same cost may fit; a cost above the limit
        /// never fits and is told to wait until the window is empty.
        case rejected(retryAfter: Interval)
    }

    /// What a look at the window finds.
    package struct Standing: Equatable, Sendable {
        package var limit: Int
        package var remaining: Int
        package var reset: Interval

        package init(limit: Int, remaining: Int, reset: Interval) {
            self.limit = limit
            self.remaining = remaining
            self.reset = reset
        }
    }

    /// The largest limit: what a slot of four bytes holds.
    package static let limitMax = Int(UInt32.max)
    /// Slots of a window, besides the newest one.
    private static let slotCount = 128

    // What a spend within a slot touches comes first.
    /// When the newest slot began, in nanoseconds.
    private var newestStart: Int64 = 0
    private let slotLength: Int64
    /// Spent in all slots.
    private var total = 0
    /// Spent in the newest slot.
    private var current: UInt32 = 0
    private let limit32: UInt32
    /// What was spent in the older slots that ``isSpent`` names.
    private var older = OlderSpending()
    /// The cost that was last rejected, 0 if none: a client that hammers pays for one search a slot.
    private var rejectedCost: UInt32 = 0
    /// Which of the older slots are in ``older``: of the ages 1 to 64 and 65 to 128, the youngest in the lowest bit.
    private var isSpent: (young: UInt64, old: UInt64) = (0, 0)
    /// Until when ``rejectedCost`` will be rejected.
    private var rejectedUntil: Int64 = 0

    package var limit: Int { Int(limit32) }
    /// The window, rounded up to 128 whole slots.
    package var window: Interval { .nanoseconds(slotLength * Int64(Self.slotCount)) }

    /// - Precondition: `limit` is 1 to ``limitMax`` and `window` positive; the configuration is validated before, so a
    ///   violation is a bug of ours.
    package init(limit: Int, window: Interval) {
        precondition(limit > 0 && limit <= Self.limitMax && window > .zero)
        limit32 = UInt32(limit)
        slotLength = (window.nanoseconds + Int64(Self.slotCount) - 1) / Int64(Self.slotCount)
    }

    /// Spends `cost` if it fits.
    package mutating func spend(_ cost: Int = 1, now: Moment) -> Decision {
        guard fits(cost, now: now) else { return .rejected(retryAfter: wait(for: cost, now: now)) }
        take(cost)
        return .allowed(remaining: limit - total, reset: reset(now))
    }

    /// Whether `cost` could be spent now. Spends nothing.
    @inline(__always)
    package mutating func fits(_ cost: Int, now: Moment) -> Bool {
        advance(to: now)
        return cost <= Int(limit32) - total
    }

    /// Spends a cost that ``fits(_:now:)`` has just found to fit.
    @inline(__always)
    package mutating func take(_ cost: Int) {
        precondition(cost >= 0 && cost <= Int(limit32) - total)
        current += UInt32(cost)
        total += cost
        rejectedCost = 0
    }

    /// Counts what has been used already, whether it fits or not: an answer that became longer than its reservation.
    ///
    /// A slot that is full already rejects everything until it leaves, so what doesn't fit into it may be forgotten.
    package mutating func charge(_ cost: Int, now: Moment) {
        guard cost > 0 else { return }
        advance(to: now)
        let added = min(cost, Int(UInt32.max - current))
        current += UInt32(added)
        total += added
        rejectedCost = 0
    }

    /// Gives back what was reserved at `moment` and not used. What has left the window meanwhile is gone.
    package mutating func refund(_ cost: Int, at moment: Moment) {
        guard cost > 0, total > 0 else { return }
        rejectedCost = 0
        let back = newestStart - moment.nanoseconds
        if back <= 0 {
            let given = min(cost, Int(current))
            current -= UInt32(given)
            total -= given
            return
        }
        let age = (back + slotLength - 1) / slotLength
        guard age <= Int64(Self.slotCount), spentAges >> (age - 1) & 1 == 1 else { return }
        let place = (spentAges >> age).nonzeroBitCount
        let given = min(cost, Int(older[place]))
        older[place] -= UInt32(given)
        total -= given
    }

    /// What is left and when all of it is. Spends nothing.
    @inline(__always)
    package mutating func peek(now: Moment) -> Standing {
        advance(to: now)
        return standing(now)
    }

    /// What ``peek(now:)`` finds, at a moment that the window was asked about already.
    @inline(__always)
    mutating func standing(_ now: Moment) -> Standing {
        Standing(limit: limit, remaining: max(0, limit - total), reset: reset(now))
    }

    /// How long until `cost` fits; zero if it does. Spends nothing.
    package mutating func wait(for cost: Int, now: Moment) -> Interval {
        advance(to: now)
        if cost <= limit - total { return .zero }
        if rejectedCost == 0 || Int(rejectedCost) != cost { search(for: cost) }
        return .nanoseconds(max(1, rejectedUntil - now.nanoseconds))
    }

    /// A part of what was spent, and when.
    package struct Spending: Equatable, Sendable {
        package var at: Moment
        package var cost: Int

        package init(at: Moment, cost: Int) {
            self.at = at
            self.cost = cost
        }
    }

    /// What is spent, by slot, oldest first: at most 129 entries.
    package mutating func spendings(now: Moment) -> [Spending] {
        advance(to: now)
        var found: [Spending] = []
        visitOlder { age, cost in
            if cost > 0 { found.append(Spending(at: start(ofAge: age), cost: Int(cost))) }
            return true
        }
        if current > 0 { found.append(Spending(at: start(ofAge: 0), cost: Int(current))) }
        return found
    }

    /// Counts what was spent elsewhere too, each part at its time.
    package mutating func absorb(_ spendings: [Spending], now: Moment) {
        var whole = SlidingWindow(limit: limit, window: window)
        for part in (self.spendings(now: now) + spendings).sorted(by: { $0.at < $1.at }) where part.at <= now {
            whole.charge(part.cost, now: part.at)
        }
        self = whole
    }

    /// The same spending under another limit; a window of another length starts empty.
    package func changed(limit: Int, window: Interval) -> SlidingWindow {
        var changed = SlidingWindow(limit: limit, window: window)
        guard changed.slotLength == slotLength else { return changed }
        changed.newestStart = newestStart
        changed.total = total
        changed.current = current
        changed.older = older
        changed.isSpent = isSpent
        return changed
    }
}

// Slots.
extension SlidingWindow {
    /// ``isSpent`` in one: bit 0 is age 1.
    private var spentAges: UInt128 {
        get { UInt128(isSpent.old) << 64 | UInt128(isSpent.young) }
        set { isSpent = (UInt64(truncatingIfNeeded: newValue), UInt64(truncatingIfNeeded: newValue >> 64)) }
    }

    private func start(ofAge age: Int) -> Moment { Moment(nanoseconds: newestStart - slotLength * Int64(age)) }

    /// When the slot of this age will have left, in nanoseconds.
    private func end(ofAge age: Int) -> Int64 { newestStart + slotLength * Int64(Self.slotCount + 1 - age) }

    /// When all that is spent has left, in nanoseconds.
    @inline(__always)
    private var emptyAt: Int64 { end(ofAge: current > 0 ? 0 : spentAges.trailingZeroBitCount + 1) }

    @inline(__always)
    private func reset(_ now: Moment) -> Interval {
        total == 0 ? .zero : .nanoseconds(max(0, emptyAt - now.nanoseconds))
    }

    @inline(__always)
    private mutating func advance(to now: Moment) {
        let elapsed = now.nanoseconds - newestStart
        if elapsed >= slotLength { advance(by: elapsed / slotLength) }
    }

    /// Moves `steps` slots on: what is older than 128 then, leaves.
    @inline(never)
    private mutating func advance(by steps: Int64) {
        newestStart += steps * slotLength
        rejectedCost = 0
        guard total > 0, steps <= Int64(Self.slotCount) else {
            // What is kept of them lies further behind than the rest: not touched for nothing.
            if !older.isEmpty { (older, isSpent) = (OlderSpending(), (0, 0)) }
            (current, total) = (0, 0)
            return
        }
        var ages = spentAges
        if ages.leadingZeroBitCount < steps { forgetOldest((ages >> (Int64(Self.slotCount) - steps)).nonzeroBitCount) }
        ages <<= steps
        if current > 0 {
            older.append(current)
            ages |= 1 << (steps - 1)
            current = 0
        }
        spentAges = ages
    }

    @inline(never)
    private mutating func forgetOldest(_ count: Int) {
        for place in 0..<count { total -= Int(older[place]) }
        older.removeFirst(count)
    }

    /// Slots leave oldest first; the one that frees enough leaves when its whole length is outside.
    @inline(never)
    private mutating func search(for cost: Int) {
        rejectedUntil = emptyAt
        rejectedCost = UInt32(clamping: cost)
        guard cost <= limit else { return }
        var left = total
        var found: Int?
        visitOlder { age, spent in
            left -= Int(spent)
            if left + cost <= limit { found = age }
            return found == nil
        }
        if let found { rejectedUntil = end(ofAge: found) }
    }

    /// Visits the older slots in which something was spent, oldest first, while `body` says so.
    private func visitOlder(_ body: (_ age: Int, _ cost: UInt32) -> Bool) {
        var rest = spentAges
        for place in 0..<older.count {
            let cost = older[place]
            let age = UInt128.bitWidth - rest.leadingZeroBitCount
            rest &= ~(1 << (age - 1))
            guard body(age, cost) else { return }
        }
    }
}
