import GatewayCore
import Wire

/// What one credential was verified to be.
final class VerifiedCredential {
    let principal: Principal
    let attachment: AnyObject
    let generation: UInt64
    let expires: WallTime
    /// The credential as the client sent it.
    private let bytes: [UInt8]

    init(_ bytes: Span<UInt8>, principal: Principal, attachment: AnyObject, generation: UInt64) {
        self.bytes = bytes.withUnsafeBytes { Array($0) }
        self.principal = principal
        self.attachment = attachment
        self.generation = generation
        expires = principal.expires ?? WallTime(nanosecondsSinceEpoch: .max)
    }

    /// Not in constant time: to learn from it, one would have to hit the tag, a keyed hash of the whole.
    func isFor(_ other: Span<UInt8>) -> Bool { other.equals(bytes) }
}

/// Finds a credential among those that were verified, by all of its bytes. What ``TokenCache`` is made of.
///
/// A set-associative table: the hash chooses a set of eight slots, whose tags fill one cache line. A set that is full
/// gives up the slot that was not used for longest as far as one bit each can tell (CLOCK). So there are no tombstones,
/// no growth, and no chains that a client could lengthen.
///
/// Not generic, because generic code that is not specialised asks the runtime for its types at every call.
/// - Cost of a look-up: hashing 64 bytes, one line of tags, one `memcmp`. No allocation.
/// - Bound: `sets × 8` slots of 17 bytes, allocated at once.
final class VerifiedCredentials {
    static let slotsPerSet = 8
    private static let hashedBytes = 64

    private let seed: UInt64
    /// Derived from the seed. Whoever knew it could make two values of the same hash: as its test does.
    let otherSeed: UInt64
    private let setMask: Int
    private let bytesMax: Int
    /// The hash of each slot's bytes; 0 where there are none.
    private var tags: [UInt64]
    private var credentials: [VerifiedCredential?]
    /// Set when a slot's credential is found; cleared as the hand passes.
    private var wasUsed: [Bool]
    /// Where the hand of each set stands.
    private var hands: [UInt8]
    private(set) var count = 0

    /// - Parameter capacity: rounded up to a power of two, at least 8.
    init(capacity: Int, bytesMax: Int, seed: UInt64) {
        var sets = 1
        while sets * Self.slotsPerSet < capacity { sets *= 2 }
        self.seed = seed
        otherSeed = Self.fold(seed ^ 0x9E37_79B9_7F4A_7C15, 0xA076_1D64_78BD_642F)
        setMask = sets - 1
        self.bytesMax = bytesMax
        tags = Array(repeating: 0, count: sets * Self.slotsPerSet)
        credentials = Array(repeating: nil, count: sets * Self.slotsPerSet)
        wasUsed = Array(repeating: false, count: sets * Self.slotsPerSet)
        hands = Array(repeating: 0, count: sets)
    }

    var capacity: Int { tags.count }

    func lookup(_ bytes: Span<UInt8>, now: WallTime, generation: UInt64) -> VerifiedCredential? {
        guard bytes.count <= bytesMax else { return nil }
        let tag = tag(of: bytes)
        let first = firstSlot(of: tag)
        for slot in first..<first + Self.slotsPerSet where tags[slot] == tag {
            guard let credential = credentials[slot], credential.isFor(bytes) else { continue }
            guard credential.generation == generation, now < credential.expires else {
                clear(slot)
                return nil
            }
            if !wasUsed[slot] { wasUsed[slot] = true }
            return credential
        }
        return nil
    }

    func insert(_ bytes: Span<UInt8>, _ credential: VerifiedCredential) {
        guard !bytes.isEmpty, bytes.count <= bytesMax else { return }
        let tag = tag(of: bytes)
        let slot = slotToFill(with: bytes, tag)
        if tags[slot] == 0 { count += 1 }
        tags[slot] = tag
        credentials[slot] = credential
        // Not yet: what is seen once must not push out what is in use.
        wasUsed[slot] = false
    }

    func removeAll() {
        for slot in tags.indices { clear(slot) }
    }

    private func clear(_ slot: Int) {
        guard tags[slot] != 0 else { return }
        tags[slot] = 0
        credentials[slot] = nil
        count -= 1
    }

    private func firstSlot(of tag: UInt64) -> Int {
        (Int(truncatingIfNeeded: tag >> 32) & setMask) * Self.slotsPerSet
    }

    /// The slot of the same bytes, else an empty one, else the next that was not used since the hand came by: the hand
    /// goes around at most twice.
    private func slotToFill(with bytes: Span<UInt8>, _ tag: UInt64) -> Int {
        let first = firstSlot(of: tag)
        let set = first..<first + Self.slotsPerSet
        for slot in set where tags[slot] == tag && credentials[slot]?.isFor(bytes) == true { return slot }
        for slot in set where tags[slot] == 0 { return slot }
        while true {
            let slot = first + Int(hands[first / Self.slotsPerSet])
            hands[first / Self.slotsPerSet] = UInt8((slot + 1) % Self.slotsPerSet)
            if !wasUsed[slot] { return slot }
            wasUsed[slot] = false
        }
    }
}

/// The keyed hash.
extension VerifiedCredentials {
    /// A hash of the credential's end that a client without the seed can't steer. Never 0.
    ///
    /// The last 64 bytes tell credentials apart: a token ends in its signature, and an API key is shorter.
    /// - Source: the folded multiplication of Wang Yi's wyhash, in two lanes of sixteen bytes a step.
    func tag(of token: Span<UInt8>) -> UInt64 {
        token.extracting(last: Self.hashedBytes).withUnsafeBytes { bytes in
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
            left = Self.fold(left ^ rest, otherSeed ^ UInt64(truncatingIfNeeded: token.count))
            return Self.fold(left, right ^ seed) | 1
        }
    }

    fileprivate static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let (high, low) = left.multipliedFullWidth(by: right)
        return high ^ low
    }

    fileprivate static func word(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt64 {
        bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
    }
}
