import GatewayCore
import Limiting
import Synchronization

/// What one caller has left, shared by all loops.
///
/// - Isolation: any loop; the lock is held for the arithmetic only.
package final class LimiterSlot: Sendable {
    struct State: ~Copyable {
        /// Taken out of the table: whoever still holds the slot must look the caller up again.
        var isRetired = false
        var budget: KeyBudget
    }
    let state: Mutex<State>

    init(_ limits: SharedKeyLimits) { state = Mutex(State(budget: KeyBudget(limits))) }

    /// Spends one request and `tokens`, or nothing.
    ///
    /// - Parameter standing: set to what is left then.
    /// - Returns: `nil` if the slot was retired.
    package func reserve(
        tokens: Int, now: Moment, standing: inout KeyBudget.Standing
    ) -> KeyBudget.Decision? {
        state.withLock { state in
            if state.isRetired { return nil }
            let decision = state.budget.reserve(tokens: tokens, now: now)
            standing = state.budget.standing
            return decision
        }
    }

    /// Takes limits on that may have changed since it was made; what is spent stays.
    func adopt(_ limits: SharedKeyLimits) {
        state.withLock { state in
            if state.budget.limits != limits.limits { state.budget.change(to: limits) }
        }
    }

    /// Ends a request that cost `tokens`.
    package func settle(_ reservation: KeyBudget.Reservation, tokens: Int, now: Moment) {
        state.withLock { $0.budget.settle(reservation, tokensUsed: tokens, now: now) }
    }

    /// Ends a request that no replica ever saw: it costs nothing.
    package func giveBack(_ reservation: KeyBudget.Reservation) {
        state.withLock { $0.budget.giveBack(reservation) }
    }
}

/// The slots of all callers, sharded by caller so that loops seldom meet.
///
/// - Bound: `keysMax`, and six standard deviations of its share in each shard, since callers don't spread evenly. When
///   a shard is full, slots that are as good as fresh make room, and if there are none the caller shares an overflow
///   slot, which errs on the side of refusing.
package final class RequestLimiter: Sendable {
    private static let shardCount = 64

    private let shards: [Shard]
    private let limits: Mutex<SharedKeyLimits>
    private let overflow: LimiterSlot
    private let perShardMax: Int

    private final class Shard: Sendable {
        let slots = Mutex<[String: LimiterSlot]>([:])
        /// What callers had spent in the process before, until they are seen here. No more of them than it had slots.
        let inherited = Mutex<[String: KeyBudget.Spent]>([:])
    }

    package init(limits: KeyLimits, keysMax: Int) {
        let limits = SharedKeyLimits(limits)
        self.limits = Mutex(limits)
        overflow = LimiterSlot(limits)
        let evenShare = max(1, keysMax / Self.shardCount)
        perShardMax = evenShare + 6 * Int(Double(evenShare).squareRoot())
        shards = (0..<Self.shardCount).map { _ in Shard() }
    }

    /// Callers that have a slot now.
    package var count: Int { shards.reduce(0) { $0 + $1.slots.withLock { $0.count } } }

    /// The caller's slot; made on first sight. The limits in force and the caller's own number hold from now on: a
    /// credential that was verified before may have named another one.
    package func slot(for principal: Principal, now: Moment) -> LimiterSlot {
        let box = shards[Self.shard(of: principal.id)]
        let limits = limits(for: principal)
        return box.slots.withLock { slots in
            if let found = slots[principal.id] {
                found.adopt(limits)
                return found
            }
            if slots.count >= perShardMax, !Self.makeRoom(&slots, now: now) { return overflow }
            let made = LimiterSlot(limits)
            if let spent = box.inherited.withLock({ $0.isEmpty ? nil : $0.removeValue(forKey: principal.id) }) {
                made.state.withLock { $0.budget.absorb(spent, now: now) }
            }
            slots[principal.id] = made
            return made
        }
    }

    /// What every caller has spent, for the process that takes over. Blocks each caller's slot for a moment.
    package func spent(now: Moment) -> [(caller: String, spent: KeyBudget.Spent)] {
        shards.flatMap { box in
            box.slots.withLock { Array($0) }.compactMap { caller, slot in
                let spent = slot.state.withLock { $0.budget.spent(now: now) }
                return spent.isEmpty ? nil : (caller, spent)
            }
        }
    }

    /// What callers had spent in the process before counts here too. Called before the first of them is served.
    package func inherit(_ all: [(caller: String, spent: KeyBudget.Spent)]) {
        for (caller, spent) in all {
            shards[Self.shard(of: caller)].inherited.withLock { $0[caller] = spent }
        }
    }

    /// Takes new default limits on, for slots that exist too. Callers with a number of their own keep their limits
    /// until their credential is verified again, which a reload makes it.
    package func change(to new: KeyLimits) {
        let new = SharedKeyLimits(new)
        let old = limits.withLock { limits in
            let old = limits
            limits = new
            return old
        }
        for box in shards {
            for slot in box.slots.withLock({ Array($0.values) }) {
                slot.state.withLock { state in
                    if state.budget.limits == old.limits { state.budget.change(to: new) }
                }
            }
        }
        overflow.state.withLock { $0.budget.change(to: new) }
    }

    private func limits(for principal: Principal) -> SharedKeyLimits {
        let shared = limits.withLock { $0 }
        guard let own = principal.requestsPerWindow, let rate = shared.limits.requests else { return shared }
        var limits = shared.limits
        limits.requests = KeyLimits.Rate(own, per: rate.per)
        return SharedKeyLimits(limits)
    }

    /// Retires a few slots that nobody would miss. O(slots looked at), at most 64 a call.
    private static func makeRoom(_ slots: inout [String: LimiterSlot], now: Moment) -> Bool {
        var freed: [String] = []
        for (id, slot) in slots.prefix(64) {
            let isFree = slot.state.withLock { state in
                guard state.budget.isUnused(now: now) else { return false }
                state.isRetired = true
                return true
            }
            if isFree { freed.append(id) }
        }
        for id in freed { slots[id] = nil }
        return !freed.isEmpty
    }

    private static func shard(of id: String) -> Int {
        var hasher = Hasher()
        hasher.combine(id)
        return Int(UInt(bitPattern: hasher.finalize()) % UInt(shardCount))
    }
}
