import GatewayCore
import Limiting
import TestSupport
import Testing

@Suite struct KeyBudgetTests {
    private let limits = KeyLimits(
        requests: .init(10, per: .seconds(60)), burst: .init(3, per: .seconds(1)),
        tokens: .init(1_000, per: .seconds(60)), inFlight: 2)

    private func reserved(_ budget: inout KeyBudget, tokens: Int, at now: Moment) -> KeyBudget.Reservation? {
        if case .reserved(let reservation) = budget.reserve(tokens: tokens, now: now) { reservation } else { nil }
    }

    @Test func `a key without limits is never refused`() {
        var budget = KeyBudget(limits: .unlimited)
        for _ in 0..<1_000 where reserved(&budget, tokens: 1_000_000, at: .zero) == nil { Issue.record("refused") }
        #expect(budget.standing(now: .zero) == .init(requests: nil, tokens: nil))
    }

    @Test func `a refusal spends nothing of any part`() {
        var budget = KeyBudget(limits: limits)
        let before = budget.standing(now: .zero)
        guard case .refused(.tokens, _) = budget.reserve(tokens: 1_001, now: .zero) else {
            Issue.record("more tokens than the limit"); return
        }
        #expect(budget.standing(now: .zero) == before)
        #expect(budget.inFlight == 0)
        #expect(budget.isUnused(now: .zero) == true)
    }

    @Test func `each part refuses by its own name`() throws {
        var budget = KeyBudget(limits: limits)
        let first = try #require(reserved(&budget, tokens: 100, at: .zero))
        let second = try #require(reserved(&budget, tokens: 100, at: .zero))
        #expect(budget.reserve(tokens: 1, now: .zero) == .refused(.concurrency, retryAfter: .seconds(1)))
        budget.settle(first, tokensUsed: 100, now: .zero)
        let third = try #require(reserved(&budget, tokens: 100, at: .zero))
        budget.settle(second, tokensUsed: 100, now: .zero)
        guard case .refused(.requests, let wait) = budget.reserve(tokens: 1, now: .zero) else {
            Issue.record("four in a burst of three"); return
        }
        #expect(wait > .zero && wait <= .milliseconds(1_008))
        budget.settle(third, tokensUsed: 100, now: .zero)
        guard case .refused(.tokens, _) = budget.reserve(tokens: 701, now: .zero + .seconds(2)) else {
            Issue.record("more tokens than are left"); return
        }
    }

    @Test func `settling gives back what was not used and charges what was used on top`() throws {
        var budget = KeyBudget(limits: limits)
        let now = Moment.zero + .seconds(5)
        let short = try #require(reserved(&budget, tokens: 400, at: now))
        budget.settle(short, tokensUsed: 30, now: now + .seconds(8))
        #expect(budget.standing(now: now + .seconds(8)).tokens?.remaining == 970)
        let long = try #require(reserved(&budget, tokens: 400, at: now + .seconds(8)))
        budget.settle(long, tokensUsed: 600, now: now + .seconds(9))
        #expect(budget.standing(now: now + .seconds(9)).tokens?.remaining == 370)
        #expect(budget.inFlight == 0)
    }

    @Test func `a clock that is behind spends in the newest slots, and what is given back is found there`() throws {
        var budget = KeyBudget(limits: limits)
        let now = Moment.zero + .seconds(50)
        let first = try #require(reserved(&budget, tokens: 100, at: now))
        budget.settle(first, tokensUsed: 100, now: now)
        let behind = now - .seconds(2)
        let second = try #require(reserved(&budget, tokens: 400, at: behind))
        #expect(budget.standing(now: behind).requests?.remaining == 8)
        budget.giveBack(second)
        #expect(budget.standing(now: behind).requests?.remaining == 9)
        #expect(budget.standing(now: behind).tokens?.remaining == 900)
    }

    @Test func `a request that no replica saw costs nothing`() throws {
        var budget = KeyBudget(limits: limits)
        let reservation = try #require(reserved(&budget, tokens: 400, at: .zero))
        #expect(budget.isUnused(now: .zero) == false)
        budget.giveBack(reservation)
        #expect(budget.isUnused(now: .zero) == true)
    }

    @Test func `new limits hold at once and forget nothing`() throws {
        var budget = KeyBudget(limits: limits)
        _ = try #require(reserved(&budget, tokens: 400, at: .zero))
        var smaller = limits
        smaller.tokens = .init(500, per: .seconds(60))
        smaller.inFlight = nil
        budget.change(to: smaller)
        #expect(budget.inFlight == 1)
        #expect(budget.standing(now: .zero).tokens?.remaining == 100)
        guard case .refused(.tokens, _) = budget.reserve(tokens: 101, now: .zero) else {
            Issue.record("spent beyond the new limit"); return
        }
    }

    /// Random reservations, settlements and refunds against a plain ledger of what is in the window.
    @Test(arguments: 1...8)
    func `no part is ever overspent, and every slot is freed`(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var budget = KeyBudget(limits: limits)
        var running: [KeyBudget.Reservation] = []
        var requestTimes: [Moment] = []
        var now = Moment.zero
        for _ in 0..<5_000 {
            now = now + .milliseconds(Int64(generator.next() % 2_000))
            if !running.isEmpty, generator.next() % 2 == 0 {
                let ended = running.remove(at: Int(generator.next() % UInt64(running.count)))
                budget.settle(ended, tokensUsed: Int(generator.next() % 300), now: now)
            } else if let reservation = reserved(&budget, tokens: Int(generator.next() % 250), at: now) {
                running.append(reservation)
                requestTimes.append(now)
            }
            #expect(budget.inFlight == running.count)
            #expect(running.count <= 2)
            #expect(requestTimes.reversed().prefix { $0 > now - .seconds(60) }.count <= 10)
            #expect(requestTimes.reversed().prefix { $0 > now - .seconds(1) }.count <= 3)
        }
        #expect(requestTimes.count > 500)
    }
}
