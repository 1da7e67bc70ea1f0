/// Numbers that look like random ones, a nanosecond each: for ids, jitter and sampling. Whoever has seen one can tell
/// the next, so never for secrets.
///
/// - Source: SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
public struct QuickRandom: Sendable {
    private static let step: UInt64 = 0x9E37_79B9_7F4A_7C15

    private var state: UInt64

    /// The numbers that belong to `seed`, but for the first `count` of them.
    public init(seed: UInt64, skipping count: Int = 0) {
        state = seed &+ UInt64(truncatingIfNeeded: count) &* Self.step
    }

    @inline(__always)
    public mutating func next() -> UInt64 {
        state &+= Self.step
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
