import GatewayCore

/// A small seeded generator, so that every random test can be run again exactly.
public struct SplitMix64: RandomNumberGenerator, Sendable {
    private var random: QuickRandom

    public init(seed: UInt64) { random = QuickRandom(seed: seed) }

    public mutating func next() -> UInt64 { random.next() }
}
