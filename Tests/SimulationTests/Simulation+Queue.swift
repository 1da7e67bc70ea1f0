import Balancing
import GatewayCore

// Waiting for a place, as `LoopUpstreams` does it.
extension Simulation {
    mutating func waitInQueue(_ index: Int, _ action: Attempt.Action, _ exclusions: Attempt.Exclusions) {
        requests[index].pending = action
        if let ticket = requests[index].ticket {
            return call(waiters.lookedInVain(ticket, passesOn: isCalledForFreePlace(ticket)))
        }
        let caller = "caller \(requests[index].caller)"
        guard let entered = waiters.enter(index, key: caller, avoiding: exclusions) else {
            return end(index, .failed(.queueFull(retryAfter: .seconds(1))))
        }
        if waiters.count > settings.queueLength { violate(index, "the queue is longer than it may be") }
        requests[index].ticket = entered.ticket
        let round = requests[index].round
        queue.add(.waitedLongEnough(request: index, round: round), at: now + Self.queueTimeout)
        queue.add(.look(request: index, round: round), at: now + Self.lookInterval)
        if entered.isCalled { call(index) }
    }

    /// Somebody who waits looks in a moment.
    private mutating func call(_ index: Int?) {
        guard let index else { return }
        queue.add(.look(request: index, round: requests[index].round), at: now + between(.zero, .milliseconds(1)))
    }

    mutating func look(_ index: Int, round: Int) {
        let request = requests[index]
        guard request.round == round, request.outcome == nil, request.ticket != nil else { return }
        guard let pending = request.pending else { return }
        queue.add(.look(request: index, round: round), at: now + Self.lookInterval)
        perform(pending, request: index)
    }

    mutating func waitedLongEnough(_ index: Int, round: Int) {
        let request = requests[index]
        guard request.round == round, request.outcome == nil, request.ticket != nil else { return }
        if case .pick(let exclusions) = requests[index].pending {
            for (replica, model) in replicas.enumerated() {
                guard exclusions.allows(replica), let since = model.usableSince else { continue }
                guard since <= now - Self.lookInterval - .milliseconds(100) else { continue }
                violate(index, "starved beside a free place")
            }
        }
        leaveQueue(index)
        end(index, .failed(.queueTimeout(retryAfter: .seconds(1))))
    }

    mutating func leaveQueue(_ index: Int, with taken: Int? = nil) {
        guard let ticket = requests[index].ticket else { return }
        requests[index].ticket = nil
        call(waiters.leave(ticket, passesOn: isCalledForFreePlace(ticket)))
        if let taken { placeFreed(taken) }
    }

    private func isUsable(_ replica: Int) -> Bool {
        let candidate = replicas[replica].candidate(at: now)
        return candidate.health.isServing && !candidate.isFull && candidate.coolUntil <= now && candidate.mayPassBreaker
    }

    private func isCalledForFreePlace(_ ticket: FairQueue<Int>.Ticket) -> Bool {
        waiters.replica(of: ticket).map(isUsable) ?? false
    }

    mutating func placeFreed(_ replica: Int) {
        if waiters.count > 0, isUsable(replica) { call(waiters.placeFreed(at: replica)) }
    }

    /// After every event: which replicas can be used while somebody waits.
    mutating func noteUsable() {
        for replica in replicas.indices {
            let isFree = waiters.count > 0 && isUsable(replica)
            if !isFree { replicas[replica].usableSince = nil } else if replicas[replica].usableSince == nil {
                replicas[replica].usableSince = now
            }
        }
    }

    mutating func callAll() {
        for index in waiters.callAll() { call(index) }
    }
}
