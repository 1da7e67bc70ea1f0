import Balancing
import TestSupport
import Testing

@Suite struct LeastInFlightTests {
    @Test func `the replica with the fewest requests for its weight is next`() {
        var balancer = LeastInFlight(weights: [1, 1, 4])
        let inFlight = [1, 2, 5]
        #expect(balancer.pick(inFlight: { inFlight[$0] }, { _ in true }) == 2)
        #expect(balancer.pick(inFlight: { inFlight[$0] }, { $0 != 2 }) == 0)
        #expect(balancer.pick(inFlight: { inFlight[$0] }, { _ in false }) == nil)
    }

    @Test func `equals take turns, and a weight of zero is never picked`() {
        var balancer = LeastInFlight(weights: [1, 1, 0, 1])
        let picks = (0..<6).map { _ in balancer.pick(inFlight: { _ in 0 }, { _ in true }) }
        #expect(picks == [0, 1, 3, 0, 1, 3])
    }

    @Test(arguments: [3, 64, 65, 500])
    func `load stays even while requests come and go`(count: Int) {
        var generator = SplitMix64(seed: 5)
        var balancer = LeastInFlight(weights: Array(repeating: 1, count: count))
        var inFlight = Array(repeating: 0, count: count)
        var running: [Int] = []
        for _ in 0..<(count * 40) {
            if running.count >= count * 8 {
                let ended = Int(generator.next() % UInt64(running.count))
                running.swapAt(ended, running.count - 1)
                inFlight[running.removeLast()] -= 1
            }
            guard let picked = balancer.pick(inFlight: { inFlight[$0] }, { _ in true }) else {
                Issue.record("nobody"); return
            }
            inFlight[picked] += 1
            running.append(picked)
        }
        #expect((inFlight.max() ?? 0) <= 8 + 4)
    }

    @Test func `the only eligible one of many is found`() {
        var balancer = LeastInFlight(weights: Array(repeating: 1, count: 900))
        for wanted in [0, 450, 899] {
            #expect(balancer.pick(inFlight: { _ in 0 }, { $0 == wanted }) == wanted)
        }
    }
}
