/// Which replica is next, by weight and without bursts: nginx's smooth weighted round robin.
///
/// At each pick every eligible replica's credit grows by its weight; the one with the most credit is picked (the first
/// of equals) and pays the sum of those weights. Weights 5, 1, 1 give a a b a c a a.
///
/// Up to 16 replicas are visited at each pick. Above that, replicas of equal weight take turns among themselves in
/// index order, so it is enough to compare one credit a *weight*: the same sequence at the cost of the number of
/// different weights. There, a replica that isn't eligible forfeits its turn; after 16 such turns in a row one direct
/// pick is made.
///
/// Pure, one per loop. Weights are scaled freely: multiplying all of them changes nothing.
///
/// - Cost: a nanosecond or two for each replica, or above 16 for each different weight. No allocation, except when
///   weights are replaced.
/// - Source: nginx, `ngx_http_upstream_round_robin.c`, "smooth weighted round-robin balancing" (commit 52327e0627f4).
package struct SmoothRoundRobin: Sendable {
    /// Replicas of equal weight: a ring in `order`, of which those before `next` have been picked in this round.
    private struct Group {
        var weight: Int
        /// Credit of the members from `next` on; those before it have `total` less.
        var credit: Int
        var start: Int
        var end: Int
        var next: Int
    }

    /// Replicas up to which every pick visits all of them.
    private static let directMax = 16
    /// Forfeited turns in a row before a direct pick.
    private static let forfeitsMax = 16
    /// Turns that `startingAt` may skip.
    private static let offsetMax = 4_096

    private var weights: [Int]
    /// Credit per replica, for direct picks.
    private var credits: [Int]
    /// Sum of the weights.
    private var total: Int
    private var groups: [Group] = []
    private var order: [Int] = []

    /// - Parameter weights: one per replica; zero is never picked.
    /// - Parameter offset: turns to skip, so that loops that start together don't all pick the same replica.
    package init(weights: [Int], startingAt offset: Int = 0) {
        self.weights = []
        credits = []
        total = 0
        load(weights, credits: Array(repeating: 0, count: weights.count))
        guard total > 0 else { return }
        for _ in 0..<min(offset % total, Self.offsetMax) { _ = pick() }
    }

    package var count: Int { weights.count }

    /// The next replica of the whole sequence; `nil` if every weight is zero.
    package mutating func pick() -> Int? { pick { _ in true } }

    /// The next replica among those that are eligible; `nil` if there is none, and then each has been asked about.
    package mutating func pick(_ isEligible: (Int) -> Bool) -> Int? {
        if groups.isEmpty { return pickDirectly(isEligible) }
        for _ in 0..<Self.forfeitsMax {
            let index = takeGroupTurn()
            if isEligible(index) { return index }
        }
        return pickDirectly(isEligible)
    }

    /// The next turn of the whole sequence, taken at once: what ``pick(_:)`` gives while everybody is eligible, and one
    /// replica needs asking instead of all.
    ///
    /// - Returns: nil if every weight is zero. Whoever turns out not to be eligible is to be passed to
    ///   ``giveBack(_:)``, before the others are asked.
    package mutating func takeTurn() -> Int? {
        guard total > 0 else { return nil }
        return groups.isEmpty ? takeDirectTurn() : takeGroupTurn()
    }

    /// Undoes ``takeTurn()``. Above 16 replicas there is nothing to undo: the turn is forfeited.
    package mutating func giveBack(_ turn: Int) {
        guard groups.isEmpty else { return }
        for index in weights.indices { credits[index] -= weights[index] }
        credits[turn] += total
    }

    /// Takes new weights on, while the credit that each replica has earned stays in proportion: no replica is flooded
    /// and none is starved, however often a ramp changes them. Another number of replicas starts afresh.
    package mutating func replaceWeights(_ weights: [Int]) {
        guard weights != self.weights else { return }
        guard weights.count == self.weights.count else {
            self = SmoothRoundRobin(weights: weights)
            return
        }
        let newTotal = weights.reduce(0, +)
        var scaled = earnedCredits()
        for index in scaled.indices {
            scaled[index] = weights[index] == 0 || total == 0 ? 0 : scaled[index] * newTotal / total
        }
        load(weights, credits: scaled)
    }
}

// Picking.
extension SmoothRoundRobin {
    private mutating func pickDirectly(_ isEligible: (Int) -> Bool) -> Int? {
        var best = -1
        var most = Int.min
        var sum = 0
        for index in 0..<weights.count {
            let weight = weights[index]
            guard weight > 0, isEligible(index) else { continue }
            let credit = credits[index] + weight
            credits[index] = credit
            sum += weight
            if credit > most { (best, most) = (index, credit) }
        }
        guard best >= 0 else { return nil }
        credits[best] -= sum
        return best
    }

    /// The next turn of the sequence over all replicas, visiting each.
    private mutating func takeDirectTurn() -> Int { Self.takeTurn(weights, &credits, total) }

    private static func takeTurn(_ weights: [Int], _ credits: inout [Int], _ total: Int) -> Int {
        var best = 0
        var most = Int.min
        // A span, for it asks once whether the array is nobody else's.
        var credits = credits.mutableSpan
        for index in weights.indices where weights[index] > 0 {
            let credit = credits[index] + weights[index]
            credits[index] = credit
            if credit > most { (best, most) = (index, credit) }
        }
        credits[best] -= total
        return best
    }

    /// The same by groups.
    private mutating func takeGroupTurn() -> Int {
        var best = 0
        var most = Int.min
        for index in 0..<groups.count {
            let credit = groups[index].credit + groups[index].weight
            groups[index].credit = credit
            if credit > most || credit == most && order[groups[index].next] < order[groups[best].next] {
                (best, most) = (index, credit)
            }
        }
        let picked = order[groups[best].next]
        groups[best].next += 1
        if groups[best].next == groups[best].end {
            groups[best].next = groups[best].start
            groups[best].credit -= total
        }
        return picked
    }
}

// Weights.
extension SmoothRoundRobin {
    private func earnedCredits() -> [Int] {
        guard !groups.isEmpty else { return credits }
        var earned = credits
        for group in groups {
            for place in group.start..<group.end {
                earned[order[place]] = place < group.next ? group.credit - total : group.credit
            }
        }
        return earned
    }

    private mutating func load(_ weights: [Int], credits: [Int]) {
        precondition(weights.allSatisfy { $0 >= 0 && $0 <= 1_000_000 })
        self.weights = weights
        self.credits = credits
        total = weights.reduce(0, +)
        let before = order
        groups = []
        order = []
        if weights.count > Self.directMax { group(keeping: before) }
    }

    /// Forms the groups. Members keep the order of their turns, and those about a turn behind the best of their
    /// group count as picked in this round; the group's credit is what makes the members' sum right.
    private mutating func group(keeping before: [Int]) {
        var places = Array(weights.indices)
        for (place, index) in before.enumerated() { places[index] = place }
        order = weights.indices.filter { weights[$0] > 0 }
        order.sort { (weights[$1], places[$0], $0) < (weights[$0], places[$1], $1) }
        var start = 0
        while start < order.count {
            let weight = weights[order[start]]
            let end = order[start...].firstIndex { weights[$0] != weight } ?? order.count
            let members = order[start..<end]
            let most = members.reduce(Int.min) { max($0, credits[$1]) }
            let picked = members.filter { 2 * (most - credits[$0]) >= total }
            let waiting = members.filter { 2 * (most - credits[$0]) < total }
            order.replaceSubrange(start..<end, with: picked + waiting)
            let sum = members.reduce(0) { $0 + credits[$1] }
            groups.append(
                Group(
                    weight: weight, credit: (sum + picked.count * total) / members.count, start: start, end: end,
                    next: start + picked.count))
            start = end
        }
    }
}
