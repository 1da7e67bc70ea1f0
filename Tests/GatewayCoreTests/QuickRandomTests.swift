import GatewayCore
import Testing

@Suite struct QuickRandomTests {
    @Test func `the numbers are those of SplitMix64`() {
        var random = QuickRandom(seed: 1_234_567)
        let first = (0..<3).map { _ in random.next() }
        #expect(first == [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423])
    }

    @Test func `numbers that are skipped are those that would have come`() {
        for seed in [0, 1, UInt64.max] {
            var random = QuickRandom(seed: seed)
            for count in 0..<100 {
                var later = QuickRandom(seed: seed, skipping: count)
                #expect(random.next() == later.next())
            }
        }
    }
}
