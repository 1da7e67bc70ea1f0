import Engine
import Testing

@Suite struct TokenSamplerTests {
    /// Probabilities 0.5, 0.3, 0.15 and 0.05.
    private let logits: [Float] = [-0.693147, -1.203973, -1.897120, -2.995732]

    private func share(of token: Int32, _ sampling: Sampling) -> Double {
        let sampler = TokenSampler(sampling)
        let hits = (0..<20_000).count { sampler.pick(from: logits.span, position: $0) == token }
        return Double(hits) / 20_000
    }

    @Test func `temperature 0 takes the likeliest token, and the first of equal ones`() {
        let sampler = TokenSampler(Sampling(temperature: 0))
        #expect(sampler.pick(from: [1, 3, 3, 2].span, position: 0) == 1)
    }

    @Test func `temperature 1 samples from the model's own distribution`() {
        let sampling = Sampling(seed: 11)
        #expect(abs(share(of: 0, sampling) - 0.5) < 0.02)
        #expect(abs(share(of: 3, sampling) - 0.05) < 0.01)
    }

    @Test func `a low temperature sharpens it`() {
        // 0.5² / (0.5² + 0.3² + 0.15² + 0.05²)
        #expect(abs(share(of: 0, Sampling(temperature: 0.5, seed: 11)) - 0.685) < 0.02)
    }

    @Test func `top_p leaves out the tokens beyond the nucleus`() {
        let sampling = Sampling(topP: 0.7, seed: 11)
        #expect(share(of: 2, sampling) == 0)
        #expect(share(of: 3, sampling) == 0)
        #expect(abs(share(of: 0, sampling) - 0.625) < 0.02)
    }

    @Test func `a pick depends on seed and position only`() {
        let first = TokenSampler(Sampling(seed: 5))
        let second = TokenSampler(Sampling(seed: 5))
        let other = TokenSampler(Sampling(seed: 6))
        func picks(_ sampler: TokenSampler, _ positions: [Int]) -> [Int32] {
            positions.map { sampler.pick(from: logits.span, position: $0) }
        }
        let positions = Array(0..<200)
        #expect(picks(first, positions) == picks(second, positions.reversed()).reversed())
        #expect(picks(first, positions) != picks(other, positions))
    }
}
