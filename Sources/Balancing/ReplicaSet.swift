/// Up to four replicas of a pool, by index, in one word and without allocation: those that one request has met.
package struct ReplicaSet: Equatable, Sendable {
    package static let capacity = 4
    /// Four 16-bit places, each an index plus one; zero is free.
    private var places: UInt64 = 0

    package init() {}

    package var isEmpty: Bool { places == 0 }

    package func contains(_ index: Int) -> Bool {
        let wanted = UInt64(index + 1)
        return places & 0xFFFF == wanted || places >> 16 & 0xFFFF == wanted || places >> 32 & 0xFFFF == wanted
            || places >> 48 == wanted
    }

    /// - Precondition: `index` is 0 to 65,534. A fifth member displaces the first; a request never meets so many.
    package mutating func insert(_ index: Int) {
        precondition(index >= 0 && index < 65_535)
        if !contains(index) { places = places << 16 | UInt64(index + 1) }
    }

    package mutating func removeAll() { places = 0 }

    /// The same replicas under other indices; those without one are left out.
    package func renumbered(_ place: (Int) -> Int?) -> ReplicaSet {
        var renumbered = ReplicaSet()
        // The last one in is in the lowest bits.
        for shift in stride(from: 48, through: 0, by: -16) {
            let index = Int(places >> UInt64(shift) & 0xFFFF) - 1
            if index >= 0, let new = place(index) { renumbered.insert(new) }
        }
        return renumbered
    }
}
