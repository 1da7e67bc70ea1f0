package import GatewayCore

/// How much one key has spent in the window that ends now, in constant memory.
///
/// The window is cut into 128 slots and the oldest one, partly outside already, is counted whole. So no sliding window
/// ever holds more than `limit`, and a client that keeps asking gets all but one part in 129 of it.
///
///     slots   129 ····· 3   2   1   newest          the window ends somewhere in `newest`
///             └ partly outside      └ kept in `current`, without the array
///
/// Pure: it holds no clock. The caller passes `now`; an earlier `now` than before (another loop's clock) is counted in
/// the newest slot, which is the cautious side.
///
/// - Cost: 64 bytes, and 128 slots of 1, 2 or 4 bytes once spending has outlived its slot (288 bytes with the array's
///   header while `limit` ≤ 65,535). A spend within a slot is a comparison and two additions; the first one in a new
///   slot also divides once and visits the slots that passed, at most 128.
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

    private let limit32: UInt32
    /// Bytes of one slot in `older`: the fewest that hold `limit`.
    private let width: UInt8
    /// Where in `older` the newest slot will be kept once it has passed.
    private var position: UInt8 = 0
    private let slotLength: Int64
    /// When the newest slot began, in nanoseconds.
    private var newestStart: Int64 = 0
    /// When all that is spent has left, in nanoseconds.
    private var emptyAt: Int64 = 0
    /// Spent in all slots.
    private var total = 0
    /// Spent in the newest slot.
    private var current: UInt32 = 0
    /// The cost that was last rejected, and until when it will be: a client that hammers pays for one search a slot.
    private var rejectedCost: UInt32 = 0
    private var rejectedUntil: Int64 = 0
    /// The slots before the newest, little-endian, as a ring; empty until there is something to remember.
    private var older: [UInt8] = []

    package var limit: Int { Int(limit32) }
    /// The window, rounded up to 128 whole slots.
    package var window: Interval { .nanoseconds(slotLength * Int64(Self.slotCount)) }

    /// - Precondition: `limit` is 1 to ``limitMax`` and `window` positive; the configuration is validated before, so a
    ///   violation is a bug of ours.
    package init(limit: Int, window: Interval) {
        precondition(limit > 0 && limit <= Self.limitMax && window > .zero)
        limit32 = UInt32(limit)
        width = limit <= Int(UInt8.max) ? 1 : limit <= Int(UInt16.max) ? 2 : 4
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
        return cost <= Int(limit32) && total + cost <= Int(limit32)
    }

    /// Spends a cost that ``fits(_:now:)`` has just found to fit.
    @inline(__always)
    package mutating func take(_ cost: Int) {
        precondition(cost >= 0 && total + cost <= Int(limit32))
        current += UInt32(cost)
        total += cost
        if cost > 0 { emptyAt = newestStart + slotLength * Int64(Self.slotCount + 1) }
        rejectedCost = 0
    }

    /// Counts what has been used already, whether it fits or not: an answer that became longer than its reservation.
    ///
    /// A slot that is full already rejects everything until it leaves, so what doesn't fit into it may be forgotten.
    package mutating func charge(_ cost: Int, now: Moment) {
        guard cost > 0 else { return }
        advance(to: now)
        let added = min(cost, Int(slotMax) - Int(current))
        current += UInt32(added)
        total += added
        emptyAt = newestStart + slotLength * Int64(Self.slotCount + 1)
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
        guard age <= Int64(Self.slotCount), !older.isEmpty else { return }
        let slot = index(age: Int(age))
        let spent = read(slot)
        let given = min(cost, Int(spent))
        write(spent - UInt32(given), to: slot)
        total -= given
    }

    /// What is left and when all of it is. Spends nothing.
    @inline(__always)
    package mutating func peek(now: Moment) -> Standing {
        advance(to: now)
        return Standing(limit: limit, remaining: max(0, limit - total), reset: reset(now))
    }

    /// How long until `cost` fits; zero if it does. Spends nothing.
    package mutating func wait(for cost: Int, now: Moment) -> Interval {
        advance(to: now)
        if total + cost <= limit { return .zero }
        if rejectedCost == 0 || Int(rejectedCost) != cost { search(for: cost) }
        return .nanoseconds(max(1, rejectedUntil - now.nanoseconds))
    }

    /// The moment that a spend at `now` is counted at: what ``refund(_:at:)`` wants to be told.
    @inline(__always)
    package func stamp(_ now: Moment) -> Moment { Moment(nanoseconds: max(now.nanoseconds, newestStart)) }

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
        if !older.isEmpty {
            for age in (1...Self.slotCount).reversed() {
                let cost = Int(read(index(age: age)))
                let start = newestStart - slotLength * Int64(age)
                if cost > 0 { found.append(Spending(at: Moment(nanoseconds: start), cost: cost)) }
            }
        }
        if current > 0 { found.append(Spending(at: Moment(nanoseconds: newestStart), cost: Int(current))) }
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
        changed.emptyAt = emptyAt
        changed.position = position
        changed.current = min(current, changed.slotMax)
        changed.total = Int(changed.current)
        if !older.isEmpty {
            changed.older = Array(repeating: 0, count: Self.slotCount * Int(changed.width))
            for slot in 0..<Self.slotCount {
                let spent = min(read(slot), changed.slotMax)
                changed.write(spent, to: slot)
                changed.total += Int(spent)
            }
        }
        return changed
    }
}

// Slots.
extension SlidingWindow {
    private var slotMax: UInt32 { width == 4 ? .max : width == 2 ? UInt32(UInt16.max) : UInt32(UInt8.max) }

    @inline(__always)
    private func reset(_ now: Moment) -> Interval {
        total == 0 ? .zero : .nanoseconds(max(0, emptyAt - now.nanoseconds))
    }

    @inline(__always)
    private mutating func advance(to now: Moment) {
        let elapsed = now.nanoseconds - newestStart
        if elapsed >= slotLength { advance(by: elapsed / slotLength) }
    }

    /// Moves `steps` slots on: each overwrites the slot that has just left.
    @inline(never)
    private mutating func advance(by steps: Int64) {
        newestStart += steps * slotLength
        rejectedCost = 0
        if total == 0 { return }
        if steps > Int64(Self.slotCount) {
            (current, total, older) = (0, 0, [])
            return
        }
        if older.isEmpty { older = Array(repeating: 0, count: Self.slotCount * Int(width)) }
        for _ in 0..<steps {
            let leaving = read(Int(position))
            total -= Int(leaving)
            // Most slots of a caller who asks seldom stay empty.
            if leaving != current { write(current, to: Int(position)) }
            current = 0
            position = (position + 1) % UInt8(Self.slotCount)
        }
    }

    /// Slots leave oldest first; the one that frees enough leaves when its whole length is outside.
    @inline(never)
    private mutating func search(for cost: Int) {
        rejectedUntil = emptyAt
        rejectedCost = UInt32(clamping: cost)
        guard cost <= limit, !older.isEmpty else { return }
        var left = total
        for age in (1...Self.slotCount).reversed() {
            left -= Int(read(index(age: age)))
            if left + cost <= limit {
                rejectedUntil = newestStart + slotLength * Int64(Self.slotCount + 1 - age)
                return
            }
        }
    }

    private func index(age: Int) -> Int { (Int(position) - age + Self.slotCount) % Self.slotCount }

    private func read(_ slot: Int) -> UInt32 {
        let bytes = older.span.extracting(slot * Int(width)..<(slot + 1) * Int(width))
        var value: UInt32 = 0
        for byte in bytes.indices { value |= UInt32(bytes[byte]) << (8 * UInt32(byte)) }
        return value
    }

    private mutating func write(_ value: UInt32, to slot: Int) {
        let bytes = slot * Int(width)..<(slot + 1) * Int(width)
        var slots = older.mutableSpan
        for (place, byte) in bytes.enumerated() {
            slots[byte] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(place)))
        }
    }
}
