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

        /// - Parameter before: the route that it replaces: turns and retries go on where they stand, as far as the
        ///   settings allow.
        init(_ pool: Pool, before: Route?, loopIndex: Int, loopCount: Int) {
            self.pool = pool
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
            idle = Array(repeating: [], count: pool.replicas.count)
        }

        /// Whether the pool has the same replicas in the same order, and picks among them in the same way.
        private func hasSameTurns(as other: Pool) -> Bool {
            pool.settings.policy == other.settings.policy && pool.replicas.count == other.replicas.count
                && zip(pool.replicas, other.replicas).allSatisfy {
                    $0.isSame(as: $1) && $0.settings.isBackup == $1.settings.isBackup
                }
        }

        func idleEnded(_ connection: ClientConnection) {
            for index in idle.indices { idle[index].removeAll { $0 === connection } }
            connection.close()
        }
    }

    package let loop: EventLoop
    /// Those of the configuration in force, whose places ``place(of:)`` tells.
    package private(set) var metrics: LoopMetrics
    package let buffers = RelayBuffers()
    private(set) var fleet: Fleet
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
        self.fleet = fleet
        use(fleet, metrics)
    }

    /// Takes a new configuration's pools on, and the counters whose places they name. Idle connections to the old ones
    /// are closed; requests go on, each with its old pool's settings until it is sent anew (``renew(_:_:)``).
    package func use(_ fleet: Fleet, _ metrics: LoopMetrics) {
        let before = routes
        for route in before {
            for connections in route.idle { for connection in connections { connection.close() } }
        }
        self.fleet = fleet
        self.metrics = metrics
        let byName = Dictionary(uniqueKeysWithValues: before.map { ($0.pool.name, $0) })
        routes = fleet.pools.map { pool in
            Route(pool, before: byName[pool.name], loopIndex: loopIndex, loopCount: loopCount)
        }
        // Whoever waits in an old queue goes on in the new one.
        for route in before { route.pool.queue.callAll() }
    }

    func route(of pool: Pool) -> Route? {
        pool.index < routes.count && routes[pool.index].pool === pool ? routes[pool.index] : nil
    }

    /// The route in force of the pool of that name; nil if there is none any more.
    func present(_ pool: Pool) -> Route? { route(of: pool) ?? routes.first { $0.pool.name == pool.name } }

    /// The pool's place in ``metrics``. A pool of an earlier configuration may have another one than its index, or
    /// none: then what it counts is no pool's.
    package func place(of pool: Pool) -> Int { present(pool)?.pool.index ?? .max }

    /// The same for a replica of the pool.
    func place(of replica: Replica, in pool: Pool) -> Int {
        if route(of: pool) != nil { return replica.metricsIndex }
        return present(pool)?.pool.replicas.first { $0.name == replica.name }?.metricsIndex ?? .max
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
        replica.state.release()
        if route(of: pool) != nil { return pool.placeFreed(at: replica, now: loop.now) }
        guard let present = present(pool)?.pool, let kept = present.find(replica) else { return }
        present.placeFreed(at: kept, now: loop.now)
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
        guard isAnyServing(but: replica, in: pool) else { return }
        for call in active where replica.isSame(as: call.replica) && call.notice.tell(replica.death) {
            call.parking.wake()
        }
    }

    /// Whether the request is to leave its replica, but for what the client has of the answer: the replica was declared
    /// dead while it had the request, is still dead, and another one serves; or it is about to be restarted.
    func isGivenUp(_ call: UpstreamCall, in pool: Pool) -> Bool {
        call.isToMove || hasLostReplica(call) && isAnyServing(but: call.replica, in: pool)
    }

    /// Whether the replica was declared dead while it had the request, and has not come back since.
    func hasLostReplica(_ call: UpstreamCall) -> Bool { call.notice.isLost(call.replica?.death) }

    /// Whether there is somewhere to go: in the configuration in force, if the pool is of an earlier one.
    private func isAnyServing(but replica: Replica?, in pool: Pool) -> Bool {
        (present(pool)?.pool ?? pool).isAnyServing(but: replica)
    }

    /// Idle connections to it are of no use any more: it takes no new requests, or is elsewhere.
    package func closeIdle(to replica: Replica, in pool: Pool) {
        guard let route = present(pool), let replica = route.pool.find(replica) else { return }
        for connection in route.idle[replica.index] { connection.close() }
        route.idle[replica.index] = []
    }

    /// Notes when a stream that runs at the replica last had an event: a sign that it works, whatever its page says.
    package func surveyStreams(at replica: Replica) {
        for call in active where replica.isSame(as: call.replica) && call.relay.hasContent {
            replica.state.sawAnswer(at: call.relay.lastEventAt)
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
