import GatewayCore
import Wire

/// Finds a credential among those that were verified, by all of its bytes. What ``TokenCache`` is made of.
///
/// A set-associative table: the hash chooses a set of sixteen slots, whose tags fill one cache line. So there are no
/// tombstones, and no chains that a client could lengthen. It grows by one set at a time (linear hashing), whose
/// credentials are those of one older set with the next bit of their tags set: no turn of the loop waits for it, and no
/// credential is looked at. On average six slots of a set are taken; of the callers, one in a hundred meets a full set.
///
/// A hand goes around the sets, two with each insert, and clears what has expired or was verified with keys of an older
/// generation. So while it goes around once, at most a twelfth of what is known is inserted, and the table is made for
/// what is good plus that: callers whose tokens are renewed all the time don't make it grow.
///
/// At its capacity each insert takes the place of a credential that was not used since the hand came by (CLOCK).
///
/// Not generic, because generic code that is not specialised asks the runtime for its types at every call.
/// - Cost of a look-up: hashing 64 bytes, one line of tags, one `memcmp`. No allocation. An insert seldom
///   looks at more than ten sets.
/// - Bound: `capacity` credentials; 50 bytes of table for each, in address space that is reserved at once and in memory
///   once it is needed. It does not shrink.
final class VerifiedCredentials {
    static let slotsPerSet = 16
    /// Slots of a set that are taken on average, when the table grows.
    private static let takenPerSet = 6
    private static let setsAtFirst = 256
    /// Sets that the hand passes with each insert, and how many at most to find one that makes room.
    private static let setsPassed = 2
    private static let setsSearched = 8
    private static let hashedBytes = 64

    private let seed: UInt64
    /// Derived from the seed. Whoever knew it could make two values of the same hash: as its test does.
    let otherSeed: UInt64
    private let bytesMax: Int
    let capacity: Int
    private let setsMax: Int
    /// One less than the largest power of two that is not above the number of sets.
    private var lowMask: UInt32
    /// Half of the hash of each slot's credential; 0 where there is none.
    private var tags: [UInt32] = []
    private var credentials: [VerifiedCredential?] = []
    /// ``VerifiedCredential/expiredFromSecond`` of each slot.
    private var ends: [UInt32] = []
    /// The last bits of the generation of each slot. Whether a credential is good is for the credential to say.
    private var generations: [UInt16] = []
    /// Of each set a bit for each slot: set when its credential is found, cleared as the hand passes.
    private var used: [UInt16] = []
    /// The set that the hand comes to next.
    private var hand = 0
    private var newestGeneration: UInt64 = 0
    private(set) var count = 0

    init(capacity: Int, bytesMax: Int, seed: UInt64) {
        self.seed = seed
        otherSeed = Self.fold(seed ^ 0x9E37_79B9_7F4A_7C15, 0xA076_1D64_78BD_642F)
        self.bytesMax = bytesMax
        self.capacity = capacity
        setsMax = max(1, (capacity + Self.takenPerSet - 1) / Self.takenPerSet)
        let slotsMax = setsMax * Self.slotsPerSet
        tags.reserveCapacity(slotsMax)
        credentials.reserveCapacity(slotsMax)
        ends.reserveCapacity(slotsMax)
        generations.reserveCapacity(slotsMax)
        used.reserveCapacity(setsMax)
        lowMask = 0
        appendSet()
        while used.count < min(setsMax, Self.setsAtFirst) { grow() }
    }

    /// How many credentials there is memory for now.
    var slotCount: Int { tags.count }

    /// The slot of the credential, if it is known and good.
    func find(_ bytes: Span<UInt8>, now: WallTime, generation: UInt64) -> Int? {
        guard bytes.count <= bytesMax else { return nil }
        let hash = hash(of: bytes)
        let tag = Self.tag(of: hash)
        let set = set(of: tag)
        let first = set * Self.slotsPerSet
        for slot in first..<first + Self.slotsPerSet where tags[slot] == tag {
            guard let credential = credentials[slot], credential.isFor(bytes, hash: hash) else { continue }
            guard credential.isGood(now: now, generation: generation) else {
                clear(slot)
                return nil
            }
            let bit: UInt16 = 1 << UInt16(slot - first)
            if used[set] & bit == 0 { used[set] |= bit }
            return slot
        }
        return nil
    }

    func lookup(_ bytes: Span<UInt8>, now: WallTime, generation: UInt64) -> VerifiedCredential? {
        find(bytes, now: now, generation: generation).flatMap { credentials[$0] }
    }

    func attachment(at slot: Int) -> AnyObject? { credentials[slot]?.header.attachment }

    /// Keeps a credential and returns it; what is empty or too long is not kept.
    func insert(
        _ bytes: Span<UInt8>, principal: Principal, attachment: AnyObject, now: WallTime, generation: UInt64
    ) -> VerifiedCredential {
        let hash = hash(of: bytes)
        let credential = VerifiedCredential.make(
            bytes, hash: hash, principal: principal, attachment: attachment, generation: generation)
        guard !bytes.isEmpty, bytes.count <= bytesMax, capacity > 0 else { return credential }
        newestGeneration = max(newestGeneration, generation)
        for _ in 0..<Self.setsPassed { passSet(now) }
        let tag = Self.tag(of: hash)
        var slot = slotToReplace(bytes, hash, tag)
        if tags[slot] == 0, count >= capacity {
            makeRoom(now)
        } else if tags[slot] == 0, count >= used.count * Self.takenPerSet, used.count < setsMax {
            grow()
            slot = slotToReplace(bytes, hash, tag)
        }
        clear(slot)
        count += 1
        tags[slot] = tag
        credentials[slot] = credential
        ends[slot] = credential.expiredFromSecond
        generations[slot] = UInt16(truncatingIfNeeded: generation)
        return credential
    }

    func removeAll() {
        for slot in tags.indices { clear(slot) }
    }

    /// The slot of the same bytes, else an empty one, else one that was not used lately.
    private func slotToReplace(_ bytes: Span<UInt8>, _ hash: UInt64, _ tag: UInt32) -> Int {
        let set = set(of: tag)
        let slots = set * Self.slotsPerSet..<(set + 1) * Self.slotsPerSet
        for slot in slots where tags[slot] == tag && credentials[slot]?.isFor(bytes, hash: hash) == true { return slot }
        for slot in slots where tags[slot] == 0 { return slot }
        if used[set] == .max { used[set] = 0 }
        // From a slot that differs from one credential to the next, so that two don't push each other out for ever.
        let start = Int(hash % UInt64(Self.slotsPerSet))
        let unused = ~used[set] >> UInt16(start) | ~used[set] << UInt16(Self.slotsPerSet - start)
        return slots.lowerBound + (start + unused.trailingZeroBitCount) % Self.slotsPerSet
    }

    private func clear(_ slot: Int) {
        guard tags[slot] != 0 else { return }
        tags[slot] = 0
        credentials[slot] = nil
        // What is inserted next is not in use yet: what is seen once must not push out what is.
        used[slot / Self.slotsPerSet] &= ~(1 << UInt16(slot % Self.slotsPerSet))
        count -= 1
    }
}

/// The hand.
extension VerifiedCredentials {
    /// Clears what is no longer good in the next set; returns the set.
    @discardableResult
    private func passSet(_ now: WallTime) -> Int {
        let passed = hand
        hand = hand + 1 < used.count ? hand + 1 : 0
        let second = UInt32(clamping: now.secondsSinceEpoch)
        let newest = UInt16(truncatingIfNeeded: newestGeneration)
        for slot in passed * Self.slotsPerSet..<(passed + 1) * Self.slotsPerSet
        where ends[slot] <= second || generations[slot] != newest { clear(slot) }
        return passed
    }

    /// Forgets at least one credential: of those in the next sets the first that was not used since the hand came by,
    /// else whichever comes first.
    private func makeRoom(_ now: WallTime) {
        var searched = 0
        while count >= capacity {
            let set = passSet(now)
            searched += 1
            let first = set * Self.slotsPerSet
            for slot in first..<first + Self.slotsPerSet where tags[slot] != 0 && count >= capacity {
                if used[set] & 1 << UInt16(slot - first) == 0 || searched > Self.setsSearched { clear(slot) }
            }
            used[set] = 0
        }
    }
}

/// Growth.
extension VerifiedCredentials {
    private func set(of tag: UInt32) -> Int {
        let set = Int(tag & (lowMask << 1 | 1))
        return set < used.count ? set : Int(tag & lowMask)
    }

    private func appendSet() {
        tags.append(contentsOf: repeatElement(0, count: Self.slotsPerSet))
        credentials.append(contentsOf: repeatElement(nil, count: Self.slotsPerSet))
        ends.append(contentsOf: repeatElement(0, count: Self.slotsPerSet))
        generations.append(contentsOf: repeatElement(0, count: Self.slotsPerSet))
        used.append(0)
    }

    /// Adds a set and moves to it what belongs there now.
    private func grow() {
        let new = used.count
        let old = new & Int(lowMask)
        appendSet()
        for place in 0..<Self.slotsPerSet {
            let from = old * Self.slotsPerSet + place
            guard tags[from] != 0, set(of: tags[from]) == new else { continue }
            let to = new * Self.slotsPerSet + place
            (tags[to], tags[from]) = (tags[from], 0)
            (ends[to], generations[to]) = (ends[from], generations[from])
            credentials.swapAt(to, from)
            used[new] |= used[old] & 1 << UInt16(place)
        }
        used[old] &= ~used[new]
        if used.count > Int(lowMask << 1 | 1) { lowMask = lowMask << 1 | 1 }
    }
}

/// The keyed hash.
extension VerifiedCredentials {
    /// Half of the hash, which says in which set a credential is, however many there are. Never 0.
    static func tag(of hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash >> 32) | 1 << 31 }

    /// A hash of the credential's end that a client without the seed can't steer.
    ///
    /// The last 64 bytes tell credentials apart: a token ends in its signature, and an API key is shorter.
    /// - Source: the folded multiplication of Wang Yi's wyhash, in two lanes of sixteen bytes a step.
    func hash(of token: Span<UInt8>) -> UInt64 {
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
            return Self.fold(left, right ^ seed)
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
