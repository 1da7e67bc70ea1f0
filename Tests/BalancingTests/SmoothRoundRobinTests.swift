import Balancing
import TestSupport
import Testing

/// nginx's algorithm as its comment states it, replica by replica.
private struct NginxReference {
    var weights: [Int]
    var current: [Int]

    init(_ weights: [Int]) {
        self.weights = weights
        current = weights.map { _ in 0 }
    }

    mutating func pick(_ isEligible: (Int) -> Bool = { _ in true }) -> Int? {
        var best: Int?
        var total = 0
        for index in weights.indices where weights[index] > 0 && isEligible(index) {
            current[index] += weights[index]
            total += weights[index]
            if best.map({ current[index] > current[$0] }) ?? true { best = index }
        }
        if let best { current[best] -= total }
        return best
    }
}

@Suite struct SmoothRoundRobinTests {
    private func letters(_ weights: [Int], picks: Int, where isEligible: (Int) -> Bool = { _ in true }) -> String {
        var balancer = SmoothRoundRobin(weights: weights)
        return (0..<picks).map { _ in balancer.pick(isEligible).map { "abcdefgh".map(String.init)[$0] } ?? "-" }
            .joined()
    }

    @Test func `the sequences are nginx's`() {
        #expect(letters([5, 1, 1], picks: 14) == "aabacaaaabacaa")
        #expect(letters([1, 1, 1], picks: 6) == "abcabc")
        #expect(letters([5, 3, 1], picks: 9) == "abacababa")
        #expect(letters([2, 0, 1], picks: 6) == "acaaca")
    }

    @Test func `weights that share a factor give the same sequence`() {
        #expect(letters([80, 48, 16], picks: 18) == letters([5, 3, 1], picks: 18))
    }

    @Test func `nobody to pick is nil, and everybody was asked`() {
        for count in [3, 100] {
            var balancer = SmoothRoundRobin(weights: Array(repeating: 2, count: count))
            var asked = Set<Int>()
            let picked = balancer.pick {
                asked.insert($0)
                return false
            }
            #expect(picked == nil)
            #expect(asked.count == count)
        }
        var none = SmoothRoundRobin(weights: [])
        #expect(none.pick() == nil)
        var zero = SmoothRoundRobin(weights: [0, 0])
        #expect(zero.pick() == nil)
    }

    @Test func `loops that start together begin at different replicas`() {
        var firsts = Set<Int>()
        for loop in 0..<3 {
            var balancer = SmoothRoundRobin(weights: [1, 1, 1], startingAt: loop)
            firsts.insert(balancer.pick() ?? -1)
        }
        #expect(firsts == [0, 1, 2])
    }

    @Test(arguments: [1, 2, 3, 8, 32, 33, 64, 200, 1_000])
    func `any number of replicas follows nginx's sequence exactly`(count: Int) {
        var generator = SplitMix64(seed: UInt64(count))
        for weightMax in [1, 2, 10, 200] {
            let weights = (0..<count).map { _ in Int(generator.next() % UInt64(weightMax)) + 1 }
            var balancer = SmoothRoundRobin(weights: weights)
            var reference = NginxReference(weights)
            let picks = min(2 * weights.reduce(0, +), 4_000)
            var differences = 0
            for _ in 0..<picks where balancer.pick() != reference.pick() { differences += 1 }
            #expect(differences == 0, "weights up to \(weightMax)")
        }
    }

    @Test func `a small pool follows nginx also while replicas come and go`() {
        var generator = SplitMix64(seed: 3)
        for _ in 0..<50 {
            let weights = (0..<(Int(generator.next() % 12) + 1)).map { _ in Int(generator.next() % 9) + 1 }
            var balancer = SmoothRoundRobin(weights: weights)
            var reference = NginxReference(weights)
            for _ in 0..<400 {
                let mask = generator.next() | generator.next()
                #expect(balancer.pick { mask >> $0 & 1 == 1 } == reference.pick { mask >> $0 & 1 == 1 })
            }
        }
    }

    @Test(arguments: [1, 3, 16, 17, 200])
    func `a turn taken at once is the one that a pick gives while everybody is eligible`(count: Int) {
        var generator = SplitMix64(seed: UInt64(count))
        for _ in 0..<20 {
            var weights = (0..<count).map { _ in Int(generator.next() % 4) }
            weights[count - 1] = 1
            var turns = SmoothRoundRobin(weights: weights)
            var picks = turns
            for _ in 0..<300 {
                // Which of them is used may change at any time.
                if generator.next() % 3 == 0 { swap(&turns, &picks) }
                #expect(turns.takeTurn() == picks.pick())
            }
        }
        var nobody = SmoothRoundRobin(weights: [0, 0])
        #expect(nobody.takeTurn() == nil)
    }

    @Test func `a turn that is given back was never taken`() {
        var generator = SplitMix64(seed: 5)
        for _ in 0..<50 {
            let weights = (0..<(Int(generator.next() % 16) + 1)).map { _ in Int(generator.next() % 5) + 1 }
            var balancer = SmoothRoundRobin(weights: weights)
            var untouched = balancer
            for _ in 0..<100 {
                if let turn = balancer.takeTurn() { balancer.giveBack(turn) }
                let mask = generator.next() | generator.next()
                #expect(balancer.pick { mask >> $0 & 1 == 1 } == untouched.pick { mask >> $0 & 1 == 1 })
            }
        }
    }

    /// What the picker does: whose turn it is is asked first, and all only if that one can't.
    @Test(arguments: [3, 16])
    func `while some are out the others share their turns, and whoever returns has one turn more at most`(count: Int) {
        var generator = SplitMix64(seed: UInt64(count))
        for _ in 0..<20 {
            let weights = (0..<count).map { _ in Int(generator.next() % 5) + 1 }
            let out = Int(generator.next() % UInt64(count))
            var balancer = SmoothRoundRobin(weights: weights)
            func picks(_ picks: Int, without out: Int?) -> [Int] {
                var found = Array(repeating: 0, count: count)
                for _ in 0..<picks {
                    guard let turn = balancer.takeTurn() else { continue }
                    guard turn == out else {
                        found[turn] += 1
                        continue
                    }
                    balancer.giveBack(turn)
                    found[balancer.pick { $0 != out } ?? 0] += 1
                }
                return found
            }
            let cycle = weights.reduce(0, +) - weights[out]
            _ = picks(3 * cycle, without: out)
            let during = picks(10 * cycle, without: out)
            for index in weights.indices where index != out { #expect(abs(during[index] - 10 * weights[index]) <= 1) }
            let after = picks(10 * (cycle + weights[out]), without: nil)
            for index in weights.indices { #expect(abs(after[index] - 10 * weights[index]) <= 2) }
        }
    }

    @Test(arguments: [5, 40, 300])
    func `in every cycle each eligible replica gets its weight, give or take one`(count: Int) {
        var generator = SplitMix64(seed: UInt64(count))
        for _ in 0..<5 {
            let weights = (0..<count).map { _ in Int(generator.next() % 5) + 1 }
            let isOut = weights.indices.map { _ in generator.next() % 4 == 0 }
            var balancer = SmoothRoundRobin(weights: weights)
            let cycle = weights.indices.reduce(0) { $0 + (isOut[$1] ? 0 : weights[$1]) }
            for _ in 0..<3 {
                var picks = Array(repeating: 0, count: count)
                for _ in 0..<cycle { picks[balancer.pick { !isOut[$0] } ?? 0] += 1 }
                for index in weights.indices {
                    let wanted = isOut[index] ? 0 : weights[index]
                    #expect(abs(picks[index] - wanted) <= 1)
                }
            }
        }
    }

    @Test func `a heavy replica that is full for long doesn't stop a large pool, nor is it flooded when it returns`() {
        var weights = Array(repeating: 1, count: 100)
        weights[0] = 10_000
        var balancer = SmoothRoundRobin(weights: weights)
        var picks = Array(repeating: 0, count: 100)
        for _ in 0..<990 { picks[balancer.pick { $0 != 0 } ?? 0] += 1 }
        #expect(picks[0] == 0)
        #expect(picks[1...].allSatisfy { abs($0 - 10) <= 1 })
        weights[0] = 1
        balancer.replaceWeights(weights)
        picks = Array(repeating: 0, count: 100)
        for _ in 0..<100 { picks[balancer.pick() ?? 0] += 1 }
        #expect(picks.allSatisfy { $0 <= 3 })
    }

    /// A ramp, picks between its steps, and at no time more than a fair share of picks in a row.
    @Test(arguments: [4, 100])
    func `new weights neither flood nor starve a replica`(count: Int) {
        let full = Array(repeating: 16, count: count)
        var balancer = SmoothRoundRobin(weights: full)
        var picks = Array(repeating: 0.0, count: count)
        var expected = Array(repeating: 0.0, count: count)
        for share in 1...16 {
            var weights = full
            weights[0] = share
            balancer.replaceWeights(weights)
            let total = Double(weights.reduce(0, +))
            for _ in 0..<(count * 3 + share) {
                let picked = balancer.pick() ?? 0
                picks[picked] += 1
                for index in weights.indices { expected[index] += Double(weights[index]) / total }
                #expect(abs(picks[picked] - expected[picked]) < 3)
            }
        }
        for index in 0..<count { #expect(abs(picks[index] - expected[index]) < 3) }
    }

    @Test func `weights that change before every pick keep the shares`() {
        var balancer = SmoothRoundRobin(weights: [4, 4, 8])
        var picks = [0, 0, 0]
        for round in 0..<1_600 {
            balancer.replaceWeights(round % 2 == 0 ? [1, 1, 2] : [16, 16, 32])
            picks[balancer.pick() ?? 0] += 1
        }
        #expect(abs(picks[0] - 400) <= 2 && abs(picks[1] - 400) <= 2 && abs(picks[2] - 800) <= 2)
    }

    @Test func `another number of replicas starts afresh`() {
        var balancer = SmoothRoundRobin(weights: [5, 1, 1])
        for _ in 0..<3 { _ = balancer.pick() }
        balancer.replaceWeights([1, 1])
        #expect([balancer.pick(), balancer.pick(), balancer.pick()] == [0, 1, 0])
    }
}
