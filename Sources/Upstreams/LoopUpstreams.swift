import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Telemetry
import Wire

/// One loop's side of the replicas: picks one, keeps idle connections to each, and knows which requests are where.
///
/// - Isolation: its loop.
package final class LoopUpstreams {
    /// One pool as this loop sees it.
    final class Route: IdleKeeper {
        let pool: Pool
        var picker: ReplicaPicker
        var budget: RetryBudget
        /// Idle connections by replica, the one used last at the end.
        var idle: [[ClientConnection]]
        /// The shares that the picker's weights were made with.
        var shares: [Int]

        init(_ pool: Pool, loopIndex: Int, loopCount: Int) {
            self.pool = pool
            let members = pool.replicas.map { replica in
                ReplicaPicker.Member(
                    weight: replica.settings.weight * HealthMachine.fullShare,
                    tier: replica.settings.isBackup ? .backup : .primary)
            }
            picker = ReplicaPicker(members, policy: pool.settings.policy, startingAt: loopIndex * 7)
            budget = RetryBudget(
                percent: pool.settings.retryPercent, perSecond: max(1, pool.settings.retriesPerSecond / loopCount))
            idle = Array(repeating: [], count: pool.replicas.count)
            shares = Array(repeating: HealthMachine.fullShare, count: pool.replicas.count)
        }

        func idleEnded(_ connection: ClientConnection) {
            for index in idle.indices { idle[index].removeAll { $0 === connection } }
            connection.close()
        }
    }

    package let loop: EventLoop
    package var metrics: LoopMetrics
    package let buffers = RelayBuffers()
    private var routes: [Route] = []
    private let loopIndex: Int
    private let loopCount: Int
    /// Requests that are at a replica now.
    private(set) var active: [UpstreamCall] = []
    /// Told when traffic finds a replica unreachable, so that its health knows at once.
    package var onTrafficFailure: (Replica, HealthMachine.Reason) -> Void = { _, _ in }

    package init(
        on loop: EventLoop, loopIndex: Int, loopCount: Int, fleet: Fleet, metrics: LoopMetrics
    ) {
        self.loop = loop
        self.loopIndex = loopIndex
        self.loopCount = loopCount
        self.metrics = metrics
        use(fleet)
    }

    /// Takes a new configuration's pools on. Idle connections to the old ones are closed.
    package func use(_ fleet: Fleet) {
        for route in routes {
            for connections in route.idle { for connection in connections { connection.close() } }
        }
        routes = fleet.pools.map { Route($0, loopIndex: loopIndex, loopCount: loopCount) }
    }

    func route(of pool: Pool) -> Route? {
        pool.index < routes.count && routes[pool.index].pool === pool ? routes[pool.index] : nil
    }

    // MARK: Requests at replicas

    func begin(_ call: UpstreamCall, at replica: Replica, in pool: Pool) {
        call.replica = replica
        call.notice = replica.death.map { DeathNotice(death: $0, isAnyServing: pool.isAnyServing) } ?? DeathNotice()
        call.isToMove = false
        call.activePlace = active.count
        active.append(call)
    }

    func end(_ call: UpstreamCall, at replica: Replica, in pool: Pool) {
        let place = call.activePlace
        call.activePlace = -1
        let last = active.removeLast()
        if last !== call {
            active[place] = last
            last.activePlace = place
        }
        replica.release()
        pool.placeFreed(at: replica, now: loop.now)
    }

    /// Its probe has just declared it dead: requests that wait there for the first content move at once, if another
    /// replica serves, streams as soon as they have been silent for long enough (``silenceEnd(of:in:)``).
    ///
    /// The message may come late: a replica that is up again, or only suspected by now, keeps its requests, and so does
    /// one that was asked because nobody else was there.
    package func replicaDied(_ replica: Replica, in pool: Pool) {
        closeIdle(to: replica, in: pool)
        tellDeath(of: replica, in: pool)
    }

    /// A replica of the pool serves from now on: what waits at dead ones has somewhere to go.
    package func replicaServes(in pool: Pool) {
        sharesChanged(in: pool)
        for replica in pool.replicas where replica.death != nil { tellDeath(of: replica, in: pool) }
    }

    private func tellDeath(of replica: Replica, in pool: Pool) {
        // With nowhere to go, a request that may yet be answered is worth more than one that is given up.
        guard pool.isAnyServing(but: replica) else { return }
        for call in active where call.replica === replica && call.notice.tell(replica.death) { call.parking.wake() }
    }

    /// Whether the request is to leave its replica, but for what the client has of the answer: the replica was declared
    /// dead while it had the request, is still dead, and another one serves; or it is about to be restarted.
    func isGivenUp(_ call: UpstreamCall, in pool: Pool) -> Bool {
        call.isToMove || hasLostReplica(call) && pool.isAnyServing(but: call.replica)
    }

    /// Whether the replica was declared dead while it had the request, and has not come back since.
    func hasLostReplica(_ call: UpstreamCall) -> Bool { call.notice.isLost(call.replica?.death) }

    /// It takes no new requests: idle connections to it are of no use, and may be broken.
    package func closeIdle(to replica: Replica, in pool: Pool) {
        guard let route = route(of: pool) else { return }
        for connection in route.idle[replica.index] { connection.close() }
        route.idle[replica.index] = []
    }

    /// Notes when a stream that runs at the replica last had an event: a sign that it works, whatever its page says.
    package func surveyStreams(at replica: Replica) {
        for call in active where call.replica === replica && call.relay.hasContent {
            replica.sawAnswer(at: call.relay.lastEventAt)
        }
    }

    /// A replica's share of its weight changed.
    package func sharesChanged(in pool: Pool) {
        guard let route = route(of: pool) else { return }
        let shares = pool.replicas.map { $0.snapshot.share }
        guard shares != route.shares else { return }
        route.shares = shares
        route.picker.replaceWeights(zip(pool.replicas, shares).map { $0.settings.weight * $1 })
    }

    // MARK: Idle connections

    /// The idle connection used last, if one is still good.
    func takeIdle(_ replica: Replica, in route: Route, handler: any ReadinessHandler) -> ClientConnection? {
        while let connection = route.idle[replica.index].popLast() {
            if connection.take(handler: handler) { return connection }
            connection.close()
        }
        return nil
    }

    func keep(_ connection: ClientConnection, _ replica: Replica, in pool: Pool) {
        guard let route = route(of: pool), route.idle[replica.index].count < pool.settings.idleConnectionsMax,
            connection.isReusable
        else { return connection.close() }
        connection.becomeIdle(keptBy: route)
        route.idle[replica.index].append(connection)
    }

    /// Closes idle connections, those used longest ago first.
    ///
    /// - Parameter kept: so many to each replica may stay.
    package func closeIdle(keeping kept: Int = 0) {
        for route in routes {
            for index in route.idle.indices where route.idle[index].count > kept {
                let surplus = route.idle[index].count - kept
                for connection in route.idle[index].prefix(surplus) { connection.close() }
                // A new array: the old one's room was for the peak.
                route.idle[index] = Array(route.idle[index].dropFirst(surplus))
            }
        }
    }
}
