import GatewayCore
import Wire

/// Finds a credential among those that were verified, by all of its bytes. What ``TokenCache`` is made of.
///
/// A set-associative table: the hash chooses a set of sixteen slots and one of the set's four lines of the cache, in
/// which nearly every credential lies. So there are no tombstones, and no chains that a client could lengthen. It grows
/// by one set at a time (linear hashing), whose credentials are those of one older set with the next bit of their tags
/// set: no turn of the loop waits for it, and no credential is looked at. On average six slots of a set are taken; of
/// the callers, one in a hundred meets a full set.
///
/// A hand goes around the sets, two with each insert, and clears what has expired or was verified with keys of an older
/// generation. So while it goes around once, at most a twelfth of what is known is inserted, and the table is made for
/// what is good plus that: callers whose tokens are renewed all the time don't make it grow.
///
/// At its capacity each insert takes the place of a credential that was not used since the hand came by (CLOCK).
///
/// Not generic, because generic code that is not specialised asks the runtime for its types at every call.
/// - Cost of a look-up: hashing 32 bytes, one line of slots, one `memcmp`. No allocation. An insert seldom looks at
///   more than ten sets.
/// - Bound: `capacity` credentials; 48 bytes of table for each, in address space that is reserved at once and in memory
///   once it is needed, from 2 MiB on by huge pages. It does not shrink.
final class VerifiedCredentials {
    static let slotsPerSet = 16
    /// Slots of a set that are taken on average, when the table grows.
    private static let takenPerSet = 6
    private static let setsAtFirst = 256
    /// Sets that the hand passes with each insert, and how many at most to find one that makes room.
    private static let setsPassed = 2
    private static let setsSearched = 8
    private static let hashedBytes = 32

    /// All that a look-up reads before the credential itself. Four lie in a line of the cache.
    private struct Slot {
        var credential: VerifiedCredential?
        /// Half of the hash, and in its highest bit whether the credential was found since the hand came by.
        var tagAndUse: UInt32 = 0
        /// ``VerifiedCredential/expiredFromSecond``.
        var end: UInt32 = 0

        @inline(__always)
        var tag: UInt32 { tagAndUse & ~Self.use }
        @inline(__always)
        var isUsed: Bool {
            get { tagAndUse & Self.use != 0 }
            set { tagAndUse = newValue ? tagAndUse | Self.use : tagAndUse & ~Self.use }
        }

        /// Of the credential. 0 where there is none.
        @inline(__always)
        var address: UInt { credential.map { Wire.address(of: $0) } ?? 0 }

        private static let use: UInt32 = 1 << 31
    }
    /// Bytes of a cache line.
    private static let lineBytes = 64
    private static let slotsPerLine = lineBytes / MemoryLayout<Slot>.stride

    private let seed: UInt64
    /// Derived from the seed. Whoever knew it could make two values of the same hash: as its test does.
    let otherSeed: UInt64
    private let bytesMax: Int
    let capacity: Int
    private let setsMax: Int
    private var setCount = 0
    /// One less than the largest power of two that is not above the number of sets.
    private var lowMask: UInt32 = 0
    /// The sets, behind as many slots as it takes for each to begin where a line does.
    private var slots: [Slot] = []
    private let firstSlot: Int
    /// The last bits of the generation of each slot. Whether a credential is good is for the credential to say.
    private var generations: [UInt16] = []
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
        // Never more than what is reserved now, so they stay where they are.
        slots.reserveCapacity(setsMax * Self.slotsPerSet + Self.slotsPerLine)
        firstSlot = slots.withUnsafeBufferPointer {
            (-Int(bitPattern: $0.baseAddress) & (Self.lineBytes - 1)) / MemoryLayout<Slot>.stride
        }
        slots.append(contentsOf: repeatElement(Slot(), count: firstSlot))
        generations.reserveCapacity(setsMax * Self.slotsPerSet)
        appendSet()
        while setCount < min(setsMax, Self.setsAtFirst) { grow() }
    }

    /// How many credentials there is memory for now.
    var slotCount: Int { setCount * Self.slotsPerSet }

    func lookup(_ bytes: Span<UInt8>, now: WallTime, generation: UInt64) -> VerifiedCredential? {
        guard bytes.count <= bytesMax else { return nil }
        let tag = Self.tag(of: hash(of: bytes))
        let set = place(of: set(of: tag))
        for step in 0..<Self.slotsPerSet {
            let slot = set + Self.placeInSet(tag, step)
            guard slots[slot].tag == tag, !isFree(slot) else { continue }
            // Its beginning, its bytes, which come next, and the note.
            prefetch(slots[slot].address, bytes: bytes.count + 96)
            guard let credential = slots[slot].credential, credential.isFor(bytes) else { continue }
            guard credential.isGood(now: now, generation: generation) else {
                clear(slot)
                return nil
            }
            credential.prefetchAttachment()
            if !slots[slot].isUsed { slots[slot].isUsed = true }
            return credential
        }
        return nil
    }

    /// Keeps a credential; one that is empty or too long is not kept.
    func insert(_ credential: VerifiedCredential, for bytes: Span<UInt8>, now: WallTime) {
        guard !bytes.isEmpty, bytes.count <= bytesMax, capacity > 0 else { return }
        let generation = credential.header.generation
        newestGeneration = max(newestGeneration, generation)
        for _ in 0..<Self.setsPassed { passSet(now) }
        let hash = hash(of: bytes)
        let tag = Self.tag(of: hash)
        var slot = slotToReplace(bytes, hash, tag)
        if isFree(slot), count >= capacity {
            makeRoom(now)
        } else if isFree(slot), count >= setCount * Self.takenPerSet, setCount < setsMax {
            grow()
            slot = slotToReplace(bytes, hash, tag)
        }
        clear(slot)
        count += 1
        // What is inserted is not in use yet: what is seen once must not push out what is.
        slots[slot] = Slot(credential: credential, tagAndUse: tag, end: credential.expiredFromSecond)
        generations[slot - firstSlot] = UInt16(truncatingIfNeeded: generation)
    }

    func removeAll() {
        for slot in slots.indices { clear(slot) }
    }

    private func isFree(_ slot: Int) -> Bool { slots[slot].credential == nil }

    /// The slot of the same bytes, else an empty one, else one that was not used lately.
    private func slotToReplace(_ bytes: Span<UInt8>, _ hash: UInt64, _ tag: UInt32) -> Int {
        let set = place(of: set(of: tag))
        var free: Int?
        for step in 0..<Self.slotsPerSet {
            let slot = set + Self.placeInSet(tag, step)
            if isFree(slot) {
                free = free ?? slot
            } else if slots[slot].tag == tag, slots[slot].credential?.isFor(bytes) == true {
                return slot
            }
        }
        if let free { return free }
        // From a slot that differs from one credential to the next, so that two don't push each other out for ever.
        let start = Int(hash % UInt64(Self.slotsPerSet))
        for step in 0..<Self.slotsPerSet {
            let slot = set + (start + step) % Self.slotsPerSet
            if !slots[slot].isUsed { return slot }
        }
        for slot in set..<set + Self.slotsPerSet { slots[slot].isUsed = false }
        return set + start
    }

    private func clear(_ slot: Int) {
        guard !isFree(slot) else { return }
        slots[slot] = Slot()
        count -= 1
    }
}

/// The hand.
extension VerifiedCredentials {
    /// Clears what is no longer good in the next set; returns where that begins.
    @discardableResult
    private func passSet(_ now: WallTime) -> Int {
        let passed = place(of: hand)
        hand = hand + 1 < setCount ? hand + 1 : 0
        let second = UInt32(clamping: now.secondsSinceEpoch)
        let newest = UInt16(truncatingIfNeeded: newestGeneration)
        for slot in passed..<passed + Self.slotsPerSet
        where slots[slot].end <= second || generations[slot - firstSlot] != newest { clear(slot) }
        return passed
    }

    /// Forgets at least one credential: of those in the next sets the first that was not used since the hand came by,
    /// else whichever comes first.
    private func makeRoom(_ now: WallTime) {
        var searched = 0
        while count >= capacity {
            let set = passSet(now)
            searched += 1
            for slot in set..<set + Self.slotsPerSet where !isFree(slot) {
                if count >= capacity, !slots[slot].isUsed || searched > Self.setsSearched {
                    clear(slot)
                } else {
                    slots[slot].isUsed = false
                }
            }
        }
    }
}

/// Growth.
extension VerifiedCredentials {
    @inline(__always)
    private func set(of tag: UInt32) -> Int {
        let set = Int(tag & (lowMask << 1 | 1))
        return set < setCount ? set : Int(tag & lowMask)
    }

    /// Where a set begins in ``slots``.
    @inline(__always)
    private func place(of set: Int) -> Int { firstSlot + set * Self.slotsPerSet }

    /// Where in its set a credential of this tag is looked for at this step: first in the line that its tag's highest
    /// bits name, which are too high to say in which set it is.
    @inline(__always)
    private static func placeInSet(_ tag: UInt32, _ step: Int) -> Int {
        (Int(tag >> 27) & (slotsPerSet - slotsPerLine) + step) % slotsPerSet
    }

    /// The rest of the table in huge pages, as soon as there is enough of it to fill one: some fifty thousand callers.
    private func useHugePagesForTheRest() {
        slots.withUnsafeBytes { used in
            let reserved = slots.capacity * MemoryLayout<Slot>.stride
            useHugePages(in: UnsafeRawBufferPointer(start: used.baseAddress, count: reserved))
        }
    }

    private func appendSet() {
        slots.append(contentsOf: repeatElement(Slot(), count: Self.slotsPerSet))
        generations.append(contentsOf: repeatElement(0, count: Self.slotsPerSet))
        setCount += 1
    }

    /// Adds a set and moves to it what belongs there now.
    private func grow() {
        let new = setCount
        let from = place(of: new & Int(lowMask))
        appendSet()
        let to = place(of: new)
        for step in 0..<Self.slotsPerSet where !isFree(from + step) && set(of: slots[from + step].tag) == new {
            slots.swapAt(from + step, to + step)
            generations.swapAt(from + step - firstSlot, to + step - firstSlot)
        }
        if setCount > Int(lowMask << 1 | 1) { lowMask = lowMask << 1 | 1 }
        if setCount * Self.slotsPerSet * MemoryLayout<Slot>.stride == hugePageBytes { useHugePagesForTheRest() }
    }
}

/// The keyed hash.
extension VerifiedCredentials {
    /// Half of the hash, which says in which set a credential is, however many there are, and where in that.
    @inline(__always)
    static func tag(of hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash >> 33) }

    /// A hash of the credential's end that a client without the seed can't steer.
    ///
    /// The last 32 bytes tell credentials apart: a token ends in its signature, an API key in what was drawn for it.
    /// - Source: the folded multiplication of Wang Yi's wyhash, in two lanes of sixteen bytes.
    @inline(__always)
    func hash(of token: Span<UInt8>) -> UInt64 {
        let length = UInt64(truncatingIfNeeded: token.count)
        guard token.count >= Self.hashedBytes else { return hash(ofShort: token, length) }
        return token.withUnsafeBytes { bytes in
            let at = bytes.count - Self.hashedBytes
            let left = Self.fold(seed ^ Self.word(bytes, at), otherSeed ^ Self.word(bytes, at + 8))
            let right = Self.fold(otherSeed ^ Self.word(bytes, at + 16), seed ^ Self.word(bytes, at + 24))
            return Self.fold(left ^ length, right ^ seed)
        }
    }

    @inline(never)
    private func hash(ofShort token: Span<UInt8>, _ length: UInt64) -> UInt64 {
        var left = seed
        var rest: UInt64 = 0
        for place in 0..<token.count {
            rest = rest << 8 | UInt64(token[place])
            if place % 8 == 7 { (left, rest) = (Self.fold(left ^ rest, otherSeed), 0) }
        }
        return Self.fold(Self.fold(left ^ rest, otherSeed ^ length), otherSeed ^ seed)
    }

    @inline(__always)
    fileprivate static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let (high, low) = left.multipliedFullWidth(by: right)
        return high ^ low
    }

    @inline(__always)
    fileprivate static func word(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt64 {
        bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
    }
}
