import Balancing
import GatewayCore

// The shell of one request: performs what its attempt decides.
extension Simulation {
    mutating func note(_ index: Int, _ line: @autoclosure () -> String) {
        guard settings.tells else { return }
        requests[index].story.append("\(now.nanoseconds / 1_000_000) ms  \(line())")
    }

    mutating func tell(_ event: Attempt.Event, request index: Int) {
        var wasRefused = false
        var spent = 0
        let now = now
        var budget = budget
        let action = requests[index].attempt.handle(event, now: now) {
            let isLeft = budget.spend(now)
            if isLeft { spent += 1 } else { wasRefused = true }
            return isLeft
        }
        self.budget = budget
        if wasRefused { requests[index].wasRefusedRetry = true }
        for _ in 0..<spent { retries.append(now) }
        note(index, "\(event) → \(action)")
        perform(action, request: index)
    }

    mutating func perform(_ action: Attempt.Action, request index: Int) {
        requests[index].pending = nil
        switch action {
        case .proceed: break
        case .pick(let exclusions): choose(exclusions, action, request: index)
        case .resume(let exclusions): choose(exclusions, action, request: index)
        case .again(let replica): send(index, to: replica, way: nil, onNewConnection: true)
        case .wait(let until):
            queue.add(.waited(request: index, round: requests[index].round), at: until)
        case .passOn: end(index, .passedOn)
        case .finishLength: end(index, .finishedLength)
        case .fail(let loss): end(index, .failed(loss.error(model: "m")))
        case .done: end(index, .served)
        }
    }

    private mutating func choose(_ exclusions: Attempt.Exclusions, _ action: Attempt.Action, request index: Int) {
        let (now, replicas) = (self.now, self.replicas)
        picker.replaceWeights(replicas.map { $0.weight * $0.machine.share(at: now) })
        let isResume = if case .resume = action { true } else { false }
        let choice = usualPick(exclusions) ?? picker.choose(
            excluding: exclusions, now: now, inFlight: { replicas[$0].active.count },
            candidate: { replicas[$0].candidate(at: now) })
        switch choice {
        case .replica(let replica):
            let ways = requests[index].attempt.ways(on: ReplicaKind.weir.abilities)
            let way = ResumeWay.allCases.first { ways.contains(ResumeWays($0)) }
            send(index, to: replica, way: isResume ? way : nil)
            leaveQueue(index, with: replica)
        case .full: waitInQueue(index, action, exclusions)
        case .noneLeft(let coolAt):
            leaveQueue(index)
            tell(.noneLeft(coolAt: coolAt), request: index)
        }
    }

    /// Whose turn it is, if nothing speaks against that one: as the gateway does.
    private mutating func usualPick(_ exclusions: Attempt.Exclusions) -> ReplicaPicker.Choice? {
        guard exclusions.isEmpty, let turn = picker.takeTurn() else { return nil }
        let candidate = replicas[turn].candidate(at: now)
        if candidate.health.isServing, !candidate.isFull, candidate.coolUntil <= now, candidate.mayPassBreaker {
            return .replica(turn)
        }
        picker.giveBack(turn)
        return nil
    }

    private mutating func send(_ index: Int, to replica: Int, way: ResumeWay?, onNewConnection: Bool = false) {
        if replicas[replica].machine.intent != .enabled { violate(index, "sent to a replica that is not enabled") }
        if requests[index].gaveUp.contains(replica) { violate(index, "sent again to a replica that it gave up") }
        if replicas[replica].active.count >= settings.maxInFlight { violate(index, "sent to a replica that is full") }
        requests[index].round += 1
        requests[index].contentAt = nil
        replicas[replica].active.insert(index)
        replicas[replica].sends += 1
        replicas[replica].breaker.sent(now)
        if let way {
            tell(.resumed(replica: replica, way: way), request: index)
        } else {
            tell(.sent(replica: replica), request: index)
        }
        let round = requests[index].round
        func answer(_ event: Attempt.Event, after delay: Interval) {
            queue.add(.upstream(request: index, round: round, event), at: now + delay)
        }
        switch replicas[replica].condition {
        case .well:
            // A connection that was pooled may be stale.
            if !onNewConnection, chance(3) {
                answer(.failed(.init(.reset, isStaleConnection: true)), after: .milliseconds(1))
            } else {
                answer(.content, after: between(.milliseconds(10), .milliseconds(200)))
            }
        case .dead: answer(.failed(.init(.connectFailed)), after: .milliseconds(1))
        case .hung: answer(.failed(.init(.firstByteTimeout)), after: Self.firstByteTimeout)
        case .failing: answer(.status(500, retryAfter: nil), after: between(.milliseconds(1), .milliseconds(50)))
        case .garbage: answer(.failed(.init(.wrongContentType)), after: .milliseconds(2))
        case .overloaded: answer(.status(429, retryAfter: .seconds(2)), after: .milliseconds(2))
        case .busy: answer(.status(503, retryAfter: nil), after: .milliseconds(2))
        }
    }

    /// Something that the replica of a request's present send did.
    mutating func happened(_ event: Attempt.Event, to index: Int) {
        guard let replica = requests[index].attempt.replica else { return }
        var event = event
        switch event {
        case .content:
            requests[index].contentAt = now
            let left = requests[index].length - requests[index].tokensBefore
            let duration = ModelRequest.tokenTime * Int64(max(0, left - 1)) + .milliseconds(1)
            queue.add(.upstream(request: index, round: requests[index].round, .complete), at: now + duration)
            // A reply that is no stream is held until it is whole.
            if !requests[index].isStream { return }
        case .complete:
            replicas[replica].active.remove(index)
            placeFreed(replica)
            replicas[replica].breaker.succeeded()
            requests[index].tokensBefore = requests[index].tokens(at: now)
            if requests[index].tokensBefore != requests[index].length { violate(index, "tokens are missing") }
        case .failed(var failure):
            left(index, replica)
            failure.isReplicaDown = !replicas[replica].machine.isUp
            if failure.kind.isTimeout || failure.kind == .connectFailed { requests[index].gaveUp.insert(replica) }
            event = .failed(failure)
            if !failure.isStaleConnection { observed(failure.kind, replica) }
        case .status(let status, let retryAfter):
            left(index, replica)
            if let end = CoolDown.end(retryAfter: retryAfter, now: now) {
                replicas[replica].coolUntil = end
            } else if UpstreamFailure(status: status) == .busy {
                replicas[replica].breaker.wasBusy(now)
            }
            if status == 500 { observed(.serverError, replica) }
        default: break
        }
        // A failure that took the replica out may have moved this request already.
        if requests[index].outcome == nil { tell(event, request: index) }
    }

    private mutating func observed(_ failure: UpstreamFailure, _ replica: Int) {
        if failure.countsForBreaker { _ = replicas[replica].breaker.failed(now) }
        if let reason = failure.healthReason {
            perform(replicas[replica].machine.trafficFailed(reason, now: now), replica: replica, began: now)
        }
    }

    /// The replica's part in this request is over; what the client has of a stream stays with it.
    func keptTokens(_ index: Int) -> Int { requests[index].isStream ? requests[index].tokens(at: now) : 0 }

    mutating func left(_ index: Int, _ replica: Int) {
        replicas[replica].active.remove(index)
        placeFreed(replica)
        requests[index].tokensBefore = keptTokens(index)
        requests[index].contentAt = nil
        requests[index].attempt.sent = SentSoFar(tokens: requests[index].tokensBefore, hasExactIDs: true)
    }

    mutating func leave(_ index: Int) {
        guard requests[index].outcome == nil else { return }
        if let replica = requests[index].attempt.replica {
            replicas[replica].active.remove(index)
            replicas[replica].breaker.endedWithoutVerdict(now)
            placeFreed(replica)
        }
        leaveQueue(index)
        end(index, .clientLeft)
    }

    mutating func end(_ index: Int, _ outcome: Outcome) {
        if requests[index].outcome != nil { violate(index, "ended twice") }
        requests[index].outcome = outcome
        if requests[index].attempt.sends > 3 { violate(index, "sent more than three times") }
        switch outcome {
        // All replicas were full: that is no failure of theirs, nor of the gateway's.
        case .failed(.queueFull), .failed(.queueTimeout): break
        case .failed, .passedOn: if mustSucceed(index) { violate(index, "failed although it had to succeed") }
        case .finishedLength:
            if requests[index].tokensBefore != requests[index].length { violate(index, "finished early") }
        case .served, .clientLeft: break
        }
    }

    /// Whether a replica was well all the time, at most two troubles could hit the request, there was time, and the
    /// budget never said no.
    private func mustSucceed(_ index: Int) -> Bool {
        let request = requests[index]
        guard !request.wasRefusedRetry, now < request.began + Self.deadline else { return false }
        let troubles = replicas.map { $0.episodes(from: request.began - Self.recovery, to: now) }
        return request.began > .zero + .seconds(1) && troubles.contains(0) && troubles.reduce(0, +) <= 2
    }

    mutating func violate(_ index: Int, _ what: String) {
        violations.append("request \(index) \(what)\n    " + requests[index].story.joined(separator: "\n    "))
    }
}
