import Glibc
import Wire

/// Finds a credential among those that were verified, by all of its bytes.
///
/// A set-associative table: the hash chooses a set of eight slots, whose tags fill one cache line. A set that is full
/// gives up the slot that was not used for longest as far as one bit each can tell (CLOCK). So there are no tombstones,
/// no growth, and no chains that a client could lengthen.
///
/// - Cost of a look-up: hashing the bytes eight at a time, one line of tags, one `memcmp`. No allocation.
/// - Bound: `sets × 8` slots, allocated at once (40 bytes each).
struct TokenIndex {
    static let slotsPerSet = 8

    private struct Slot {
        var token: [UInt8] = []
        /// Set when found; cleared as the hand passes.
        var wasUsed = false
    }

    private let seed: UInt64
    private let otherSeed: UInt64
    private let setMask: Int
    /// The hash of each slot's token; 0 where there is none.
    private var tags: [UInt64]
    private var slots: [Slot]
    /// Where the hand of each set stands.
    private var hands: [UInt8]
    private(set) var count = 0

    /// - Parameter capacity: rounded up to a power of two, at least 8.
    init(capacity: Int, seed: UInt64) {
        var sets = 1
        while sets * Self.slotsPerSet < capacity { sets *= 2 }
        self.seed = seed
        otherSeed = Self.fold(seed ^ 0x9E37_79B9_7F4A_7C15, 0xA076_1D64_78BD_642F)
        setMask = sets - 1
        tags = Array(repeating: 0, count: sets * Self.slotsPerSet)
        slots = Array(repeating: Slot(), count: sets * Self.slotsPerSet)
        hands = Array(repeating: 0, count: sets)
    }

    var capacity: Int { tags.count }

    /// The slot that holds exactly `token`.
    mutating func find(_ token: Span<UInt8>) -> Int? {
        let tag = tag(of: token)
        let first = firstSlot(of: tag)
        for slot in first..<first + Self.slotsPerSet where tags[slot] == tag {
            if Self.equal(slots[slot].token, token) {
                slots[slot].wasUsed = true
                return slot
            }
        }
        return nil
    }

    /// Puts `token` into a slot, its own if it has one, and returns which; what else was there is forgotten.
    mutating func place(_ token: Span<UInt8>) -> Int {
        if let slot = find(token) { return slot }
        let tag = tag(of: token)
        let slot = slotToFill(in: firstSlot(of: tag))
        if tags[slot] == 0 { count += 1 }
        tags[slot] = tag
        slots[slot] = Slot(token: token.withUnsafeBytes { Array($0) }, wasUsed: true)
        return slot
    }

    mutating func clear(_ slot: Int) {
        guard tags[slot] != 0 else { return }
        tags[slot] = 0
        slots[slot] = Slot()
        count -= 1
    }

    private func firstSlot(of tag: UInt64) -> Int {
        (Int(truncatingIfNeeded: tag >> 32) & setMask) * Self.slotsPerSet
    }

    /// An empty slot, or the next that was not used since the hand came by. At most two rounds.
    private mutating func slotToFill(in first: Int) -> Int {
        for slot in first..<first + Self.slotsPerSet where tags[slot] == 0 { return slot }
        let set = first / Self.slotsPerSet
        while true {
            let slot = first + Int(hands[set])
            hands[set] = (hands[set] + 1) % UInt8(Self.slotsPerSet)
            if !slots[slot].wasUsed { return slot }
            slots[slot].wasUsed = false
        }
    }

    private static func equal(_ stored: [UInt8], _ token: Span<UInt8>) -> Bool {
        guard stored.count == token.count else { return false }
        return stored.withUnsafeBytes { left in
            token.withUnsafeBytes { right in
                // Not in constant time: to learn from it, one would have to hit the tag, a keyed hash of the whole.
                memcmp(left.baseAddress.unsafelyUnwrapped, right.baseAddress.unsafelyUnwrapped, right.count) == 0
            }
        }
    }

    /// A hash of all bytes that a client without the seed can't steer. Never 0.
    ///
    /// - Source: the folded multiplication of Wang Yi's wyhash, in two lanes of sixteen bytes a step.
    private func tag(of token: Span<UInt8>) -> UInt64 {
        token.withUnsafeBytes { bytes in
            var left = seed
            var right = otherSeed
            var at = 0
            while at + 32 <= bytes.count {
                left = Self.fold(left ^ Self.word(bytes, at), otherSeed ^ Self.word(bytes, at + 8))
                right = Self.fold(right ^ Self.word(bytes, at + 16), seed ^ Self.word(bytes, at + 24))
                at += 32
            }
            while at + 8 <= bytes.count {
                left = Self.fold(left ^ Self.word(bytes, at), otherSeed)
                at += 8
            }
            var rest: UInt64 = 0
            while at < bytes.count {
                rest = rest << 8 | UInt64(bytes[at])
                at += 1
            }
            left = Self.fold(left ^ rest, otherSeed ^ UInt64(truncatingIfNeeded: bytes.count))
            return Self.fold(left, right ^ seed) | 1
        }
    }

    private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let (high, low) = left.multipliedFullWidth(by: right)
        return high ^ low
    }

    private static func word(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt64 {
        bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
    }
}
