package import GatewayCore

/// What one key has left: requests and tokens per window, a cap on bursts, and requests in flight.
///
/// A request reserves from all of them or from none, so that a refused one costs nothing. What it really used is
/// settled when it ends, however it ends.
///
///     reserve ──► .reserved(Reservation) ──► settle(used)     the answer ended, or its client left
///        │                          └──────► giveBack         no replica ever saw it
///        └──────► .refused(kind, wait)                        nothing was spent
package struct KeyBudget: Sendable {
    /// What a request holds until it is settled.
    package struct Reservation: Equatable, Sendable {
        package let requests: Int
        package let tokens: Int
        /// Where in the windows it is counted.
        fileprivate let at: Moment
    }

    package enum Decision: Equatable, Sendable {
        case reserved(Reservation)
        /// Nothing was spent. Of several reasons, the one that lasts longest.
        case refused(RateLimitKind, retryAfter: Interval)
    }

    /// What the `x-ratelimit-*` headers say; `nil` where there is no such limit.
    package struct Standing: Equatable, Sendable {
        package var requests: SlidingWindow.Standing?
        package var tokens: SlidingWindow.Standing?

        package init(requests: SlidingWindow.Standing?, tokens: SlidingWindow.Standing?) {
            self.requests = requests
            self.tokens = tokens
        }

        package static var none: Standing { Standing(requests: nil, tokens: nil) }
    }

    /// A full set of slots says nothing about when one is free: the time that an average answer takes.
    private static let waitForSlot = Interval.seconds(1)

    // What most requests touch comes first: with many callers, each line of memory is a cache miss.
    /// The latest `now` so far; an earlier one, of another loop's clock, is taken for it.
    private var latest = Moment.zero
    package private(set) var inFlight = 0
    private var inFlightMax: Int
    /// Whether there are windows besides the first: to look at them would be another cache miss.
    private var hasMoreWindows: Bool
    private var requests: SlidingWindow?
    private var tokens: SlidingWindow?
    private var burst: SlidingWindow?
    private var shared: SharedKeyLimits

    package var limits: KeyLimits { shared.limits }

    package init(limits: KeyLimits) { self.init(SharedKeyLimits(limits)) }

    package init(_ shared: SharedKeyLimits) {
        self.shared = shared
        let limits = shared.limits
        inFlightMax = limits.inFlight ?? .max
        hasMoreWindows = limits.hasTokensOrBurst
        requests = limits.requests.map { SlidingWindow(limit: $0.amount, window: $0.per) }
        burst = limits.burst.map { SlidingWindow(limit: $0.amount, window: $0.per) }
        tokens = limits.tokens.map { SlidingWindow(limit: $0.amount, window: $0.per) }
    }

    /// Spends `requests`, `tokens` and a slot in flight, or nothing.
    @inline(__always)
    package mutating func reserve(requests count: Int = 1, tokens estimate: Int, now: Moment) -> Decision {
        let now = settled(now)
        let requestsFit = requests?.fits(count, now: now) ?? true
        let moreFit = hasMoreWindows ? moreFit(requests: count, tokens: estimate, now: now) : true
        guard requestsFit && moreFit && inFlight < inFlightMax else {
            return refusal(requests: count, tokens: estimate, now: now)
        }
        requests?.take(count)
        if hasMoreWindows {
            burst?.take(count)
            tokens?.take(estimate)
        }
        inFlight += 1
        return .reserved(Reservation(requests: count, tokens: estimate, at: now))
    }

    /// Whether the windows besides the first have room. Looks at each of them, so that they pass their slots together.
    private mutating func moreFit(requests count: Int, tokens estimate: Int, now: Moment) -> Bool {
        let burstFits = burst?.fits(count, now: now) ?? true
        let tokensFit = tokens?.fits(estimate, now: now) ?? true
        return burstFits && tokensFit
    }

    /// Ends a request that cost `used` tokens: frees its slot, gives back what it reserved too much, charges the rest.
    @inline(__always)
    package mutating func settle(_ reservation: Reservation, tokensUsed used: Int, now: Moment) {
        inFlight = max(0, inFlight - 1)
        if hasMoreWindows { settleTokens(reservation, used, settled(now)) }
    }

    @inline(never)
    private mutating func settleTokens(_ reservation: Reservation, _ used: Int, _ now: Moment) {
        if used < reservation.tokens {
            tokens?.refund(reservation.tokens - used, at: reservation.at)
        } else {
            tokens?.charge(used - reservation.tokens, now: now)
        }
    }

    /// Ends a request that was refused after all, before a replica saw it: it costs nothing.
    package mutating func giveBack(_ reservation: Reservation) {
        inFlight = max(0, inFlight - 1)
        requests?.refund(reservation.requests, at: reservation.at)
        burst?.refund(reservation.requests, at: reservation.at)
        tokens?.refund(reservation.tokens, at: reservation.at)
    }

    package mutating func standing(now: Moment) -> Standing {
        let now = settled(now)
        return Standing(requests: requests?.peek(now: now), tokens: tokens?.peek(now: now))
    }

    /// The standing right after ``reserve(requests:tokens:now:)``. Mutating, or else the whole budget would be copied.
    package var standing: Standing {
        mutating get {
            Standing(requests: requests?.standing(latest), tokens: hasMoreWindows ? tokens?.standing(latest) : nil)
        }
    }

    /// `now`, or the latest that was seen: so all windows count a request at one moment, which its reservation names.
    @inline(__always)
    private mutating func settled(_ now: Moment) -> Moment {
        latest = max(latest, now)
        return latest
    }

    /// What is spent in each window, for another process that counts on.
    package struct Spent: Equatable, Sendable {
        package var requests: [SlidingWindow.Spending]
        package var burst: [SlidingWindow.Spending]
        package var tokens: [SlidingWindow.Spending]

        package init(
            requests: [SlidingWindow.Spending], burst: [SlidingWindow.Spending], tokens: [SlidingWindow.Spending]
        ) {
            self.requests = requests
            self.burst = burst
            self.tokens = tokens
        }

        package var isEmpty: Bool { requests.isEmpty && burst.isEmpty && tokens.isEmpty }
    }

    package mutating func spent(now: Moment) -> Spent {
        Spent(
            requests: requests?.spendings(now: now) ?? [], burst: burst?.spendings(now: now) ?? [],
            tokens: tokens?.spendings(now: now) ?? [])
    }

    /// Counts what was spent in another process too.
    package mutating func absorb(_ spent: Spent, now: Moment) {
        requests?.absorb(spent.requests, now: now)
        burst?.absorb(spent.burst, now: now)
        tokens?.absorb(spent.tokens, now: now)
    }

    /// Takes new limits on; what is spent and in flight stays, except in a window whose length changes.
    package mutating func change(to limits: KeyLimits) { change(to: SharedKeyLimits(limits)) }

    package mutating func change(to limits: SharedKeyLimits) {
        shared = limits
        let limits = limits.limits
        inFlightMax = limits.inFlight ?? .max
        hasMoreWindows = limits.hasTokensOrBurst
        requests = Self.changed(requests, to: limits.requests)
        burst = Self.changed(burst, to: limits.burst)
        tokens = Self.changed(tokens, to: limits.tokens)
    }

    /// Whether this budget is as good as a fresh one, so that the slot of its key may be given to another.
    package mutating func isUnused(now: Moment) -> Bool {
        func isEmpty(_ standing: SlidingWindow.Standing?) -> Bool { standing.map { $0.reset == .zero } ?? true }
        return inFlight == 0 && isEmpty(requests?.peek(now: now)) && isEmpty(burst?.peek(now: now))
            && isEmpty(tokens?.peek(now: now))
    }

    private static func changed(_ window: SlidingWindow?, to rate: KeyLimits.Rate?) -> SlidingWindow? {
        guard let rate else { return nil }
        return window?.changed(limit: rate.amount, window: rate.per)
            ?? SlidingWindow(limit: rate.amount, window: rate.per)
    }

    @inline(never)
    private mutating func refusal(requests count: Int, tokens estimate: Int, now: Moment) -> Decision {
        var kind = RateLimitKind.concurrency
        var longest = inFlight < inFlightMax ? Interval.zero : Self.waitForSlot
        func consider(_ candidate: RateLimitKind, _ wait: Interval?) {
            if let wait, wait > longest { (kind, longest) = (candidate, wait) }
        }
        consider(.requests, requests?.wait(for: count, now: now))
        consider(.requests, burst?.wait(for: count, now: now))
        consider(.tokens, tokens?.wait(for: estimate, now: now))
        return .refused(kind, retryAfter: longest)
    }
}
