import GatewayCore
import Limiting
import TestSupport
import Testing

@Suite struct SlidingWindowTests {
    @Test func `a fresh key may spend its whole limit at once`() {
        var window = SlidingWindow(limit: 3, window: .seconds(60))
        for remaining in [2, 1, 0] {
            #expect(window.spend(now: .zero).remaining == remaining)
        }
        guard case .rejected(let wait) = window.spend(now: .zero) else { Issue.record("spent four of three"); return }
        #expect(window.spend(now: .zero + wait - .nanoseconds(1)).isRejected == true)
        #expect(window.spend(now: .zero + wait).remaining == 2)
    }

    @Test func `the wait that a rejection names is exact`() {
        var generator = SplitMix64(seed: 11)
        for round in 0..<200 {
            var window = SlidingWindow(limit: 20, window: .seconds(10))
            var now = Moment(nanoseconds: Int64(generator.next() % 1_000_000_000_000))
            for _ in 0..<40 {
                now = now + .milliseconds(Int64(generator.next() % 900))
                let cost = Int(generator.next() % 8) + 1
                guard case .rejected(let wait) = window.spend(cost, now: now) else { continue }
                var early = window
                var late = window
                #expect(early.spend(cost, now: now + wait - .nanoseconds(1)).isRejected == true, "round \(round)")
                #expect(late.spend(cost, now: now + wait).isRejected == false, "round \(round)")
                // Asked again, it remembers the answer.
                let again = window.spend(cost, now: now + .nanoseconds(1))
                #expect(!again.isRejected || again == .rejected(retryAfter: wait - .nanoseconds(1)))
            }
        }
    }

    @Test func `the example of the page on limits is right`() {
        var window = SlidingWindow(limit: 4, window: .seconds(128))
        func at(_ milliseconds: Int64) -> Moment { .zero + .milliseconds(milliseconds) }
        #expect(window.spend(1, now: at(500)) == .allowed(remaining: 3, reset: .milliseconds(128_500)))
        #expect(window.spend(2, now: at(900)).remaining == 1)
        #expect(window.spend(1, now: at(60_200)) == .allowed(remaining: 0, reset: .milliseconds(128_800)))
        #expect(window.spend(1, now: at(100_000)) == .rejected(retryAfter: .seconds(29)))
        #expect(window.spend(1, now: at(128_700)) == .rejected(retryAfter: .milliseconds(300)))
        #expect(window.spend(1, now: at(129_000)).remaining == 2)
    }

    @Test func `reset is when the window is empty`() {
        var window = SlidingWindow(limit: 10, window: .seconds(128))
        #expect(window.peek(now: .zero) == .init(limit: 10, remaining: 10, reset: .zero))
        let decision = window.spend(4, now: .zero + .milliseconds(2_500))
        #expect(decision == .allowed(remaining: 6, reset: .milliseconds(128_500)))
        #expect(window.peek(now: .zero + .milliseconds(131_000) - .nanoseconds(1)).remaining == 6)
        #expect(window.peek(now: .zero + .milliseconds(131_000)) == .init(limit: 10, remaining: 10, reset: .zero))
    }

    @Test func `a cost above the limit never fits and costs nothing`() {
        var window = SlidingWindow(limit: 10, window: .seconds(60))
        #expect(window.spend(11, now: .zero).isRejected == true)
        #expect(window.peek(now: .zero).remaining == 10)
    }

    @Test func `what was reserved and not used comes back, also in a later slot`() {
        var window = SlidingWindow(limit: 1_000, window: .seconds(128))
        _ = window.spend(600, now: .zero)
        window.refund(500, at: .zero)
        #expect(window.peek(now: .zero).remaining == 900)
        _ = window.spend(900, now: .zero + .seconds(5))
        window.refund(50, at: .zero)
        #expect(window.peek(now: .zero + .seconds(5)).remaining == 50)
        // No more than was spent there.
        window.refund(800, at: .zero)
        #expect(window.peek(now: .zero + .seconds(5)).remaining == 100)
        // Nothing once it has left the window.
        window.refund(900, at: .zero + .seconds(5))
        _ = window.spend(300, now: .zero + .seconds(100))
        let later = Moment.zero + .seconds(135)
        #expect(window.peek(now: later).remaining == 700)
        window.refund(900, at: .zero + .seconds(5))
        #expect(window.peek(now: later).remaining == 700)
    }

    @Test func `a charge beyond the limit is held against the key until it leaves`() {
        for limit in [200, 50_000, 3_000_000_000] {
            var window = SlidingWindow(limit: limit, window: .seconds(128))
            _ = window.spend(limit, now: .zero)
            window.charge(limit * 2, now: .zero + .seconds(3))
            #expect(window.peek(now: .zero + .seconds(3)).remaining == 0)
            // What was spent has left, what was charged has not.
            #expect(window.spend(now: .zero + .seconds(130)).isRejected == true)
            #expect(window.peek(now: .zero + .seconds(132)).remaining == limit)
        }
    }

    @Test func `a new limit keeps what was spent, a new window starts empty`() {
        for (old, new) in [(100, 300), (300, 100), (300, 100_000), (100_000, 200)] {
            var window = SlidingWindow(limit: old, window: .seconds(128))
            _ = window.spend(60, now: .zero)
            _ = window.spend(30, now: .zero + .seconds(7))
            var changed = window.changed(limit: new, window: .seconds(128))
            #expect(changed.peek(now: .zero + .seconds(8)).remaining == new - 90)
            #expect(changed.peek(now: .zero + .seconds(130)).remaining == new - 30)
            var other = window.changed(limit: new, window: .seconds(64))
            #expect(other.peek(now: .zero + .seconds(8)).remaining == new)
        }
    }

    /// The window against a list of everything that was admitted.
    @Test(arguments: [1, 2, 7, 60, 255, 256, 1_000, 70_000])
    func `no sliding window holds more than the limit, and a greedy client gets all but two percent`(limit: Int) {
        var generator = SplitMix64(seed: UInt64(limit))
        var window = SlidingWindow(limit: limit, window: .seconds(10))
        var admitted: [(at: Moment, cost: Int)] = []
        var now = Moment(nanoseconds: Int64(generator.next() % 20_000_000_000))
        let start = now
        let costMax = max(1, limit / 50)
        let step = max(1, 20_000_000_000 / Int64(limit) * Int64(costMax) / 4)
        while now < start + .seconds(100) {
            let cost = costMax == 1 ? 1 : Int(generator.next() % UInt64(costMax)) + 1
            if !window.spend(cost, now: now).isRejected { admitted.append((now, cost)) }
            now = now + .nanoseconds(Int64(generator.next() % UInt64(step)) + 1)
        }
        var first = 0
        var sum = 0
        for (time, cost) in admitted {
            sum += cost
            while admitted[first].at <= time - .seconds(10) {
                sum -= admitted[first].cost
                first += 1
            }
            #expect(sum <= limit)
        }
        let total = admitted.reduce(0) { $0 + $1.cost }
        // A client that asks in steps loses up to one step a window, besides the slot's share.
        let lostPerWindow = Double(limit) * 0.02 + Double(limit) * Double(step) / 1e10 + Double(costMax)
        #expect(Double(total) >= (Double(limit) - lostPerWindow) * 10)
    }

    @Test func `a window that goes on elsewhere counts what was spent in both, each part until it leaves`() {
        var before = SlidingWindow(limit: 10, window: .seconds(128))
        for second in [0, 1, 1, 40, 90] { _ = before.spend(now: .zero + .seconds(Int64(second))) }
        let now = Moment.zero + .seconds(100)
        let spendings = before.spendings(now: now)
        #expect(spendings.map(\.cost) == [1, 2, 1, 1])
        var after = SlidingWindow(limit: 10, window: .seconds(128))
        _ = after.spend(2, now: now)
        after.absorb(spendings, now: now)
        #expect(after.peek(now: now).remaining == 3)
        #expect(after.spendings(now: now).map(\.cost) == [1, 2, 1, 1, 2])
        #expect(after.peek(now: .zero + .seconds(131)).remaining == 6)
        #expect(after.peek(now: .zero + .seconds(240)).remaining == 10)
    }

    @Test func `spending that goes on under a smaller limit leaves nothing, and never less`() {
        var before = SlidingWindow(limit: 1_000, window: .seconds(128))
        _ = before.spend(900, now: .zero)
        var after = SlidingWindow(limit: 100, window: .seconds(64))
        after.absorb(before.spendings(now: .zero), now: .zero)
        #expect(after.spend(now: .zero).isRejected)
        #expect(after.peek(now: .zero).remaining == 0)
        #expect(!after.spend(now: .zero + .seconds(65)).isRejected)
    }

    /// The window keeps only the slots in which something was spent; the model keeps all of them.
    @Test(arguments: [1, 3, 100, 70_000, SlidingWindow.limitMax])
    func `whatever is asked of it, it answers as a plain list of 129 slots would`(limit: Int) {
        var generator = SplitMix64(seed: UInt64(limit))
        func random(below bound: Int) -> Int { Int(generator.next() % UInt64(max(1, bound))) }
        for pauseSlots in [1, 3, 40, 200] {
            let slotLength: Int64 = 1_000
            var window = SlidingWindow(limit: limit, window: .nanoseconds(slotLength * 128))
            var model = PlainWindow(limit: limit, slotLength: slotLength)
            var spendings: [(cost: Int, at: Moment)] = []
            var now = Moment.zero
            for _ in 0..<4_000 {
                now = now + .nanoseconds(Int64(random(below: pauseSlots * Int(slotLength))))
                model.advance(to: now)
                let cost = random(below: limit / 8) + 1
                switch random(below: 8) {
                case 0:
                    window.charge(cost, now: now)
                    model.spend(cost)
                case 1, 2:
                    guard let spent = spendings.randomElement(using: &generator) else { break }
                    let back = random(below: spent.cost + 1)
                    window.refund(back, at: spent.at)
                    model.refund(back, at: spent.at)
                default:
                    let fits = model.total + cost <= limit
                    #expect(window.wait(for: cost, now: now) == model.wait(for: cost, now: now))
                    #expect(window.spend(cost, now: now).isRejected == !fits)
                    if fits {
                        model.spend(cost)
                        spendings.append((cost, now))
                        if spendings.count > 200 { spendings.removeFirst(100) }
                    }
                }
                let standing = window.peek(now: now)
                #expect(standing.remaining == max(0, limit - model.total))
                #expect((standing.reset == .zero) == (model.total == 0))
                #expect(window.spendings(now: now).map(\.cost) == model.spent.filter { $0 > 0 })
            }
        }
    }

    @Test func `a client that hammers gets at least its limit less two percent in the long run`() {
        for limit in [100, 1_000] {
            var window = SlidingWindow(limit: limit, window: .seconds(1))
            var admitted = 0
            for tick in 0..<1_000_000 where !window.spend(now: .zero + .microseconds(Int64(tick) * 100)).isRejected {
                admitted += 1
            }
            #expect(admitted >= limit * 98)
            #expect(admitted <= limit * 101)
        }
    }
}

/// All 129 slots, oldest first: what ``SlidingWindow`` means, without what makes it small.
private struct PlainWindow {
    let limit: Int
    let slotLength: Int64
    var spent = [Int](repeating: 0, count: 129)
    var newest: Int64 = 0

    var total: Int { spent.reduce(0, +) }

    mutating func advance(to now: Moment) {
        while now.nanoseconds >= (newest + 1) * slotLength {
            spent.removeFirst()
            spent.append(0)
            newest += 1
        }
    }

    mutating func spend(_ cost: Int) { spent[128] = min(spent[128] + cost, Int(UInt32.max)) }

    mutating func refund(_ cost: Int, at moment: Moment) {
        let place = 128 - Int(newest - moment.nanoseconds / slotLength)
        if spent.indices.contains(place) { spent[place] -= min(cost, spent[place]) }
    }

    func wait(for cost: Int, now: Moment) -> Interval {
        for left in 0...129 where spent[left...].reduce(0, +) + cost <= limit {
            return left == 0 ? .zero : .nanoseconds((newest + Int64(left)) * slotLength - now.nanoseconds)
        }
        return .zero
    }
}

extension SlidingWindow.Decision {
    var isRejected: Bool { remaining == nil }
    var remaining: Int? { if case .allowed(let remaining, _) = self { remaining } else { nil } }
}
