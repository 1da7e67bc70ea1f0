import Balancing
import GatewayCore
import Glibc
import HTTPConnections
import Reactor
import Telemetry
import Wire

/// Performs what the ``Attempt`` machine decides for one request: pick, send, relay, retry, resume.
extension LoopUpstreams {
    /// What a request waits for.
    package enum Pause {
        /// A change on one of its sockets, at most until then.
        case until(Moment)
        /// Its turn in the pool's queue: ``waitForPlace(_:)``.
        case queue
    }

    /// Sends the call's request to a replica, and to others if that one fails: as far as that goes without waiting.
    ///
    /// - In: whether the moment until which it was to wait has passed.
    /// - Out: what to wait for before it is called again; nil when the result is there, ``UpstreamCall/result``: what
    ///   the machine gave up with, if it did; `.clientGone` as soon as the client leaves, which cancels the replica.
    @inline(never)
    package func goOn(_ call: UpstreamCall, isLate: Bool) -> Pause? {
        do throws(GatewayError) {
            let journey = if let journey = call.journey { journey } else { try setOut(call) }
            call.sending.isLate = isLate
            while true {
                if let connection = journey.connection {
                    if let until = advance(call, connection) { return .until(until) }
                    journey.connection = nil
                    try arrive(journey, call, on: connection)
                }
                switch try next(journey, call) {
                case .send(let connection): journey.connection = connection
                case .queue: return .queue
                case .wait(let until): return .until(until)
                case .over: return end(call, .success(try kept(journey)))
                }
            }
        } catch {
            return end(call, .failure(error))
        }
    }

    private func end(_ call: UpstreamCall, _ result: Result<ForwardResult, GatewayError>) -> Pause? {
        call.result = result
        call.restingJourney = call.journey.take()
        return nil
    }

    private func setOut(_ call: UpstreamCall) throws(GatewayError) -> Journey {
        guard let route = presentRoute(for: call) else { throw .noReplica(model: call.modelName) }
        let pool = route.pool
        let broken = call.relay.hasContent ? call.broken : nil
        // Made in its place: a copy would cost as much again.
        func attempt() -> Attempt {
            Attempt(call.attemptRequest, settings: pool.settings.attempt, deadline: call.deadline, resuming: broken)
        }
        let journey: Journey
        if let before = call.restingJourney.take() {
            journey = before
            journey.begin(on: route)
            journey.attempt = attempt()
        } else {
            journey = Journey(attempt(), call, route)
        }
        call.journey = journey
        if broken == nil { call.relay.begin(call) } else { journey.attempt.sent = sentSoFar(call) }
        route.budget.requestStarted(loop.now)
        journey.action = journey.attempt.start(now: loop.now)
        return journey
    }

    /// What comes next.
    private enum Next {
        /// A send that was begun on this connection.
        case send(ClientConnection)
        case queue
        case wait(until: Moment)
        /// The answer is in the journey.
        case over
    }

    /// Does what the machine says, up to where something has to be waited for.
    private func next(_ journey: Journey, _ call: UpstreamCall) throws(GatewayError) -> Next {
        while true {
            let picked: Picked
            switch try choose(journey, call) {
            case .next(let next): return next
            case .picked(let chosen): picked = chosen
            }
            switch try begin(picked, journey, call) {
            case .decided(let action): journey.action = action
            case .send(let index, let way):
                let replica = journey.route.pool.replicas[index]
                if let connection = begin(
                    call, to: replica, in: journey.route, way: way, onNewConnection: journey.onNewConnection)
                {
                    return .send(connection)
                }
                end(call, at: replica, in: journey.route.pool)
                journey.action = try judge(.failed(.connectFailed, isStale: false), of: replica, journey, call)
            }
        }
    }

    private enum Chosen {
        case picked(Picked)
        case next(Next)
    }

    /// Picks a replica as the machine asks, or says what else is next.
    private func choose(_ journey: Journey, _ call: UpstreamCall) throws(GatewayError) -> Chosen {
        if journey.hasWaited, let picked = journey.picked.take() {
            journey.hasWaited = false
            return .picked(picked)
        }
        switch journey.action {
        case .pick, .resume: renew(journey, call)
        default: break
        }
        let pool = journey.route.pool
        switch journey.action {
        case .pick(let exclusions): journey.look(exclusions, isResume: false)
        case .resume(let exclusions): journey.look(exclusions, isResume: true)
        case .again(let index):
            journey.isResume = journey.attempt.hasContent
            journey.onNewConnection = true
            let replica = pool.replicas[index]
            // Its place was given back when the connection turned out stale; without a free one, pick anew.
            let isTaken = replica.take(for: call.modelName, now: loop.now)
            return .picked(isTaken ? .replica(index) : .noneLeft(coolAt: nil))
        case .wait(let until):
            if call.client.isClientGone { throw .clientGone }
            guard loop.now >= until else { return .next(.wait(until: until)) }
            journey.action = journey.attempt.handle(.waited, now: loop.now) { journey.route.budget.spend(loop.now) }
            return try choose(journey, call)
        case .passOn:
            if journey.kept == nil { throw .upstreamFailed(.serverError) }
            return .next(.over)
        case .fail(let error):
            if case .upstreamBroke = error { metrics.resumed(.none, .failed, pool: place(of: pool)) }
            throw error
        case .finishLength:
            call.relay.answer.owedFinish = .length
            journey.kept = .streamed
            return try conclude(journey, call)
        case .done, .proceed: return try conclude(journey, call)
        }
        return pick(journey, for: call).map { .picked($0) } ?? .next(.queue)
    }

    /// The answer is there, but for its usage perhaps.
    private func conclude(_ journey: Journey, _ call: UpstreamCall) throws(GatewayError) -> Chosen {
        guard let kept = journey.kept else { throw .internalError }
        if let counter = beginCounting(call, in: journey.route) {
            journey.isResume = false
            journey.onNewConnection = false
            return .picked(.counter(counter))
        }
        if case .streamed = kept, !call.holdsEnd, !call.relay.isEndSent { call.relay.sendEnd(call) }
        return .next(.over)
    }

    private func kept(_ journey: Journey) throws(GatewayError) -> ForwardResult {
        guard let kept = journey.kept.take() else { throw .internalError }
        return kept
    }

    /// Waits in the pool's queue, as ``goOn(_:isLate:)`` asked.
    package func waitForPlace(_ call: UpstreamCall) async {
        guard let journey = call.journey else { return }
        journey.picked = await pickFromQueue(journey, for: call)
        journey.hasWaited = true
    }

    /// A send came to its outcome.
    private func arrive(
        _ journey: Journey, _ call: UpstreamCall, on connection: ClientConnection
    ) throws(GatewayError) {
        guard let replica = call.replica else { throw .internalError }
        let outcome = end(call, connection, replica, journey.route.pool)
        end(call, at: replica, in: journey.route.pool)
        journey.action = try judge(outcome, of: replica, journey, call)
    }

    /// The machine of one request and the reply that it holds: an object, so that a suspended task holds a pointer. Its
    /// call has it, and uses it again for its next request.
    final class Journey {
        private(set) var route: Route
        var attempt: Attempt
        /// What the machine said last.
        var action = Attempt.Action.proceed
        var kept: ForwardResult?
        unowned(unsafe) let call: UpstreamCall  // The call owns it.
        /// Whose token ids the answer has.
        var idsKind: ReplicaKind?
        /// Continuations that a replica failed at, rather than turned down: at most one a send.
        var failures: [(replica: ReplicaState, way: Balancing.ResumeWay)] = []

        /// What the send that is under way goes out on.
        var connection: ClientConnection?

        // The pick that is under way.
        var exclusions = Attempt.Exclusions()
        var isResume = false
        var onNewConnection = false
        /// What came of the wait in the queue, until it is made use of.
        var picked: Picked?
        var hasWaited = false

        init(_ attempt: Attempt, _ call: UpstreamCall, _ route: Route) {
            self.attempt = attempt
            self.call = call
            self.route = route
        }

        /// Forgets the request before; its ``attempt`` is to be set anew.
        func begin(on route: Route) {
            if self.route !== route { self.route = route }
            kept = nil
            idsKind = nil
            if !failures.isEmpty { failures = [] }
            if hasWaited { picked = nil }
            hasWaited = false
        }

        /// Goes on in another route, in which the replicas have other places.
        func turn(to route: Route) {
            let before = self.route.pool.replicas
            let pool = route.pool
            func place(_ index: Int) -> Int? { pool.find(before[index])?.index }
            self.route = route
            attempt.renumber(place)
            action = action.renumbered(place)
            exclusions = exclusions.renumbered(place)
        }

        func look(_ exclusions: Attempt.Exclusions, isResume: Bool) {
            self.exclusions = exclusions
            self.isResume = isResume
            onNewConnection = false
        }
    }

    private enum Beginning {
        /// To the replica of this index.
        case send(Int, Balancing.ResumeWay?)
        case decided(Attempt.Action)
    }

    /// Tells the machine what was picked.
    private func begin(
        _ picked: Picked, _ journey: Journey, _ call: UpstreamCall
    ) throws(GatewayError) -> Beginning {
        let replica: Replica
        switch picked {
        case .failed(let error): throw error
        case .noneLeft(let coolAt):
            return .decided(journey.attempt.handle(.noneLeft(coolAt: coolAt), now: loop.now) { false })
        case .counter(let counter): return .send(counter, nil)
        case .replica(let index): replica = journey.route.pool.replicas[index]
        }
        var way: Balancing.ResumeWay?
        if journey.isResume {
            way = bestWay(on: replica, journey)
            guard let way else {
                replica.state.release()
                return .decided(journey.attempt.handle(.noneLeft(coolAt: nil), now: loop.now) { false })
            }
            _ = journey.attempt.handle(.resumed(replica: replica.index, way: way), now: loop.now) { false }
            call.resumes += 1
        } else {
            _ = journey.attempt.handle(.sent(replica: replica.index), now: loop.now) { false }
        }
        call.sends = call.sendsBefore + journey.attempt.sends
        if journey.attempt.sends > 1, !journey.onNewConnection, !journey.isResume {
            metrics.retried(pool: place(of: journey.route.pool))
        }
        begin(call, at: replica, in: journey.route.pool)
        return .send(replica.index, way)
    }

    /// What one send came to.
    enum SendOutcome {
        /// It lies in the call.
        case whole
        case streamed
        case status(Int, body: [UInt8], retryAfter: Interval?)
        case failed(UpstreamFailure, isStale: Bool)
        /// A continuation that does not continue what was sent.
        case diverged
        case clientGone
    }

    /// Tells the machine, health, breaker and metrics how a send ended.
    private func judge(
        _ outcome: SendOutcome, of replica: Replica, _ journey: Journey, _ call: UpstreamCall
    ) throws(GatewayError) -> Attempt.Action {
        let route = journey.route
        let now = loop.now
        if call.asksUsageOnly { return try judgeCount(outcome, of: replica, call.modelName) }
        if call.relay.hasContent { _ = journey.attempt.handle(.content, now: now) { false } }
        if call.idTrust != .none { journey.idsKind = replica.settings.kind }
        if let way = journey.attempt.way { learn(outcome, way, replica, journey, call, route) }
        switch outcome {
        case .clientGone:
            replica.state.endedWithoutVerdict(call.modelName, now: now)
            metrics.attempted(.clientGone, replica: place(of: replica, in: journey.route.pool))
            throw .clientGone
        case .whole:
            journey.kept = .whole(WholeReply(call: call))
            return succeed(replica, journey, call)
        case .streamed:
            journey.kept = .streamed
            return succeed(replica, journey, call)
        case .status(let status, let body, let retryAfter):
            let failure = UpstreamFailure(status: status)
            metrics.attempted(
                failure.map { .failed($0) } ?? .rejected, replica: place(of: replica, in: journey.route.pool))
            if failure == .busy, let until = CoolDown.end(retryAfter: retryAfter, now: now) {
                replica.state.coolDown(until: until)
                replica.state.endedWithoutVerdict(call.modelName, now: now)
            } else if failure == .busy {
                replica.state.answeredBusy(call.modelName, now: now)
            } else if let failure {
                replica.state.answerFailed(failure, call.modelName, now: now)
            } else {
                replica.state.endedWithoutVerdict(call.modelName, now: now)
            }
            journey.kept = .refused(status: status, body: body, retryAfter: retryAfter)
            return journey.attempt.handle(.status(status, retryAfter: retryAfter), now: now) { route.budget.spend(now) }
        case .failed(let failure, let isStale):
            if !isStale {
                metrics.attempted(.failed(failure), replica: place(of: replica, in: journey.route.pool))
                replica.state.answerFailed(failure, call.modelName, now: now)
                if let reason = failure.healthReason { onTrafficFailure(replica, reason) }
            }
            journey.attempt.sent = sentSoFar(call)
            let event = Attempt.Failure(failure, isStaleConnection: isStale, isReplicaDown: !replica.isServing)
            return journey.attempt.handle(.failed(event), now: now) { route.budget.spend(now) }
        case .diverged:
            metrics.attempted(.rejected, replica: place(of: replica, in: journey.route.pool))
            replica.state.endedWithoutVerdict(call.modelName, now: now)
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
                if way == .prefill, UpstreamError.blamesPrefill(body.span) {
                    replica.state.refusedPrefill(now: loop.now)
                }
            } else if status != 503 {
                journey.failures.append((replica.state, way))
            }
        case .diverged:
            result = .diverged
            if way == .prefill { replica.state.refusedPrefill(now: loop.now) }
        case .failed(let failure, let isStale):
            if isStale { return }
            if !failure.declaresDead, !failure.isTimeout { journey.failures.append((replica.state, way)) }
        case .clientGone: break
        }
        metrics.resumed(way.counted, result, pool: place(of: route.pool))
    }

    /// A request for the usage alone decides nothing: what was sent is complete.
    private func judgeCount(
        _ outcome: SendOutcome, of replica: Replica, _ model: String
    ) throws(GatewayError) -> Attempt.Action {
        replica.state.endedWithoutVerdict(model, now: loop.now)
        if case .clientGone = outcome { throw .clientGone }
        return .proceed
    }

    private func succeed(_ replica: Replica, _ journey: Journey, _ call: UpstreamCall) -> Attempt.Action {
        metrics.attempted(.ok, replica: place(of: replica, in: journey.route.pool))
        replica.state.answerSucceeded(call.modelName, now: loop.now)
        return journey.attempt.handle(.complete, now: loop.now) { false }
    }

    /// The reply was passed on: its connection may carry the next request.
    package func finish(_ reply: WholeReply, in pool: Pool) {
        guard let connection = reply.call.wholeReply.take(), let replica = reply.call.replica else { return }
        keep(connection, replica, in: pool)
    }
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
