import GatewayCore
import Limiting
import TestSupport
import Testing

@testable import Pipeline

@Suite struct RequestLimiterTests {
    private static func limits(_ requests: Int, burst: Int? = nil) -> KeyLimits {
        KeyLimits(
            requests: .init(requests, per: .seconds(60)), burst: burst.map { .init($0, per: .seconds(1)) }, tokens: nil,
            inFlight: nil)
    }

    private func caller(_ id: String, requests: Int? = nil) -> Principal {
        Principal(kind: .apiKey, id: id, requestsPerWindow: requests)
    }

    private func reserve(_ slot: LimiterSlot, now: Moment = .zero) -> KeyBudget.Decision? {
        var standing = KeyBudget.Standing.none
        return slot.reserve(tokens: 0, now: now, standing: &standing)
    }

    /// How many requests the caller may make at once.
    private func allowed(_ limiter: RequestLimiter, _ caller: Principal, now: Moment = .zero) -> Int {
        let slot = limiter.slot(for: caller, now: now)
        for count in 0..<1_000 {
            guard case .reserved = reserve(slot, now: now) else { return count }
        }
        return 1_000
    }

    @Test func `a caller has one budget, whoever asks for it and however often`() {
        let limiter = RequestLimiter(limits: Self.limits(3), keysMax: 64)
        #expect(limiter.slot(for: caller("a"), now: .zero) === limiter.slot(for: caller("a"), now: .zero))
        #expect(limiter.slot(for: caller("a"), now: .zero) !== limiter.slot(for: caller("b"), now: .zero))
        #expect(allowed(limiter, caller("a")) == 3)
        #expect(allowed(limiter, caller("a")) == 0)
        #expect(allowed(limiter, caller("b")) == 3)
        #expect(limiter.count == 2)
    }

    @Test func `a number of requests of one's own replaces that limit and no other`() {
        let limiter = RequestLimiter(limits: Self.limits(3, burst: 5), keysMax: 64)
        #expect(allowed(limiter, caller("few", requests: 2)) == 2)
        #expect(allowed(limiter, caller("many", requests: 100)) == 5)
        let unlimited = RequestLimiter(limits: .unlimited, keysMax: 64)
        #expect(allowed(unlimited, caller("few", requests: 2)) == 1_000, "a number without a window says nothing")
    }

    @Test func `new limits hold at once for callers who have none of their own, and what they spent counts`() {
        let limiter = RequestLimiter(limits: Self.limits(3), keysMax: 64)
        #expect(allowed(limiter, caller("a")) == 3)
        #expect(allowed(limiter, caller("own", requests: 1)) == 1)
        let held = limiter.slot(for: caller("a"), now: .zero)
        limiter.change(to: Self.limits(5))
        #expect(reserve(held) != nil && allowed(limiter, caller("a")) == 1)
        #expect(allowed(limiter, caller("own", requests: 1)) == 0)
        #expect(allowed(limiter, caller("new")) == 5)
    }

    @Test func `a caller who comes with another number has that from then on, and what they spent counts`() {
        let limiter = RequestLimiter(limits: Self.limits(10, burst: 4), keysMax: 64)
        let before = limiter.slot(for: caller("a", requests: 2), now: .zero)
        #expect(allowed(limiter, caller("a", requests: 2)) == 2)
        #expect(allowed(limiter, caller("a", requests: 3)) == 1)
        #expect(limiter.slot(for: caller("a", requests: 3), now: .zero) === before)
        #expect(allowed(limiter, caller("a")) == 1, "the burst")
        // The other limits are those in force, also for who has a number of their own.
        limiter.change(to: Self.limits(10, burst: 6))
        #expect(allowed(limiter, caller("a", requests: 20)) == 2)
    }

    @Test func `a full shard makes room of those who spend nothing, and they find a new slot`() {
        let limiter = RequestLimiter(limits: Self.limits(3), keysMax: 64)
        let first = limiter.slot(for: caller("caller-0"), now: .zero)
        for number in 0..<2_000 { _ = limiter.slot(for: caller("caller-\(number)"), now: .zero) }
        // One each, and six standard deviations more.
        #expect(limiter.count <= 64 * 7)
        #expect(reserve(first) == nil, "retired, so it is looked up again")
        #expect(allowed(limiter, caller("caller-0")) == 3)
    }

    @Test func `who finds no room shares a slot with the others, and nobody loses what they have spent`() {
        let limiter = RequestLimiter(limits: Self.limits(3), keysMax: 64)
        var total = 0
        for number in 0..<2_000 { total += allowed(limiter, caller("caller-\(number)")) }
        #expect(total == 3 * (limiter.count + 1), "the slots, and the one that is shared")
        #expect((0..<2_000).allSatisfy { allowed(limiter, caller("caller-\($0)")) == 0 })
        // Their windows are over: everybody is as good as fresh.
        let later = Moment.zero + .seconds(62)
        #expect(allowed(limiter, caller("late"), now: later) == 3)
    }

    @Test func `a request that is under way keeps its caller's slot`() throws {
        let limiter = RequestLimiter(limits: Self.limits(3), keysMax: 64)
        let slot = limiter.slot(for: caller("busy"), now: .zero)
        guard case .reserved(let reservation) = reserve(slot) else { Issue.record("refused"); return }
        let later = Moment.zero + .seconds(600)
        for number in 0..<2_000 { _ = limiter.slot(for: caller("caller-\(number)"), now: later) }
        #expect(limiter.slot(for: caller("busy"), now: later) === slot)
        slot.settle(reservation, tokens: 7, now: later)
        for number in 2_000..<4_000 { _ = limiter.slot(for: caller("caller-\(number)"), now: later) }
        #expect(limiter.slot(for: caller("busy"), now: later) !== slot)
    }

    @Test func `another process counts on from what was spent, and from nothing else`() {
        let limiter = RequestLimiter(limits: Self.limits(5), keysMax: 640)
        var generator = SplitMix64(seed: 4)
        var spent: [String: Int] = [:]
        for number in 0..<200 {
            let id = "caller-\(number)"
            let count = Int.random(in: 0...5, using: &generator)
            let slot = limiter.slot(for: caller(id), now: .zero)
            for _ in 0..<count { _ = reserve(slot) }
            spent[id] = count
        }
        let taken = limiter.spent(now: .zero)
        #expect(Set(taken.map(\.caller)) == Set(spent.filter { $0.value > 0 }.keys))
        let next = RequestLimiter(limits: Self.limits(5), keysMax: 640)
        next.inherit(taken)
        for (id, count) in spent { #expect(allowed(next, caller(id)) == 5 - count) }
    }
}
