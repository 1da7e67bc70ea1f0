import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Telemetry

/// One pool as one loop sees it: whose turn it is, what of the retry budget is left, and a link to each replica.
///
/// - Isolation: its loop.
final class Route {
    let pool: Pool
    /// To the pool's replicas, in their order.
    let links: [Link]
    var picker: ReplicaPicker
    var budget: RetryBudget
    /// False once a reload has put another one in its place, or nothing.
    private(set) var isInForce = true
    /// The shares that the picker's weights were made with.
    private var shares: [Int]

    /// - Parameter before: the route that it replaces: turns and retries go on where they stand, as far as the
    ///   settings allow.
    init(_ pool: Pool, _ metrics: LoopMetrics, before: Route?, loopIndex: Int, loopCount: Int) {
        self.pool = pool
        links = pool.replicas.map { Link(to: $0, in: pool, metrics) }
        let settings = pool.settings
        shares = pool.replicas.map { $0.snapshot.share }
        let weights = zip(pool.replicas, shares).map { $0.settings.weight * $1 }
        if let before, before.hasSameTurns(as: pool) {
            picker = before.picker
            picker.replaceWeights(weights)
        } else {
            let members = zip(pool.replicas, weights).map { replica, weight in
                ReplicaPicker.Member(weight: weight, tier: replica.settings.isBackup ? .backup : .primary)
            }
            picker = ReplicaPicker(members, policy: settings.policy, startingAt: loopIndex * 7)
        }
        budget = RetryBudget(
            percent: settings.retryPercent, perSecond: max(1, settings.retriesPerSecond / loopCount))
        if let before, before.pool.settings.retryPercent == settings.retryPercent,
            before.pool.settings.retriesPerSecond == settings.retriesPerSecond
        {
            budget = before.budget
        }
    }

    /// Whether the pool has the same replicas in the same order, and picks among them in the same way.
    private func hasSameTurns(as other: Pool) -> Bool {
        pool.settings.policy == other.settings.policy && pool.replicas.count == other.replicas.count
            && zip(pool.replicas, other.replicas).allSatisfy {
                $0.isSame(as: $1) && $0.settings.isBackup == $1.settings.isBackup
            }
    }

    /// A reload takes it out of force.
    func retire() {
        isInForce = false
        for link in links { link.retire() }
    }

    /// The share of its weight may have changed for the replica of that index. - Cost: O(1) if it has not.
    func takeShare(of index: Int) {
        let share = pool.replicas[index].snapshot.share
        guard share != shares[index] else { return }
        shares[index] = share
        picker.replaceWeights(zip(pool.replicas, shares).map { $0.settings.weight * $1 })
    }
}

/// One replica as one loop sees it: all that a send there asks for, and its idle connections.
///
/// A request holds it while it is there, also when a reload has replaced its route.
/// - Isolation: its loop.
package final class Link: IdleKeeper {
    package let replica: Replica
    /// Its name as the access log shows it. The loop's own, so that no other loop counts references to it.
    package let loggedName: LogText
    let state: ReplicaState
    let pool: Pool
    private let placesMax: Int
    /// Where its replica counts while it is in force.
    let metrics: LoopMetrics
    /// That of its route.
    private(set) var isInForce = true
    /// The one used last at the end.
    private var idle: [ClientConnection] = []

    init(to replica: Replica, in pool: Pool, _ metrics: LoopMetrics) {
        self.replica = replica
        loggedName = LogText(replica.name)
        state = replica.state
        self.pool = pool
        placesMax = replica.settings.maxInFlight
        self.metrics = metrics
    }

    fileprivate func retire() {
        isInForce = false
        closeIdle()
    }

    /// Takes one of the replica's places if nothing at all speaks against it. - Returns: false when something does.
    @inline(__always)
    func takeIfAllIsWell(now: Moment) -> Bool { state.takeIfAllIsWell(atMost: placesMax, now: now) }

    /// The idle connection used last, if one is still good.
    @inline(__always)
    func takeIdle(handler: any ReadinessHandler) -> ClientConnection? {
        while let connection = idle.popLast() {
            if connection.take(handler: handler) { return connection }
            connection.close()
        }
        return nil
    }

    /// Keeps a connection for the next request, if it can carry one.
    func keep(_ connection: consuming ClientConnection) {
        guard isInForce, connection.isReusable, idle.count < pool.settings.idleConnectionsMax else {
            return connection.close()
        }
        connection.becomeIdle(keptBy: self)
        idle.append(connection)
    }

    package func idleEnded(_ connection: ClientConnection) {
        idle.removeAll { $0 === connection }
        connection.close()
    }

    /// Closes idle connections but for `kept` of them, those used longest ago first.
    func closeIdle(keeping kept: Int = 0) {
        guard idle.count > kept else { return }
        let surplus = idle.count - kept
        for connection in idle.prefix(surplus) { connection.close() }
        // A new array: the old one's room was for the peak.
        idle = Array(idle.dropFirst(surplus))
    }
}
