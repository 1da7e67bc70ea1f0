import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Telemetry

/// Which replica, and waiting for one.
extension LoopUpstreams {
    enum Picked {
        case replica(Replica)
        case noneLeft(coolAt: Moment?)
        case failed(GatewayError)
    }

    /// A replica with a place for the call, taken; waits in the pool's queue while all are full.
    func pick(_ exclusions: Attempt.Exclusions, for call: UpstreamCall, in route: Route) async -> Picked {
        let pool = route.pool
        // Whoever waits already goes first.
        if pool.queue.length == 0 {
            switch pickNow(exclusions, in: route) {
            case .replica(let replica): return .replica(replica)
            case .none: return .noneLeft(coolAt: pool.soonestCoolDown(never: exclusions.never, now: loop.now))
            case .full: break
            }
        }
        return await pickFromQueue(exclusions, for: call, in: route)
    }

    private enum PickedNow { case replica(Replica), full, none }

    private func pickNow(_ exclusions: Attempt.Exclusions, in route: Route) -> PickedNow {
        let first = pickNow(in: route) { exclusions.allows($0) }
        guard case .none = first else { return first }
        if !exclusions.avoid.isEmpty {
            let second = pickNow(in: route) { exclusions.allowsAtLast($0) }
            guard case .none = second else { return second }
        }
        route.panicRotation &+= 1
        let replicas = route.pool.replicas
        let index = Panic.choose(among: replicas.map(\.snapshot), rotation: route.panicRotation) {
            exclusions.allowsAtLast($0) && replicas[$0].inFlight < replicas[$0].settings.maxInFlight
        }
        guard let index, replicas[index].take(now: loop.now) else { return .none }
        return .replica(replicas[index])
    }

    private func pickNow(in route: Route, _ allows: (Int) -> Bool) -> PickedNow {
        let replicas = route.pool.replicas
        let now = loop.now
        // Another loop may take the last place between looking and taking: then look again, a few times.
        for _ in 0..<4 {
            let pick = route.picker.pick(inFlight: { replicas[$0].inFlight }) { index in
                allows(index) ? replicas[index].availability(now: now) : .unavailable
            }
            switch pick {
            case .replica(let index): if replicas[index].take(now: now) { return .replica(replicas[index]) }
            case .full: return .full
            case .none: return .none
            }
        }
        return .full
    }

    private func pickFromQueue(
        _ exclusions: Attempt.Exclusions, for call: UpstreamCall, in route: Route
    ) async -> Picked {
        let pool = route.pool
        let timeout = pool.settings.queueTimeout
        guard timeout > .zero, let waiter = pool.queue.enter(parking: call.parking) else {
            return .failed(.queueFull(retryAfter: .seconds(1)))
        }
        let entered = loop.now
        defer {
            pool.queue.leave(waiter)
            pool.queue.wakeFirst()
            call.queueWait = call.queueWait + (loop.now - entered)
            metrics.queueWaited(loop.now - entered, pool: pool.index)
        }
        let deadline = min(entered + timeout, call.deadline)
        while true {
            if pool.queue.isFirst(waiter) {
                switch pickNow(exclusions, in: route) {
                case .replica(let replica): return .replica(replica)
                case .none: return .noneLeft(coolAt: pool.soonestCoolDown(never: exclusions.never, now: loop.now))
                case .full: break
                }
            }
            if call.client.isClientGone { return .failed(.clientGone) }
            if await call.parking.park(until: deadline) == .deadline {
                return .failed(.queueTimeout(retryAfter: .seconds(1)))
            }
        }
    }
}
