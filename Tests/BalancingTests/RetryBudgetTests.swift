import Balancing
import GatewayCore
import TestSupport
import Testing

@Suite struct RetryBudgetTests {
    @Test func `a quiet pool may retry ten times a second`() {
        var budget = RetryBudget(percent: 20, perSecond: 10)
        #expect(budget.remaining(.zero) == 100)
        for _ in 0..<100 { #expect(budget.spend(.zero) == true) }
        #expect(budget.spend(.zero + .seconds(9)) == false)
        #expect(budget.spend(.zero + .seconds(11)) == true)
    }

    @Test func `a busy pool may retry a fifth of its requests`() {
        var budget = RetryBudget(percent: 20, perSecond: 0)
        #expect(budget.spend(.zero) == false)
        for _ in 0..<1_000 { budget.requestStarted(.zero) }
        var spent = 0
        while budget.spend(.zero) { spent += 1 }
        #expect(spent == 200)
        // Requests that have left the window earn nothing any more.
        #expect(budget.remaining(.zero + .seconds(11)) == 0)
    }

    @Test(arguments: 1...10)
    func `in no ten seconds are there more retries than the budget`(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var budget = RetryBudget(percent: 20, perSecond: 2)
        var requests: [Moment] = []
        var retries: [Moment] = []
        var now = Moment(nanoseconds: Int64(generator.next() % 1_000_000_000_000))
        for _ in 0..<8_000 {
            let burst = generator.next() % 50 == 0
            now = now + .microseconds(Int64(generator.next() % (burst ? 9_000_000 : 20_000)))
            if generator.next() % 3 > 0 {
                budget.requestStarted(now)
                requests.append(now)
            } else if budget.spend(now) {
                retries.append(now)
                let recentRequests = requests.reversed().prefix { $0 > now - .seconds(10) }.count
                let recentRetries = retries.reversed().prefix { $0 > now - .seconds(10) }.count
                #expect(recentRetries <= recentRequests / 5 + 20)
            }
        }
        #expect(retries.count > 100)
    }
}
