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
    package let loop: EventLoop
    /// Those of the configuration in force, whose places ``place(of:)`` tells.
    package private(set) var metrics: LoopMetrics
    package let buffers = RelayBuffers()
    private(set) var fleet: Fleet
    private var routes: [Route] = []
    private let loopIndex: Int
    private let loopCount: Int
    /// Requests that are at a replica now.
    private(set) var active: [ActiveCall] = []
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
    /// are closed; requests go on, each with its old pool's settings until it is sent anew (``renew(_:)``).
    package func use(_ fleet: Fleet, _ metrics: LoopMetrics) {
        let before = routes
        for route in before { route.retire() }
        self.fleet = fleet
        self.metrics = metrics
        let byName = Dictionary(uniqueKeysWithValues: before.map { ($0.pool.name, $0) })
        routes = fleet.pools.map { pool in
            Route(pool, metrics, before: byName[pool.name], loopIndex: loopIndex, loopCount: loopCount)
        }
        // Whoever waits in an old queue goes on in the new one.
        for route in before { route.pool.queue.callAll() }
    }

    func route(of pool: Pool) -> Route? {
        pool.index < routes.count && routes[pool.index].pool === pool ? routes[pool.index] : nil
    }

    /// The route in force of the pool of that name; nil if there is none any more.
    func present(_ pool: Pool) -> Route? { route(of: pool) ?? routes.first { $0.pool.name == pool.name } }

    // MARK: Places in the metrics

    /// The pool's place in ``metrics``. A pool of an earlier configuration may have another one than its index, or
    /// none: then what it counts is no pool's.
    package func place(of pool: Pool) -> Int { present(pool)?.pool.index ?? .max }

    /// That of the call's pool; nil if it has none.
    package func place(of call: UpstreamCall) -> Int? {
        guard let pool = call.pool else { return nil }
        if let route = call.journey.route, route.isInForce, route.pool === pool { return pool.index }
        return place(of: pool)
    }

    /// Counts how an attempt at the link's replica ended.
    func count(_ result: AttemptResult, at link: Link) {
        if link.isInForce { return link.metrics.attempted(result, replica: link.replica.metricsIndex) }
        let present = present(link.pool)?.pool.replicas.first { $0.name == link.replica.name }
        metrics.attempted(result, replica: present?.metricsIndex ?? .max)
    }

    // MARK: Requests at replicas

    /// A request that is at a replica: not counted, for it comes and goes with each send.
    struct ActiveCall {
        unowned(unsafe) let call: UpstreamCall  // Its exchange holds it, and goes on until `leave(_:_:)` takes it out.
    }

    /// The request is at the replica from now on.
    @inline(__always)
    func enter(_ call: UpstreamCall, _ link: consuming Link) {
        call.journey.isAtReplica = true
        call.notice =
            if let death = link.replica.death {
                DeathNotice(death: death, isAnyServing: link.pool.isAnyServing)
            } else {
                DeathNotice()
            }
        call.isToMove = false
        call.activePlace = active.count
        active.append(ActiveCall(call: call))
        call.link = link
        call.journey.link = link
    }

    /// It is not there any more: its place is free.
    @inline(__always)
    func leave(_ call: UpstreamCall, _ link: Link) {
        call.journey.isAtReplica = false
        let last = active.count - 1
        if call.activePlace < last {
            active[call.activePlace] = active[last]
            active[last].call.activePlace = call.activePlace
        }
        active.removeLast()
        link.state.release()
        if link.isInForce { link.pool.placeFreed(at: link.replica, now: loop.now) } else { placeFreed(behind: link) }
    }

    /// A place is free at a replica as a configuration before had it.
    @inline(never)
    private func placeFreed(behind link: Link) {
        guard let present = present(link.pool)?.pool, let kept = present.find(link.replica) else { return }
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
    package func replicaServes(_ replica: Replica, in pool: Pool) {
        shareChanged(of: replica, in: pool)
        for replica in pool.replicas where replica.death != nil { tellDeath(of: replica, in: pool) }
    }

    private func tellDeath(of replica: Replica, in pool: Pool) {
        // With nowhere to go, a request that may yet be answered is worth more than one that is given up.
        guard isAnyServing(but: replica, in: pool) else { return }
        for call in active.lazy.map(\.call) where replica.isSame(as: call.replica) && call.notice.tell(replica.death) {
            call.parking.wake()
        }
    }

    /// Whether the request is to leave its replica, but for what the client has of the answer: the replica was declared
    /// dead while it had the request, is still dead, and another one serves; or it is about to be restarted.
    @inline(__always)
    func isGivenUp(_ call: UpstreamCall, in pool: Pool) -> Bool {
        call.isToMove || call.notice.isTold && hasLostReplica(call) && isAnyServing(but: call.replica, in: pool)
    }

    /// Whether the replica was declared dead while it had the request, and has not come back since.
    @inline(never)
    func hasLostReplica(_ call: UpstreamCall) -> Bool { call.notice.isLost(call.replica?.death) }

    /// Whether there is somewhere to go: in the configuration in force, if the pool is of an earlier one.
    private func isAnyServing(but replica: Replica?, in pool: Pool) -> Bool {
        (present(pool)?.pool ?? pool).isAnyServing(but: replica)
    }

    /// Notes when a stream that runs at the replica last had an event: a sign that it works, whatever its page says.
    package func surveyStreams(at replica: Replica) {
        for call in active.lazy.map(\.call) where replica.isSame(as: call.replica) && call.relay.hasContent {
            replica.state.sawAnswer(at: call.relay.lastEventAt)
        }
    }

    /// A replica's share of its weight changed.
    package func shareChanged(of replica: Replica, in pool: Pool) {
        guard let route = route(of: pool), let kept = pool.find(replica) else { return }
        route.takeShare(of: kept.index)
    }

    // MARK: Idle connections

    /// Idle connections to it are of no use any more: it takes no new requests, or is elsewhere.
    package func closeIdle(to replica: Replica, in pool: Pool) {
        guard let route = present(pool), let replica = route.pool.find(replica) else { return }
        route.links[replica.index].closeIdle()
    }

    /// Closes idle connections, those used longest ago first.
    ///
    /// - Parameter kept: so many to each replica may stay.
    package func closeIdle(keeping kept: Int = 0) {
        for route in routes { for link in route.links { link.closeIdle(keeping: kept) } }
    }

    /// The call's whole reply was passed on: its connection may carry the next request.
    package func finish(_ call: UpstreamCall) {
        let journey = call.journey
        guard let connection = journey.connection.take(), let link = journey.link.take() else { return }
        link.keep(connection)
        journey.link = link  // Taken out and put back, which counts no reference.
    }
}
