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
        var attempt = Attempt(call.attemptRequest, settings: pool.settings.attempt, deadline: call.deadline)
        route.budget.requestStarted(loop.now)
        var action = attempt.start(now: loop.now)
        var kept: ForwardResult?
        while true {
            switch action {
            case .pick(let exclusions):
                let picked = await pick(exclusions, for: call, in: route)
                action = try await begin(picked, &attempt, call, route, isResume: false, &kept)
            case .resume(let exclusions):
                let machine = attempt
                let picked = await pick(exclusions, for: call, in: route) { [self] replica in
                    bestWay(machine.ways(on: replica.settings.kind.abilities)) != nil
                }
                action = try await begin(picked, &attempt, call, route, isResume: true, &kept)
            case .again(let index):
                let replica = pool.replicas[index]
                // Its place was given back when the connection turned out stale; without a free one, pick anew.
                let picked = replica.take(now: loop.now) ? Picked.replica(replica) : .noneLeft(coolAt: nil)
                action = try await begin(
                    picked, &attempt, call, route, isResume: attempt.hasContent, &kept, onNewConnection: true)
            case .wait(let until):
                try await wait(until: until, call)
                action = attempt.handle(.waited, now: loop.now) { route.budget.spend(loop.now) }
            case .passOn:
                guard let kept else { throw .upstreamFailed(.serverError) }
                return kept
            case .finishLength:
                call.relay.owedFinish = .length
                if !call.holdsEnd { call.relay.sendEnd(call) }
                return .streamed
            case .fail(let error):
                if case .upstreamBroke = error { metrics.resumed(.none, pool: pool.index) }
                throw error
            case .done, .proceed:
                guard let kept else { throw .internalError }
                return kept
            }
        }
    }

    private func begin(
        _ picked: Picked, _ attempt: inout Attempt, _ call: UpstreamCall, _ route: Route, isResume: Bool,
        _ kept: inout ForwardResult?, onNewConnection: Bool = false
    ) async throws(GatewayError) -> Attempt.Action {
        let replica: Replica
        switch picked {
        case .failed(let error): throw error
        case .noneLeft(let coolAt):
            return attempt.handle(.noneLeft(coolAt: coolAt), now: loop.now) { false }
        case .replica(let found): replica = found
        }
        var way: Balancing.ResumeWay?
        if isResume {
            way = bestWay(attempt.ways(on: replica.settings.kind.abilities))
            guard let way else {
                replica.release()
                return attempt.handle(.noneLeft(coolAt: nil), now: loop.now) { false }
            }
            _ = attempt.handle(.resumed(replica: replica.index, way: way), now: loop.now) { false }
            call.resumes += 1
            metrics.resumed(way.counted, pool: route.pool.index)
        } else {
            _ = attempt.handle(.sent(replica: replica.index), now: loop.now) { false }
        }
        call.sends = attempt.sends
        if attempt.sends > 1, !onNewConnection, !isResume { metrics.retried(pool: route.pool.index) }
        begin(call, at: replica)
        let outcome = await send(call, to: replica, in: route, way: way, onNewConnection: onNewConnection)
        end(call, at: replica, in: route.pool)
        return try judge(outcome, of: replica, &attempt, call, route, &kept)
    }

    /// Of the ways that are there, the best one that the shell can go.
    private func bestWay(_ ways: ResumeWays) -> Balancing.ResumeWay? {
        ways.contains(.prefill) ? .prefill : nil
    }

    /// What one send came to.
    enum SendOutcome {
        case whole(WholeReply)
        case streamed
        case status(Int, body: [UInt8], retryAfter: Interval?)
        case failed(UpstreamFailure, isStale: Bool)
        case clientGone
    }

    /// Tells the machine, health, breaker and metrics how a send ended.
    private func judge(
        _ outcome: SendOutcome, of replica: Replica, _ attempt: inout Attempt, _ call: UpstreamCall, _ route: Route,
        _ kept: inout ForwardResult?
    ) throws(GatewayError) -> Attempt.Action {
        let now = loop.now
        if call.relay.hasContent { _ = attempt.handle(.content, now: now) { false } }
        switch outcome {
        case .clientGone:
            metrics.attempted(.clientGone, replica: replica.metricsIndex)
            throw .clientGone
        case .whole(let reply):
            kept = .whole(reply)
            return succeed(replica, &attempt)
        case .streamed:
            kept = .streamed
            return succeed(replica, &attempt)
        case .status(let status, let body, let retryAfter):
            let isBusy = status == 429 || status == 503
            metrics.attempted(
                status < 500 && !isBusy ? .rejected : .failed(isBusy ? .busy : .serverError),
                replica: replica.metricsIndex)
            if isBusy, let until = CoolDown.end(retryAfter: retryAfter, now: now) { replica.coolDown(until: until) }
            if status >= 500, !isBusy { replica.answerFailed(.serverError, now: now) }
            if [401, 403, 404].contains(status) { replica.answerFailed(.refusedUs, now: now) }
            kept = .refused(status: status, body: body, retryAfter: retryAfter)
            return attempt.handle(.status(status, retryAfter: retryAfter), now: now) { route.budget.spend(now) }
        case .failed(let failure, let isStale):
            if !isStale {
                metrics.attempted(.failed(failure), replica: replica.metricsIndex)
                replica.answerFailed(failure, now: now)
                if let reason = failure.healthReason { onTrafficFailure(replica, reason) }
            }
            attempt.sent = sentSoFar(call)
            let event = Attempt.Failure(failure, isStaleConnection: isStale, isReplicaDown: !replica.isServing)
            return attempt.handle(.failed(event), now: now) { route.budget.spend(now) }
        }
    }

    private func succeed(_ replica: Replica, _ attempt: inout Attempt) -> Attempt.Action {
        metrics.attempted(.ok, replica: replica.metricsIndex)
        replica.answerSucceeded()
        return attempt.handle(.complete, now: loop.now) { false }
    }

    private func sentSoFar(_ call: UpstreamCall) -> SentSoFar {
        SentSoFar(
            tokens: call.relay.deltas, hasExactIDs: false,
            hasToolsOrReasoning: call.relay.hasToolsOrReasoning || !call.relay.isTextWhole,
            endsInStopPrefix: endsInStopPrefix(call))
    }

    /// Whether the text ends in the beginning of a stop string: its rest may have been on the way.
    private func endsInStopPrefix(_ call: UpstreamCall) -> Bool {
        guard let request = call.request, !request.stops.isEmpty else { return false }
        return call.client.withRequest { bytes in
            let body = bytes.extracting(call.client.bodyRange)
            return call.relay.text.withBytes { text in
                request.stops.contains { JSONText.ends(text, inPrefixOf: body.extracting($0.raw)) }
            }
        }
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
