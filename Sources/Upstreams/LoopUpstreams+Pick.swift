import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Telemetry

/// Which replica, and waiting for one.
extension LoopUpstreams {
    /// The usual pick: the replica whose turn it is, its place taken. For a request that has met none yet.
    ///
    /// One replica is asked whether anything speaks against it, instead of each.
    /// - Returns: nil when something does, or others wait: ``pick(for:)`` decides.
    @inline(__always)
    func takeTurn(in route: Route) -> Link? {
        guard route.pool.queue.length == 0, let turn = route.picker.takeTurn() else { return nil }
        let link = route.links[turn]
        if link.takeIfAllIsWell(now: loop.now) { return link }
        route.picker.giveBack(turn)
        return nil
    }

    /// A replica with a place for the call, taken. - Returns: nil when all are full, or others wait already.
    ///
    /// A stream that is to be resumed goes only to a replica that offers a way.
    func pick(for call: UpstreamCall) -> Journey.Picked? {
        guard let route = call.journey.route else { return .noneLeft(coolAt: nil) }
        guard route.pool.queue.length == 0 else { return nil }
        switch pickBest(call, in: route) {
        case .replica(let index): return .replica(index)
        case .noneLeft(let coolAt): return .noneLeft(coolAt: coolAt)
        case .full: return nil
        }
    }

    /// To resume, the replica that offers the best way is the best one; one that has just failed is none of the good.
    private func pickBest(_ call: UpstreamCall, in route: Route) -> PickedNow {
        let exclusions = call.journey.attempt.exclusions
        guard call.journey.attempt.hasContent else { return pickNow(exclusions, for: call, in: route) }
        for way in Balancing.ResumeWay.allCases {
            let picked = pickWell(exclusions, for: call, in: route) {
                ways(on: $0, for: call).contains(ResumeWays(way))
            }
            if case .replica = picked { return picked }
        }
        return pickNow(exclusions, for: call, in: route) { !ways(on: $0, for: call).isEmpty }
    }

    enum PickedNow { case replica(Int), full, noneLeft(coolAt: Moment?) }

    @inline(never)
    func pickNow(
        _ exclusions: Attempt.Exclusions, for call: UpstreamCall, in route: Route,
        isSuitable: (Replica) -> Bool = { _ in true }
    ) -> PickedNow {
        let picked = pickWell(exclusions, for: call, in: route, isSuitable: isSuitable)
        guard case .noneLeft = picked else { return picked }
        return pickAtLast(exclusions, for: call, in: route, isSuitable: isSuitable)
    }

    /// Among the replicas that are as good as one would wish.
    private func pickWell(
        _ exclusions: Attempt.Exclusions, for call: UpstreamCall, in route: Route, isSuitable: (Replica) -> Bool
    ) -> PickedNow {
        let replicas = route.pool.replicas
        let model = call.modelName
        let now = loop.now
        let hasMetNone = exclusions.isEmpty
        // Another loop may take the last place between looking and taking: then look again, a few times.
        for _ in 0..<4 {
            let pick = route.picker.pick(inFlight: { replicas[$0].inFlight }) { index in
                guard hasMetNone || exclusions.allows(index) else { return .unavailable }
                let replica = replicas[index]
                guard isSuitable(replica) else { return .unavailable }
                return replica.availability(of: model, now: now)
            }
            switch pick {
            case .replica(let index): if replicas[index].take(for: model, now: now) { return .replica(index) }
            case .full: return .full
            case .none: return .noneLeft(coolAt: nil)
            }
        }
        return .full
    }

    /// Nobody is as good as one would wish: the rest of the order of preference, panic included.
    private func pickAtLast(
        _ exclusions: Attempt.Exclusions, for call: UpstreamCall, in route: Route, isSuitable: (Replica) -> Bool
    ) -> PickedNow {
        let replicas = route.pool.replicas
        let model = call.modelName
        let now = loop.now
        // Its time for replicas that are down is over.
        let isServingOnly = call.panicEnd <= now
        let choice = route.picker.choose(
            excluding: exclusions, now: now, inFlight: { replicas[$0].inFlight },
            isSuitable: { (!isServingOnly || replicas[$0].isServing) && isSuitable(replicas[$0]) },
            candidate: { replicas[$0].candidate(for: model, now: now) })
        switch choice {
        case .replica(let index):
            return replicas[index].take(for: model, now: now) ? .replica(index) : .full
        case .full: return .full
        case .noneLeft(let coolAt): return .noneLeft(coolAt: coolAt)
        }
    }

    /// How often a waiter looks although nobody called it: places also come when a cool-down or a breaker's stop ends.
    private static let lookInterval = Interval.seconds(1)

    /// Waits in the pool's queue, as ``goOn(_:isLate:)`` asked; after a reload in that of the pool that took its place.
    @inline(never)
    package func waitForPlace(_ call: UpstreamCall) async {
        let journey = call.journey
        let entered = loop.now
        var isMoved = false
        while journey.isUnderWay, journey.placeInQueue == nil, let route = journey.route {
            await wait(call, in: route, since: entered, isMoved: isMoved)
            isMoved = true
            if journey.placeInQueue == nil { renew(call) }
        }
    }

    /// Waits until there is a place, or no hope of one, or the route is not in force any more and another one is.
    ///
    /// - Parameter isMoved: it had its place in the old queue: it is not turned away because the new one is full.
    private func wait(_ call: UpstreamCall, in route: Route, since entered: Moment, isMoved: Bool) async {
        let queue = route.pool.queue
        let timeout = route.pool.settings.queueTimeout
        guard timeout > .zero || isMoved,
            let (ticket, isCalled) = queue.enter(
                parking: call.parking, key: call.delegate?.callerKey ?? "",
                avoiding: call.journey.attempt.exclusions, evenIfFull: isMoved)
        else { return end(call, .failure(.queueFull(retryAfter: .seconds(1)))) }
        let deadline = min(entered + timeout, call.deadline)
        var looks = isCalled
        var nextLook = loop.now + Self.lookInterval
        while true {
            if looks {
                switch pickBest(call, in: route) {
                case .replica(let index):
                    leaveQueue(ticket, call, in: route.pool, since: entered, with: route.pool.replicas[index])
                    return call.journey.placeInQueue = .replica(index)
                case .noneLeft(let coolAt):
                    leaveQueue(ticket, call, in: route.pool, since: entered)
                    return call.journey.placeInQueue = .noneLeft(coolAt: coolAt)
                case .full: queue.lookedInVain(ticket, passesOn: isCalledForFreePlace(ticket, in: route.pool))
                }
            }
            if call.client.isClientGone {
                leaveQueue(ticket, call, in: route.pool, since: entered)
                return end(call, .failure(.clientGone))
            }
            let isLate = await call.parking.park(until: min(deadline, nextLook)) == .deadline
            if isReplaced(route, for: call) { return queue.leave(ticket, passesOn: false) }
            if isLate, loop.now >= deadline {
                leaveQueue(ticket, call, in: route.pool, since: entered)
                let isOver = loop.now >= call.deadline
                return end(call, .failure(isOver ? .totalTimeout : .queueTimeout(retryAfter: .seconds(1))))
            }
            looks = queue.isCalled(ticket) || loop.now >= nextLook
            if looks { nextLook = loop.now + Self.lookInterval }
        }
    }

    /// The place that it was called for may be somebody else's.
    private func isCalledForFreePlace(_ ticket: WaitQueue.Ticket, in pool: Pool) -> Bool {
        guard let index = pool.queue.replica(of: ticket) else { return false }
        return pool.isUsable(pool.replicas[index], now: loop.now)
    }

    /// - Parameter taken: where it got a place. Where there are more of them, the next one is called.
    private func leaveQueue(
        _ ticket: WaitQueue.Ticket, _ call: UpstreamCall, in pool: Pool, since entered: Moment,
        with taken: Replica? = nil
    ) {
        pool.queue.leave(ticket, passesOn: isCalledForFreePlace(ticket, in: pool))
        if let taken { pool.placeFreed(at: taken, now: loop.now) }
        call.queueWait = call.queueWait + (loop.now - entered)
        metrics.queueWaited(loop.now - entered, pool: place(of: pool))
    }
}
