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
        let journey = Journey(Attempt(call.attemptRequest, settings: pool.settings.attempt, deadline: call.deadline))
        call.journey = journey
        defer { call.journey = nil }
        route.budget.requestStarted(loop.now)
        var action = journey.attempt.start(now: loop.now)
        while true {
            // One place where a send is awaited: each would have its own room in the frame of an open stream.
            let picked: Picked
            var isResume = false
            var onNewConnection = false
            switch action {
            case .pick(let exclusions):
                picked = await pick(exclusions, for: call, in: route, resuming: nil)
            case .resume(let exclusions):
                picked = await pick(exclusions, for: call, in: route, resuming: journey)
                isResume = true
            case .again(let index):
                let replica = pool.replicas[index]
                // Its place was given back when the connection turned out stale; without a free one, pick anew.
                let isTaken = replica.take(for: call.modelName, now: loop.now)
                picked = isTaken ? Picked.replica(replica) : .noneLeft(coolAt: nil)
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
                call.relay.owedFinish = .length
                if !call.holdsEnd { call.relay.sendEnd(call) }
                return .streamed
            case .fail(let error):
                if case .upstreamBroke = error { metrics.resumed(.none, pool: pool.index) }
                throw error
            case .done, .proceed:
                guard let kept = journey.kept else { throw .internalError }
                return kept
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

        init(_ attempt: Attempt) { self.attempt = attempt }
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
            metrics.resumed(way.counted, pool: route.pool.index)
        } else {
            _ = journey.attempt.handle(.sent(replica: replica.index), now: loop.now) { false }
        }
        call.sends = call.sendsBefore + journey.attempt.sends
        if journey.attempt.sends > 1, !onNewConnection, !isResume { metrics.retried(pool: route.pool.index) }
        begin(call, at: replica)
        return .send(replica, way)
    }

    /// Of the ways in which the replica could continue the stream, the best one that the shell can go.
    func bestWay(on replica: Replica, _ journey: Journey) -> Balancing.ResumeWay? {
        journey.attempt.ways(on: replica.settings.kind.abilities).contains(.prefill) ? .prefill : nil
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
    @inline(never)
    private func judge(
        _ outcome: SendOutcome, of replica: Replica, _ journey: Journey, _ call: UpstreamCall, _ route: Route
    ) throws(GatewayError) -> Attempt.Action {
        let now = loop.now
        if call.relay.hasContent { _ = journey.attempt.handle(.content, now: now) { false } }
        switch outcome {
        case .clientGone:
            replica.endedWithoutVerdict(call.modelName, now: now)
            metrics.attempted(.clientGone, replica: replica.metricsIndex)
            throw .clientGone
        case .whole(let reply):
            journey.kept = .whole(reply)
            return succeed(replica, journey, call)
        case .streamed:
            journey.kept = .streamed
            return succeed(replica, journey, call)
        case .status(let status, let body, let retryAfter):
            let failure = UpstreamFailure(status: status)
            metrics.attempted(failure.map { .failed($0) } ?? .rejected, replica: replica.metricsIndex)
            if failure == .busy, let until = CoolDown.end(retryAfter: retryAfter, now: now) {
                replica.coolDown(until: until)
                replica.endedWithoutVerdict(call.modelName, now: now)
            } else if failure == .busy {
                replica.answeredBusy(call.modelName, now: now)
            } else if let failure {
                replica.answerFailed(failure, call.modelName, now: now)
            } else {
                replica.endedWithoutVerdict(call.modelName, now: now)
            }
            journey.kept = .refused(status: status, body: body, retryAfter: retryAfter)
            return journey.attempt.handle(.status(status, retryAfter: retryAfter), now: now) { route.budget.spend(now) }
        case .failed(let failure, let isStale):
            if !isStale {
                metrics.attempted(.failed(failure), replica: replica.metricsIndex)
                replica.answerFailed(failure, call.modelName, now: now)
                if let reason = failure.healthReason { onTrafficFailure(replica, reason) }
            }
            journey.attempt.sent = sentSoFar(call)
            let event = Attempt.Failure(failure, isStaleConnection: isStale, isReplicaDown: !replica.isServing)
            return journey.attempt.handle(.failed(event), now: now) { route.budget.spend(now) }
        }
    }

    private func succeed(_ replica: Replica, _ journey: Journey, _ call: UpstreamCall) -> Attempt.Action {
        metrics.attempted(.ok, replica: replica.metricsIndex)
        replica.answerSucceeded(call.modelName, now: loop.now)
        return journey.attempt.handle(.complete, now: loop.now) { false }
    }

    func sentSoFar(_ call: UpstreamCall) -> SentSoFar {
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
