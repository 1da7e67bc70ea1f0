import Balancing
import GatewayCore

// The prober, the operator, and what goes wrong.
extension Simulation {
    mutating func probe(_ index: Int, round: Int) {
        guard replicas[index].probeRound == round else { return }
        let (reason, after): (HealthMachine.Reason?, Interval) =
            switch replicas[index].condition {
            case .well, .failing, .garbage, .overloaded, .busy: (nil, .milliseconds(2))
            case .dead: (.refused, .milliseconds(1))
            case .hung: (.timedOut, Self.probeTimeout)
            }
        queue.add(.probed(replica: index, round: round, reason, began: now), at: now + after)
    }

    mutating func probed(_ index: Int, _ reason: HealthMachine.Reason?, began: Moment) {
        let around = surroundings(index, probedAt: began)
        let action =
            if let reason {
                replicas[index].machine.probeFailed(reason, around)
            } else {
                replicas[index].machine.probeSucceeded(around)
            }
        perform(action, replica: index, began: began)
    }

    mutating func warmedUp(_ index: Int, _ reason: HealthMachine.Reason?) {
        let around = surroundings(index)
        let action =
            if let reason {
                replicas[index].machine.warmUpFailed(reason, around)
            } else {
                replicas[index].machine.warmUpSucceeded(around)
            }
        perform(action, replica: index, began: now)
    }

    mutating func perform(_ action: HealthMachine.Action, replica index: Int, began: Moment) {
        switch action {
        case .none: break
        case .probe(let after): schedule(index, at: began + after)
        case .announce(let isServing, let after):
            if isServing != replicas[index].machine.isServing { violations.append("announced what is not so") }
            if let after { schedule(index, at: began + after) }
            announce(index)
        case .warmUp(let after):
            schedule(index, at: began + after)
            let reason: HealthMachine.Reason? =
                switch replicas[index].condition {
                case .well, .overloaded, .busy: nil
                case .failing, .garbage: .serverError
                case .dead: .refused
                case .hung: .timedOut
                }
            queue.add(.warmedUp(replica: index, reason), at: now + .milliseconds(30))
        case .rest:
            replicas[index].probeRound += 1
            announce(index)
        }
    }

    private mutating func schedule(_ index: Int, at moment: Moment) {
        replicas[index].probeRound += 1
        replicas[index].nextProbe = max(now, moment)
        queue.add(.probe(replica: index, round: replicas[index].probeRound), at: replicas[index].nextProbe)
    }

    private mutating func announce(_ index: Int) {
        if replicas.contains(where: \.machine.isServing) { placeFreed(index) } else { callAll() }
        guard case .down = replicas[index].machine.health else { return }
        let isDead = replicas[index].machine.snapshot(at: now).isDeclaredDead
        for request in replicas[index].active.sorted() where isDead && requests[request].outcome == nil {
            guard !requests[request].attempt.hasContent, requests[request].attempt.replica == index,
                replicas.contains(where: \.machine.isServing)
            else { continue }
            left(request, index)
            requests[request].round += 1
            tell(.failed(.init(.declaredDead)), request: request)
        }
        guard !replicas.contains(where: \.machine.isServing) else { return }
        for other in replicas.indices where other != index {
            let action = replicas[other].machine.othersWentDown()
            if case .probe(let after) = action, now + after < replicas[other].nextProbe {
                perform(action, replica: other, began: now)
            }
        }
    }

    private mutating func surroundings(_ index: Int, probedAt: Moment = .zero) -> HealthMachine.Surroundings {
        let isAnyOtherUp = replicas.indices.contains { $0 != index && replicas[$0].machine.isServing }
        return HealthMachine.Surroundings(
            now: now, isAnyOtherUp: isAnyOtherUp, random: generator.next(), probedAt: probedAt)
    }
}

extension Simulation {
    /// A replica changes its ways, and what runs there feels it.
    mutating func turn(_ index: Int, _ condition: Condition) {
        let before = replicas[index].condition
        replicas[index].condition = condition
        if condition == .well {
            replicas[index].troubleEnds(now)
            return
        }
        if before == .well, replicas[index].machine.intent == .enabled { replicas[index].troubleBegins(now) }
        for request in replicas[index].active.sorted() {
            let hasContent = requests[request].contentAt != nil
            switch condition {
            case .dead:
                breakOff(request, hasContent ? .cut : .reset, after: between(.zero, .milliseconds(3)))
            case .hung:
                breakOff(request, hasContent ? .stalled : .firstByteTimeout, after: Self.firstByteTimeout)
            case .well, .failing, .garbage, .overloaded, .busy: break
            }
        }
    }

    /// What was to come does not; the failure does.
    private mutating func breakOff(_ index: Int, _ failure: UpstreamFailure, after delay: Interval) {
        requests[index].tokensBefore = keptTokens(index)
        requests[index].contentAt = nil
        requests[index].round += 1
        let event = Event.upstream(request: index, round: requests[index].round, .failed(.init(failure)))
        queue.add(event, at: now + delay)
    }

    /// The operator drains, maintains or enables a replica. To be drained is trouble for nobody, but no help either.
    mutating func set(_ index: Int, _ intent: HealthMachine.Intent) {
        if intent == .enabled {
            if replicas[index].condition == .well { replicas[index].troubleEnds(now) }
        } else if replicas[index].machine.intent == .enabled, replicas[index].condition == .well {
            replicas[index].troubleBegins(now)
        }
        perform(replicas[index].machine.setIntent(intent), replica: index, began: now)
    }

    /// What must hold when all is over.
    mutating func check() {
        for (index, request) in requests.enumerated() where request.outcome == nil { violate(index, "never ended") }
        for (index, replica) in replicas.enumerated() where !replica.active.isEmpty {
            violations.append("replica \(index) still counts \(replica.active.count) requests")
        }
        if waiters.count > 0 { violations.append("\(waiters.count) requests are still in the queue") }
        let limit = settings.retriesPerSecond * 10
        var first = 0
        var began = 0
        var left = 0
        for (last, moment) in retries.enumerated() {
            while retries[first] <= moment - .seconds(10) { first += 1 }
            while began < requests.count, requests[began].began <= moment { began += 1 }
            while requests[left].began <= moment - .seconds(10) { left += 1 }
            if last - first + 1 > (began - left) * settings.retryPercent / 100 + limit {
                violations.append("more retries than the budget at \(moment.nanoseconds / 1_000_000) ms")
                return
            }
        }
    }
}
