import GatewayCore
import Glibc

/// Picks tokens from logits.
///
/// The randomness of a pick depends on the seed and on the token's place in the conversation and on nothing else. So an
/// answer that is resumed from its token ids with the same seed goes on as it would have gone on.
package struct TokenSampler {
    private let temperature: Float
    private let topP: Float
    package let seed: UInt64

    /// - Precondition: `temperature >= 0` and `0 < topP <= 1`.
    package init(_ sampling: Sampling) {
        precondition(sampling.temperature >= 0 && sampling.topP > 0 && sampling.topP <= 1)
        temperature = sampling.temperature
        topP = sampling.topP
        seed = sampling.seed ?? UInt64.random(in: .min ... .max)
    }

    /// The token at `position` of the conversation. O(n), with `topP` below 1 also a sort of the likely ones.
    ///
    /// - Precondition: `logits` is not empty.
    package func pick(from logits: Span<Float>, position: Int) -> Int32 {
        var likeliest = 0
        for index in logits.indices where logits[index] > logits[likeliest] { likeliest = index }
        // Below this, dividing by the temperature leaves nothing but the likeliest token anyway.
        guard temperature >= 1e-4 else { return Int32(likeliest) }

        let top = logits[likeliest]
        var weights = [Float](repeating: 0, count: logits.count)
        var total: Double = 0
        for index in logits.indices {
            let weight = expf((logits[index] - top) / temperature)
            weights[index] = weight
            total += Double(weight)
        }
        // A model that computes nonsense (NaN) must not take the process along.
        guard total.isFinite else { return Int32(likeliest) }
        let share = uniform(position)
        return topP < 1 ? pickNucleus(weights, total, share) : pickAny(weights, share * total)
    }

    private func pickAny(_ weights: [Float], _ target: Double) -> Int32 {
        var sum: Double = 0
        var last = 0
        for index in weights.indices where weights[index] > 0 {
            sum += Double(weights[index])
            last = index
            if sum > target { break }
        }
        return Int32(last)
    }

    private func pickNucleus(_ weights: [Float], _ total: Double, _ share: Double) -> Int32 {
        // Tokens rarer than this can't be in the nucleus: together they hold less than what it leaves out.
        let rare = Float(total * Double(1 - topP) / Double(weights.count))
        let likely = weights.indices.filter { weights[$0] >= rare }
            .sorted { (weights[$0], -$0) > (weights[$1], -$1) }
        var nucleus: Double = 0
        var count = 0
        for index in likely {
            nucleus += Double(weights[index])
            count += 1
            if nucleus >= Double(topP) * total { break }
        }
        var sum: Double = 0
        for index in likely[..<count] {
            sum += Double(weights[index])
            if sum > share * nucleus { return Int32(index) }
        }
        return Int32(likely[count - 1])
    }

    /// A number from 0 up to 1: the one at this position of those that belong to the seed.
    private func uniform(_ position: Int) -> Double {
        var random = QuickRandom(seed: seed, skipping: position)
        return Double(random.next() >> 11) * 0x1p-53
    }
}
