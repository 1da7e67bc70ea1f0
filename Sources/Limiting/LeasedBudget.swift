package import GatewayCore

/// How one limit is shared by several gateways without a round trip for every request.
///
/// The count of all is kept in one ``SlidingWindow`` (in Redis). A gateway leases a small part of it, which is counted
/// there at once, and spends it locally a little later. Because "later" is bounded by ``validity(of:)``, and the shared
/// window is longer by just that, no window of the limit's length ever holds more than the limit, over all gateways; a
/// client that keeps asking gets 1.8 % less than the limit at worst.
package enum LeaseRules {
    /// How long a lease may be spent after it was asked for.
    package static func validity(of window: Interval) -> Interval { max(.nanoseconds(1), window / 100) }

    /// The window in which leases are counted for a limit per `window`.
    package static func sharedWindow(for window: Interval) -> Interval { window + validity(of: window) }

    /// The most that one of `holders` gateways leases at once: together they hold about 1 % of the limit at most.
    package static func size(limit: Int, holders: Int) -> Int { max(1, limit / (100 * max(1, holders))) }
}

/// What one gateway holds of a limit that it shares with others.
///
///     spend ──► .allowed ──► .allowed(refill: n)                       ask for n behind the request's back
///        ├────► .ask(n) ──► granted(…) ──► spend again                 one round trip
///        │             └──► refused(…), or `askFailed()`: the caller goes on with a local limit
///        └────► .rejected(retryAfter)                                  the shared window said so before
///
/// Unspent units go back by ``takeReturn(now:)``. Holds two leases at most, the present one and its refill.
package struct LeasedBudget: Sendable {
    package enum Decision: Equatable, Sendable {
        /// Spent. `refill`: how much to ask for in the background, if it is time.
        case allowed(refill: Int?)
        /// Nothing was spent: ask for so much, or wait for whoever asks already (`nil`), then spend again.
        case ask(Int?)
        case rejected(retryAfter: Interval)
    }

    /// Units that were not spent in time, and when the shared window counted them, in its own time.
    package struct Return: Equatable, Sendable {
        package var amount: Int
        package var stamp: Int64

        package init(amount: Int, stamp: Int64) {
            self.amount = amount
            self.stamp = stamp
        }
    }

    private struct Lease {
        var left: Int
        var stamp: Int64
        var expires: Moment

        func usable(_ now: Moment) -> Int { now < expires ? left : 0 }
    }

    private let validity: Interval
    /// What is leased at once; follows the number of holders.
    package var size: Int
    /// The lease that is spent first, and the one after it.
    private var first: Lease?
    private var second: Lease?
    private var isAsking = false
    private var rejectedUntil = Moment.zero
    private var rejectedCost = Int.max

    package init(window: Interval, size: Int) {
        precondition(size > 0)
        validity = LeaseRules.validity(of: window)
        self.size = size
    }

    package mutating func spend(_ cost: Int = 1, now: Moment) -> Decision {
        let held = (first?.usable(now) ?? 0) + (second?.usable(now) ?? 0)
        if held >= cost {
            take(cost, now)
            let isLow = size > 1 && (held - cost) * 2 < size && !isAsking && now >= rejectedUntil
            if isLow { isAsking = true }
            return .allowed(refill: isLow ? size : nil)
        }
        if cost >= rejectedCost, now < rejectedUntil { return .rejected(retryAfter: rejectedUntil - now) }
        if isAsking { return .ask(nil) }
        isAsking = true
        return .ask(max(cost, size))
    }

    /// The shared window granted so much.
    ///
    /// - Parameter stamp: its own time of the grant, which a return names.
    /// - Parameter askedAt: when the question left us: the grant is no older.
    package mutating func granted(_ amount: Int, stamp: Int64, askedAt: Moment) {
        isAsking = false
        rejectedCost = .max
        let lease = Lease(left: amount, stamp: stamp, expires: askedAt + validity)
        if first == nil || first?.left == 0 {
            first = second
            second = nil
        }
        switch (first, second) {
        case (nil, _): first = lease
        case (_, nil): second = lease
        case (_, let held?):
            // Three at a time: the sooner end and the older stamp are on the safe side for both.
            second = Lease(left: held.left + amount, stamp: held.stamp, expires: min(held.expires, lease.expires))
        }
    }

    /// The shared window had less than `cost`; `retryAfter` is when it will have it.
    package mutating func refused(_ cost: Int, retryAfter: Interval, now: Moment) {
        isAsking = false
        rejectedCost = cost
        rejectedUntil = now + retryAfter
    }

    /// No answer came. The caller decides what to do without.
    package mutating func askFailed() { isAsking = false }

    /// Something to give back, if a lease has expired unspent. Ask until `nil`, at most three times.
    package mutating func takeReturn(now: Moment) -> Return? {
        if let lease = first, now >= lease.expires {
            first = second
            second = nil
            return lease.left > 0 ? Return(amount: lease.left, stamp: lease.stamp) : takeReturn(now: now)
        }
        if let lease = second, now >= lease.expires {
            second = nil
            return lease.left > 0 ? Return(amount: lease.left, stamp: lease.stamp) : nil
        }
        return nil
    }

    private mutating func take(_ cost: Int, _ now: Moment) {
        let fromFirst = min(cost, first?.usable(now) ?? 0)
        first?.left -= fromFirst
        second?.left -= cost - fromFirst
    }
}
