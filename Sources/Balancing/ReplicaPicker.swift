/// Which replica of a pool a request goes to: the tiers in order, and in each the configured policy.
///
///     some primary is available                      that one
///     every serving primary is full                  wait: `.full`
///     no primary serves (or this request left all)   the same among the backups
///     no replica serves                              `.none`: then see `choose`
///
/// As in HAProxy, a backup replaces primaries that are gone, not ones that are busy.
package struct ReplicaPicker: Sendable {
    package enum Tier: Sendable { case primary, backup }
    package enum Policy: Sendable { case smoothRoundRobin, leastInFlight }

    package struct Member: Equatable, Sendable {
        package var weight: Int
        package var tier: Tier

        package init(weight: Int, tier: Tier) {
            self.weight = weight
            self.tier = tier
        }
    }

    package enum Availability: Sendable {
        case available
        /// Serving, with `maxInFlight` requests already.
        case full
        /// Not serving, cooling down, or excluded by this request.
        case unavailable
    }

    package enum Pick: Equatable, Sendable {
        case replica(Int)
        /// Replicas serve, but none has room.
        case full
        case none
    }

    private let policy: Policy
    private let tiers: [Tier]
    private var roundRobins: (primary: SmoothRoundRobin, backup: SmoothRoundRobin)
    private var leastInFlights: (primary: LeastInFlight, backup: LeastInFlight)
    private let hasBackups: Bool
    /// Choices made in panic: what lets equally bad replicas take turns.
    var panics = 0

    package init(_ members: [Member], policy: Policy, startingAt offset: Int = 0) {
        self.policy = policy
        tiers = members.map(\.tier)
        hasBackups = tiers.contains(.backup)
        let primary = members.map { $0.tier == .primary ? $0.weight : 0 }
        let backup = members.map { $0.tier == .backup ? $0.weight : 0 }
        roundRobins = (
            SmoothRoundRobin(weights: primary, startingAt: offset),
            SmoothRoundRobin(weights: backup, startingAt: offset)
        )
        leastInFlights = (
            LeastInFlight(weights: primary, startingAt: offset),
            LeastInFlight(weights: backup, startingAt: offset)
        )
    }

    package var count: Int { tiers.count }

    /// Takes new weights on (a ramp, a reload), one per replica; see ``SmoothRoundRobin/replaceWeights(_:)``.
    package mutating func replaceWeights(_ weights: [Int]) {
        let tiers = tiers
        let primary = weights.indices.map { tiers[$0] == .primary ? weights[$0] : 0 }
        roundRobins.primary.replaceWeights(primary)
        leastInFlights.primary.replaceWeights(primary)
        guard hasBackups else { return }
        let backup = weights.indices.map { tiers[$0] == .backup ? weights[$0] : 0 }
        roundRobins.backup.replaceWeights(backup)
        leastInFlights.backup.replaceWeights(backup)
    }

    /// - Parameter inFlight: our own count of requests at a replica; only asked for by least-in-flight.
    package mutating func pick(inFlight: (Int) -> Int, _ availability: (Int) -> Availability) -> Pick {
        let primary = pick(from: .primary, inFlight, availability)
        guard primary == .none, hasBackups else { return primary }
        return pick(from: .backup, inFlight, availability)
    }

    /// The usual pick, in one step: the primary whose turn it is, while nobody has been asked whether it is available.
    ///
    /// As nearly always nobody is left out, one question to the replica takes the place of one to each. Whoever is not
    /// available goes to ``giveBack(_:)``, and ``pick(inFlight:_:)`` decides. A replica that is out keeps what it has
    /// earned until its turn is tried, so when it returns it has at most that one turn more.
    /// - Returns: nil where turns alone don't decide.
    package mutating func takeTurn() -> Int? {
        switch policy {
        case .smoothRoundRobin: roundRobins.primary.takeTurn()
        case .leastInFlight: nil
        }
    }

    /// Undoes ``takeTurn()``.
    package mutating func giveBack(_ turn: Int) { roundRobins.primary.giveBack(turn) }

    private mutating func pick(
        from tier: Tier, _ inFlight: (Int) -> Int, _ availability: (Int) -> Availability
    ) -> Pick {
        var isAnyFull = false
        func isEligible(_ index: Int) -> Bool {
            switch availability(index) {
            case .available: return true
            case .full:
                isAnyFull = true
                return false
            case .unavailable: return false
            }
        }
        let picked: Int? =
            switch (policy, tier) {
            case (.smoothRoundRobin, .primary): roundRobins.primary.pick(isEligible)
            case (.smoothRoundRobin, .backup): roundRobins.backup.pick(isEligible)
            case (.leastInFlight, .primary): leastInFlights.primary.pick(inFlight: inFlight, isEligible)
            case (.leastInFlight, .backup): leastInFlights.backup.pick(inFlight: inFlight, isEligible)
            }
        if let picked { return .replica(picked) }
        return isAnyFull ? .full : .none
    }
}
