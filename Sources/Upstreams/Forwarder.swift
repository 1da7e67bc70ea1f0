import Balancing
import GatewayCore
import Glibc
import HTTPConnections
import Reactor
import Telemetry
import Wire

/// Performs what the ``Attempt`` machine decides for one request: pick, send, relay, retry, resume.
extension LoopUpstreams {
    /// Sends the call's request to a replica, and to others if that one fails.
    ///
    /// - Throws: what the machine gave up with; `.clientGone` as soon as the client leaves, which cancels the replica.
    package func forward(_ call: UpstreamCall) async throws(GatewayError) -> ForwardResult {
        guard let pool = call.pool, let route = route(of: pool) else { throw .internalError }
        let broken = call.relay.hasContent ? call.broken : nil
        let journey = Journey(
            Attempt(
                call.attemptRequest, settings: pool.settings.attempt, deadline: call.deadline, resuming: broken), call)
        if broken == nil { call.relay.begin(call) } else { journey.attempt.sent = sentSoFar(call) }
        call.journey = journey
        defer { call.journey = nil }
        route.budget.requestStarted(loop.now)
        var action = journey.attempt.start(now: loop.now)
        while true {
            // One place where a pick and a send are awaited: each would have its own room in an open stream's frame.
            let picked: Picked
            var exclusions: Attempt.Exclusions?
            var isResume = false
            var onNewConnection = false
            switch action {
            case .pick(let excluded):
                exclusions = excluded
            case .resume(let excluded):
                exclusions = excluded
                isResume = true
            case .again:
                isResume = journey.attempt.hasContent
                onNewConnection = true
            case .wait(let until):
                try await wait(until: until, call)
                action = journey.attempt.handle(.waited, now: loop.now) { route.budget.spend(loop.now) }
                continue
            case .passOn:
                guard let kept = journey.kept else { throw .upstreamFailed(.serverError) }
                return kept
            case .finishLength:
                call.relay.answer.owedFinish = .length
                journey.kept = .streamed
            case .fail(let error):
                if case .upstreamBroke = error { metrics.resumed(.none, .failed, pool: pool.index) }
                throw error
            case .done, .proceed:
                break
            }
            if let exclusions {
                picked = await pick(exclusions, for: call, in: route, resuming: isResume ? journey : nil)
            } else if case .again(let index) = action {
                let replica = pool.replicas[index]
                // Its place was given back when the connection turned out stale; without a free one, pick anew.
                picked = replica.take(now: loop.now) ? Picked.replica(replica) : .noneLeft(coolAt: nil)
            } else {
                // The answer is there, but for its usage perhaps.
                guard let kept = journey.kept else { throw .internalError }
                guard let counter = beginCounting(call, in: route) else {
                    if case .streamed = kept, !call.holdsEnd, !call.relay.isEndSent { call.relay.sendEnd(call) }
                    return kept
                }
                picked = .counter(counter)
            }
            switch try begin(picked, journey, call, route, isResume: isResume, onNewConnection) {
            case .decided(let next): action = next
            case .send(let replica, let way):
                let outcome = await send(call, to: replica, in: route, way: way, onNewConnection: onNewConnection)
                end(call, at: replica, in: pool)
                action = try judge(outcome, of: replica, journey, call, route)
            }
        }
    }

    /// The machine of one request and the reply that it holds: an object, so that a suspended task holds a pointer.
    final class Journey {
        var attempt: Attempt
        var kept: ForwardResult?
        weak var call: UpstreamCall?
        /// Whose token ids the answer has.
        var idsKind: ReplicaKind?
        /// Continuations that a replica failed at, rather than turned down: at most one a send.
        var failures: [(replica: Int, way: Balancing.ResumeWay)] = []

        init(_ attempt: Attempt, _ call: UpstreamCall) {
            self.attempt = attempt
            self.call = call
        }
    }

    private enum Beginning {
        case send(Replica, Balancing.ResumeWay?)
        case decided(Attempt.Action)
    }

    /// Tells the machine what was picked. Kept out of line, and so out of the suspended task's frame.
    @inline(never)
    private func begin(
        _ picked: Picked, _ journey: Journey, _ call: UpstreamCall, _ route: Route, isResume: Bool,
        _ onNewConnection: Bool
    ) throws(GatewayError) -> Beginning {
        let replica: Replica
        switch picked {
        case .failed(let error): throw error
        case .noneLeft(let coolAt):
            return .decided(journey.attempt.handle(.noneLeft(coolAt: coolAt), now: loop.now) { false })
        case .counter(let counter): return .send(counter, nil)
        case .replica(let found): replica = found
        }
        var way: Balancing.ResumeWay?
        if isResume {
            way = bestWay(on: replica, journey)
            guard let way else {
                replica.release()
                return .decided(journey.attempt.handle(.noneLeft(coolAt: nil), now: loop.now) { false })
            }
            _ = journey.attempt.handle(.resumed(replica: replica.index, way: way), now: loop.now) { false }
            call.resumes += 1
        } else {
            _ = journey.attempt.handle(.sent(replica: replica.index), now: loop.now) { false }
        }
        call.sends = call.sendsBefore + journey.attempt.sends
        if journey.attempt.sends > 1, !onNewConnection, !isResume { metrics.retried(pool: route.pool.index) }
        begin(call, at: replica)
        return .send(replica, way)
    }

    /// What one send came to.
    enum SendOutcome {
        case whole(WholeReply)
        case streamed
        case status(Int, body: [UInt8], retryAfter: Interval?)
        case failed(UpstreamFailure, isStale: Bool)
        /// A continuation that does not continue what was sent.
        case diverged
        case clientGone
    }

    /// Tells the machine, health, breaker and metrics how a send ended.
    @inline(never)
    private func judge(
        _ outcome: SendOutcome, of replica: Replica, _ journey: Journey, _ call: UpstreamCall, _ route: Route
    ) throws(GatewayError) -> Attempt.Action {
        let now = loop.now
        if call.asksUsageOnly { return try judgeCount(outcome, of: replica) }
        if call.relay.hasContent { _ = journey.attempt.handle(.content, now: now) { false } }
        if call.idTrust != .none { journey.idsKind = replica.settings.kind }
        if let way = journey.attempt.way { learn(outcome, way, replica, journey, call, route) }
        switch outcome {
        case .clientGone:
            replica.endedWithoutVerdict(now: now)
            metrics.attempted(.clientGone, replica: replica.metricsIndex)
            throw .clientGone
        case .whole(let reply):
            journey.kept = .whole(reply)
            return succeed(replica, journey)
        case .streamed:
            journey.kept = .streamed
            return succeed(replica, journey)
        case .status(let status, let body, let retryAfter):
            let failure = UpstreamFailure(status: status)
            metrics.attempted(failure.map { .failed($0) } ?? .rejected, replica: replica.metricsIndex)
            if failure == .busy, let until = CoolDown.end(retryAfter: retryAfter, now: now) {
                replica.coolDown(until: until)
                replica.endedWithoutVerdict(now: now)
            } else if failure == .busy {
                replica.answeredBusy(now: now)
            } else if let failure {
                replica.answerFailed(failure, now: now)
            } else {
                replica.endedWithoutVerdict(now: now)
            }
            journey.kept = .refused(status: status, body: body, retryAfter: retryAfter)
            return journey.attempt.handle(.status(status, retryAfter: retryAfter), now: now) { route.budget.spend(now) }
        case .failed(let failure, let isStale):
            if !isStale {
                metrics.attempted(.failed(failure), replica: replica.metricsIndex)
                replica.answerFailed(failure, now: now)
                if let reason = failure.healthReason { onTrafficFailure(replica, reason) }
            }
            journey.attempt.sent = sentSoFar(call)
            let event = Attempt.Failure(failure, isStaleConnection: isStale, isReplicaDown: !replica.isServing)
            return journey.attempt.handle(.failed(event), now: now) { route.budget.spend(now) }
        case .diverged:
            metrics.attempted(.rejected, replica: replica.metricsIndex)
            replica.endedWithoutVerdict(now: now)
            return journey.attempt.handle(.diverged, now: now) { route.budget.spend(now) }
        }
    }

    /// What a continuation came to, for the metrics, and for the next one.
    private func learn(
        _ outcome: SendOutcome, _ way: Balancing.ResumeWay, _ replica: Replica, _ journey: Journey,
        _ call: UpstreamCall, _ route: Route
    ) {
        var result = ResumeOutcome.failed
        switch outcome {
        case .streamed, .whole:
            result = .ok
            call.resumedBy = way.counted
        case .status(let status, let body, _):
            if (400...499).contains(status) || status == 501 {
                result = .refused
                if way == .prefill, UpstreamError.blamesPrefill(body.span) { replica.refusedPrefill(now: loop.now) }
            } else if status != 503 {
                journey.failures.append((replica.index, way))
            }
        case .diverged:
            result = .diverged
            if way == .prefill { replica.refusedPrefill(now: loop.now) }
        case .failed(let failure, let isStale):
            if isStale { return }
            if !failure.declaresDead, !failure.isTimeout { journey.failures.append((replica.index, way)) }
        case .clientGone: break
        }
        metrics.resumed(way.counted, result, pool: route.pool.index)
    }

    /// A request for the usage alone decides nothing: what was sent is complete.
    private func judgeCount(_ outcome: SendOutcome, of replica: Replica) throws(GatewayError) -> Attempt.Action {
        replica.endedWithoutVerdict(now: loop.now)
        if case .clientGone = outcome { throw .clientGone }
        return .proceed
    }

    private func succeed(_ replica: Replica, _ journey: Journey) -> Attempt.Action {
        metrics.attempted(.ok, replica: replica.metricsIndex)
        replica.answerSucceeded()
        return journey.attempt.handle(.complete, now: loop.now) { false }
    }

    private func wait(until moment: Moment, _ call: UpstreamCall) async throws(GatewayError) {
        while loop.now < moment {
            if call.client.isClientGone { throw .clientGone }
            _ = await call.parking.park(until: moment)
        }
    }

    /// The reply was passed on: its connection may carry the next request.
    package func finish(_ reply: WholeReply, in pool: Pool) { keep(reply.connection, reply.replica, in: pool) }
}

extension Balancing.ResumeWay {
    /// What the metric calls it.
    fileprivate var counted: ResumeResult {
        switch self {
        case .tokenIDs: .tokenIDs
        case .prefill: .prefill
        case .replay: .replay
        }
    }
}
