import GatewayCore
import Limiting
import TestSupport
import Testing

@Suite struct LeasedBudgetTests {
    private let window = Interval.seconds(100)

    @Test func `a lease is spent without asking, and refilled before it is used up`() {
        var budget = LeasedBudget(window: window, size: 10)
        #expect(budget.spend(now: .zero) == .ask(10))
        #expect(budget.spend(now: .zero) == .ask(nil))
        budget.granted(10, stamp: 7, askedAt: .zero)
        for _ in 0..<5 { #expect(budget.spend(now: .zero) == .allowed(refill: nil)) }
        #expect(budget.spend(now: .zero) == .allowed(refill: 10))
        #expect(budget.spend(now: .zero) == .allowed(refill: nil))
        budget.granted(10, stamp: 8, askedAt: .zero)
        #expect(budget.spend(9, now: .zero) == .allowed(refill: 10))
    }

    @Test func `a lease lasts for a hundredth of the window from when it was asked for, and its rest goes back`() {
        var budget = LeasedBudget(window: window, size: 10)
        _ = budget.spend(now: .zero)
        budget.granted(10, stamp: 42, askedAt: .zero)
        _ = budget.spend(3, now: .zero + .milliseconds(999))
        #expect(budget.takeReturn(now: .zero + .milliseconds(999)) == nil)
        #expect(budget.spend(now: .zero + .seconds(1)) == .ask(10))
        #expect(budget.takeReturn(now: .zero + .seconds(1)) == .init(amount: 7, stamp: 42))
        #expect(budget.takeReturn(now: .zero + .seconds(1)) == nil)
    }

    @Test func `a refusal is remembered, for what costs as much or more`() {
        var budget = LeasedBudget(window: window, size: 1)
        #expect(budget.spend(5, now: .zero) == .ask(5))
        budget.refused(5, retryAfter: .seconds(3), now: .zero)
        #expect(budget.spend(6, now: .zero + .seconds(1)) == .rejected(retryAfter: .seconds(2)))
        #expect(budget.spend(1, now: .zero + .seconds(1)) == .ask(1))
        budget.askFailed()
        #expect(budget.spend(5, now: .zero + .seconds(3)) == .ask(5))
    }

    @Test func `sizes are a hundredth of the limit over all holders, and at least one`() {
        #expect(LeaseRules.size(limit: 10_000, holders: 4) == 25)
        #expect(LeaseRules.size(limit: 60, holders: 3) == 1)
        #expect(LeaseRules.size(limit: 100, holders: 0) == 1)
    }

    /// The worst that lateness can do: units spent at the very end of their lease, the rest of the limit after them,
    /// and new ones the moment that the shared window forgets the first.
    @Test func `what is spent as late as it may be still counts in every window`() {
        var shared = SlidingWindow(limit: 1_000, window: LeaseRules.sharedWindow(for: window))
        var budget = LeasedBudget(window: window, size: 10)
        var admitted: [Moment] = []
        func spend(now: Moment, grantedAt: Moment) {
            switch budget.spend(now: now) {
            case .allowed:
                admitted.append(now)
                budget.askFailed()  // refills only when it must
            case .ask(let amount?):
                guard case .allowed = shared.spend(amount, now: grantedAt) else { budget.askFailed(); return }
                budget.granted(amount, stamp: grantedAt.nanoseconds, askedAt: grantedAt)
                if case .allowed = budget.spend(now: now) { admitted.append(now) }
            case .ask, .rejected: break
            }
        }
        let late = Moment.zero + .milliseconds(999)
        for _ in 0..<10 { spend(now: late, grantedAt: .zero) }
        for tick in 0..<20_000 {
            let now = Moment.zero + .milliseconds(2_000 + Int64(tick) * 10)
            spend(now: now, grantedAt: now)
        }
        for moment in admitted {
            #expect(admitted.count { $0 >= moment && $0 < moment + window } <= 1_000)
        }
        #expect(admitted.count >= 1_900)
    }

    /// Some gateways, one shared window, answers that take their time, and a client that asks everywhere.
    @Test(arguments: [(1, 1), (60, 1), (60, 3), (1_000, 2), (5_000, 5)])
    func `all gateways together never exceed the limit, and a greedy client gets it less two percent`(
        limit: Int, gateways: Int
    ) {
        struct Question {
            var gateway: Int
            var amount: Int
            var askedAt: Moment
            var due: Moment
        }
        var generator = SplitMix64(seed: UInt64(limit + gateways))
        let window = Interval.seconds(10)
        var shared = SlidingWindow(limit: limit, window: LeaseRules.sharedWindow(for: window))
        let size = LeaseRules.size(limit: limit, holders: gateways)
        var budgets = (0..<gateways).map { _ in LeasedBudget(window: window, size: size) }
        var questions: [Question] = []
        var admitted: [Moment] = []
        let step = Interval.microseconds(Int64(10_000_000 / limit / 8 + 50))
        var now = Moment.zero
        while now < .zero + .seconds(60) {
            now = now + step
            for question in questions where question.due <= now {
                switch shared.spend(question.amount, now: now) {
                case .allowed:
                    budgets[question.gateway].granted(
                        question.amount, stamp: now.nanoseconds, askedAt: question.askedAt)
                case .rejected(let wait):
                    budgets[question.gateway].refused(question.amount, retryAfter: wait, now: now)
                }
            }
            questions.removeAll { $0.due <= now }
            let gateway = Int(generator.next() % UInt64(gateways))
            while let back = budgets[gateway].takeReturn(now: now) {
                shared.refund(back.amount, at: Moment(nanoseconds: back.stamp))
            }
            var asked: Int?
            switch budgets[gateway].spend(now: now) {
            case .allowed(let refill):
                admitted.append(now)
                asked = refill
            case .ask(let amount): asked = amount
            case .rejected: break
            }
            if let asked {
                let delay = Interval.microseconds(Int64(generator.next() % 2_000) + 100)
                questions.append(Question(gateway: gateway, amount: asked, askedAt: now, due: now + delay))
            }
        }
        var first = 0
        var most = 0
        for (last, moment) in admitted.enumerated() {
            while admitted[first] <= moment - window { first += 1 }
            most = max(most, last - first + 1)
        }
        #expect(most <= limit)
        // Sixty seconds hold a little less than six windows; each may lose a question's time and a lease a gateway.
        #expect(admitted.count >= limit * 98 / 100 * 59 / 10 - 6 * gateways * size)
    }
}
