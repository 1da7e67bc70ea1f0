/// Which replica is next: the one with the fewest requests in flight for its weight, by our own counts.
///
/// Equals take turns. Above 64 replicas, eight are drawn and the best of them is taken (the load of the fullest replica
/// is then within a request or two of a full search), so that a pick doesn't grow with the pool.
///
/// - Source: Mitzenmacher: "The Power of Two Choices in Randomized Load Balancing" (2001).
package struct LeastInFlight: Sendable {
    private static let searchMax = 64
    private static let draws = 8

    private var weights: [Int]
    /// Where the next search begins, so that equals take turns.
    private var next: Int
    private var state: UInt64

    /// - Parameter weights: one per replica; zero is never picked.
    package init(weights: [Int], startingAt offset: Int = 0) {
        self.weights = weights
        next = weights.isEmpty ? 0 : offset % weights.count
        state = UInt64(truncatingIfNeeded: offset) &+ 1
    }

    package mutating func replaceWeights(_ weights: [Int]) {
        self.weights = weights
        if next >= weights.count { next = 0 }
    }

    /// `nil` if no replica is eligible, and then each has been asked about.
    package mutating func pick(inFlight: (Int) -> Int, _ isEligible: (Int) -> Bool) -> Int? {
        guard !weights.isEmpty else { return nil }
        if weights.count > Self.searchMax {
            var best: Int?
            for _ in 0..<Self.draws {
                let index = draw()
                if weights[index] > 0, isEligible(index) { best = better(best, index, inFlight) }
            }
            if let best { return best }
        }
        var best: Int?
        for step in 0..<weights.count {
            let index = (next + step) % weights.count
            if weights[index] > 0, isEligible(index) { best = better(best, index, inFlight) }
        }
        if let best { next = (best + 1) % weights.count }
        return best
    }

    /// Compares (in flight + 1) / weight without dividing; the first of equals stays.
    private func better(_ best: Int?, _ candidate: Int, _ inFlight: (Int) -> Int) -> Int {
        guard let best else { return candidate }
        return (inFlight(candidate) + 1) * weights[best] < (inFlight(best) + 1) * weights[candidate] ? candidate : best
    }

    /// A multiplicative congruential generator; its upper bits are random enough to spread load.
    private mutating func draw() -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(truncatingIfNeeded: (state >> 33) % UInt64(weights.count))
    }
}
