import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Telemetry
import Wire

/// What the outcome of a send means: for the machine, health, the breaker, the metrics, and the next continuation.
extension LoopUpstreams {
    /// What one send came to.
    enum SendOutcome {
        /// A whole reply; it lies in ``Journey/connection``.
        case whole
        case streamed
        /// A reply that is no success; it lies in ``Journey/refusal``.
        case refused
        case failed(UpstreamFailure, isStale: Bool)
        /// A continuation that does not continue what was sent.
        case diverged
        case clientGone
    }

    /// Tells health, breaker, metrics and the machine how a send ended. What the machine says is done next.
    @inline(__always)
    func judge(_ outcome: SendOutcome, of link: Link, _ call: UpstreamCall) {
        // It answers a request that is no stream, so there was nothing to continue and nothing to count anew.
        if case .whole = outcome { return succeed(.whole, link, call) }
        judgeClosely(outcome, of: link, call)
    }

    @inline(never)
    func judgeClosely(_ outcome: SendOutcome, of link: Link, _ call: UpstreamCall) {
        let journey = call.journey
        if call.asksUsageOnly { return judgeCount(outcome, of: link, call) }
        if call.relay.hasContent { _ = journey.attempt.handle(.content, now: loop.now) { false } }
        if call.idTrust != .none { journey.idsKind = link.replica.settings.kind }
        if let way = journey.attempt.way { learn(outcome, way, link, call) }
        switch outcome {
        case .whole: succeed(.whole, link, call)
        case .streamed: succeed(.streamed, link, call)
        case .refused: judgeRefusal(link, call)
        case .failed(let failure, let isStale): judgeFailure(failure, isStale: isStale, link, call)
        case .diverged:
            count(.rejected, at: link)
            link.state.endedWithoutVerdict(call.modelName, now: loop.now)
            tell(.diverged, call)
        case .clientGone:
            count(.clientGone, at: link)
            link.state.endedWithoutVerdict(call.modelName, now: loop.now)
            end(call, .failure(.clientGone))
        }
    }

    @inline(__always)
    private func succeed(_ kept: Journey.Kept, _ link: Link, _ call: UpstreamCall) {
        count(.ok, at: link)
        link.state.sawAnswer(at: loop.now)
        if link.state.isBreakerWatching { link.state.answerSucceeded(call.modelName) }
        call.journey.kept = kept
        call.journey.action = call.journey.attempt.wasCompleted()
    }

    private func judgeRefusal(_ link: Link, _ call: UpstreamCall) {
        guard let refusal = call.journey.refusal else { return }
        let (state, now) = (link.state, loop.now)
        let failure = UpstreamFailure(status: refusal.status)
        count(failure.map { .failed($0) } ?? .rejected, at: link)
        if failure == .busy, let until = CoolDown.end(retryAfter: refusal.retryAfter, now: now) {
            state.coolDown(until: until)
            state.endedWithoutVerdict(call.modelName, now: now)
        } else if failure == .busy {
            state.answeredBusy(call.modelName, now: now)
        } else if let failure {
            state.answerFailed(failure, call.modelName, now: now)
        } else {
            state.endedWithoutVerdict(call.modelName, now: now)
        }
        call.journey.kept = .refused
        tell(.status(refusal.status, retryAfter: refusal.retryAfter), call)
    }

    private func judgeFailure(_ failure: UpstreamFailure, isStale: Bool, _ link: Link, _ call: UpstreamCall) {
        if !isStale {
            count(.failed(failure), at: link)
            link.state.answerFailed(failure, call.modelName, now: loop.now)
            if let reason = failure.healthReason { onTrafficFailure(link.replica, reason) }
        }
        call.journey.attempt.sent = sentSoFar(call)
        let isDown = !link.replica.isServing
        tell(.failed(Attempt.Failure(failure, isStaleConnection: isStale, isReplicaDown: isDown)), call)
    }

    /// A request for the usage alone decides nothing: what was sent is complete.
    private func judgeCount(_ outcome: SendOutcome, of link: Link, _ call: UpstreamCall) {
        link.state.endedWithoutVerdict(call.modelName, now: loop.now)
        if case .clientGone = outcome { return end(call, .failure(.clientGone)) }
        call.journey.action = .proceed
    }

    /// What a continuation came to, for the metrics, and for the next one.
    private func learn(_ outcome: SendOutcome, _ way: Balancing.ResumeWay, _ link: Link, _ call: UpstreamCall) {
        let (journey, state) = (call.journey, link.state)
        var result = ResumeOutcome.failed
        switch outcome {
        case .streamed, .whole:
            result = .ok
            call.resumedBy = way.counted
        case .refused:
            guard let refusal = journey.refusal else { break }
            if (400...499).contains(refusal.status) || refusal.status == 501 {
                result = .refused
                if way == .prefill, UpstreamError.blamesPrefill(refusal.body.span) {
                    state.refusedPrefill(now: loop.now)
                }
            } else if refusal.status != 503 {
                journey.failures.append((state, way))
            }
        case .diverged:
            result = .diverged
            if way == .prefill { state.refusedPrefill(now: loop.now) }
        case .failed(let failure, let isStale):
            if isStale { return }
            if !failure.declaresDead, !failure.isTimeout { journey.failures.append((state, way)) }
        case .clientGone: break
        }
        metrics.resumed(way.counted, result, pool: place(of: call) ?? .max)
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
