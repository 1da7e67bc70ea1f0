import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Telemetry
import Wire

/// Performs what the ``Attempt`` machine decides for one request: pick, send, relay, retry, resume.
///
///     setOut ──► next: pick ──► send ──► advance … ──► arrive: judge ──► next: conclude ──► the result
///                  ▲                     (waits)              │
///                  └──────── retry, resume, wait ◄────────────┘
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
        let journey = call.journey
        if !journey.isUnderWay, call.result == nil { setOut(call) }
        call.sending.isLate = isLate
        while journey.isUnderWay {
            // Taken out while they are worked with, because nobody counts what is passed from hand to hand.
            if journey.isAtReplica, let link = journey.link.take(), let connection = journey.connection.take() {
                let until = advance(call, link, connection)
                if until == nil { arrive(call, from: link, connection) } else { journey.connection = connection }
                journey.link = link
                if let until { return .until(until) }
            } else if let pause = next(call) {
                return pause
            }
        }
        return nil
    }

    @inline(never)
    private func setOut(_ call: UpstreamCall) {
        guard let route = usualRoute(for: call) ?? presentRoute(for: call) else {
            return end(call, .failure(.noReplica(model: call.modelName)))
        }
        let journey = call.journey
        journey.begin(on: route)
        route.budget.requestStarted(loop.now)
        if call.relay.hasContent, let broken = call.broken { return setOut(call, in: route, resuming: broken) }
        if call.isStream { call.relay.begin(call) }
        journey.action = journey.attempt.restart(
            call.isStream ? call.attemptRequest : .whole, settings: route.pool.settings.attempt,
            deadline: call.deadline, now: loop.now)
    }

    /// With a stream that another model began.
    @inline(never)
    private func setOut(_ call: UpstreamCall, in route: Route, resuming broken: UpstreamFailure) {
        call.journey.attempt = Attempt(
            call.attemptRequest, settings: route.pool.settings.attempt, deadline: call.deadline, resuming: broken)
        call.journey.attempt.sent = sentSoFar(call)
        call.journey.action = call.journey.attempt.start(now: loop.now)
    }

    /// Does what the machine says. - Returns: what to wait for before that.
    @inline(__always)
    private func next(_ call: UpstreamCall) -> Pause? {
        switch call.journey.action {
        case .pick, .resume: return pickAndSend(call)
        case .done, .proceed, .passOn: conclude(call)
        case .again, .wait, .finishLength, .fail: return nextInTrouble(call)
        }
        return nil
    }

    @inline(never)
    private func nextInTrouble(_ call: UpstreamCall) -> Pause? {
        let journey = call.journey
        switch journey.action {
        case .again(let index): sendAgain(call, to: index)
        case .wait(let until):
            if call.client.isClientGone {
                end(call, .failure(.clientGone))
            } else if loop.now >= until {
                tell(.waited, call)
            } else {
                return .until(until)
            }
        case .finishLength:
            call.relay.answer.owedFinish = .length
            journey.kept = .streamed
            conclude(call)
        case .fail(let loss):
            if case .upstreamBroke = loss { metrics.resumed(.none, .failed, pool: place(of: call) ?? .max) }
            end(call, .failure(loss.error(model: call.modelName)))
        case .pick, .resume, .done, .proceed, .passOn: break  // These are no trouble.
        }
        return nil
    }

    /// Tells the machine what happened, and keeps what it says.
    @inline(never)
    func tell(_ event: Attempt.Event, _ call: UpstreamCall) {
        guard let route = call.journey.route else { return }
        let now = loop.now
        call.journey.action = call.journey.attempt.handle(event, now: now) { route.budget.spend(now) }
    }

    // MARK: Sending

    @inline(__always)
    private func pickAndSend(_ call: UpstreamCall) -> Pause? {
        let journey = call.journey
        guard let route = journey.route, route.isInForce, journey.placeInQueue == nil, journey.isFirstSend,
            let link = takeTurn(in: route)
        else { return pickClosely(call) }
        send(call, to: link)
        return nil
    }

    /// The same for a request that has come around, or has to look around.
    @inline(never)
    private func pickClosely(_ call: UpstreamCall) -> Pause? {
        let journey = call.journey
        if journey.placeInQueue == nil { renew(call) }
        switch journey.placeInQueue.take() ?? pick(for: call) {
        case nil: return .queue
        case .noneLeft(let coolAt): tell(.noneLeft(coolAt: coolAt), call)
        case .replica(let index):
            guard let link = journey.route?.links[index] else { break }
            if !journey.attempt.hasContent {
                send(call, to: link)
            } else if let way = bestWay(on: link.replica, for: call) {
                call.resumes += 1
                send(call, to: link, way: way)
            } else {
                link.replica.state.release()
                tell(.noneLeft(coolAt: nil), call)
            }
        }
        return nil
    }

    /// On a new connection, because the one before had been closed meanwhile.
    private func sendAgain(_ call: UpstreamCall, to index: Int) {
        guard let link = call.journey.route?.links[index] else { return }
        // Its place was given back when the connection turned out stale; without a free one, pick anew.
        guard link.replica.take(for: call.modelName, now: loop.now) else { return tell(.noneLeft(coolAt: nil), call) }
        send(call, to: link, way: call.journey.attempt.way, onNewConnection: true)
    }

    /// Begins a send to a replica whose place is taken.
    @inline(__always)
    private func send(
        _ call: UpstreamCall, to link: consuming Link, way: Balancing.ResumeWay? = nil, onNewConnection: Bool = false
    ) {
        let journey = call.journey
        if let way {
            _ = journey.attempt.handle(.resumed(replica: link.replica.index, way: way), now: loop.now) { false }
        } else {
            journey.attempt.wasSent(to: link.replica.index)
        }
        call.sends = call.sendsBefore + journey.attempt.sends
        if journey.attempt.sends > 1, way == nil, !onNewConnection { metrics.retried(pool: place(of: call) ?? .max) }
        start(call, to: link, way: way, onNewConnection: onNewConnection)
    }

    @inline(__always)
    private func start(
        _ call: UpstreamCall, to link: consuming Link, way: Balancing.ResumeWay? = nil, onNewConnection: Bool = false
    ) {
        let isOpen = openConnection(for: call, to: link, way: way, isNew: onNewConnection)
        enter(call, link)
        if !isOpen { couldNotStart(call) }
    }

    @inline(never)
    private func couldNotStart(_ call: UpstreamCall) {
        guard let link = call.journey.link else { return }
        leave(call, link)
        judgeClosely(.failed(.connectFailed, isStale: false), of: link, call)
    }

    /// A send came to its outcome. Its connection can carry another request, or is closed, or has a whole reply in it.
    @inline(__always)
    private func arrive(_ call: UpstreamCall, from link: Link, _ connection: consuming ClientConnection) {
        if call.outgoing.hasRoom { buffers.requests.takeBack(&call.outgoing) }
        let outcome = call.outcome.take() ?? .failed(.reset, isStale: false)
        if case .whole = outcome { call.journey.connection = connection } else { link.keep(connection) }
        leave(call, link)
        judge(outcome, of: link, call)
    }

    // MARK: Ending

    /// The answer is there, but for its usage perhaps.
    @inline(__always)
    private func conclude(_ call: UpstreamCall) {
        if case .whole = call.journey.kept { return end(call, .success(.whole(WholeReply(call: call)))) }
        concludeClosely(call)
    }

    @inline(never)
    private func concludeClosely(_ call: UpstreamCall) {
        let journey = call.journey
        switch journey.kept {
        case .whole: break
        case .streamed:
            if let link = linkForCounting(call) { return start(call, to: link) }
            if !call.holdsEnd, !call.relay.isEndSent { call.relay.sendEnd(call) }
            end(call, .success(.streamed))
        case .refused:
            guard let refusal = journey.refusal.take() else { return end(call, .failure(.internalError)) }
            let (status, body, retryAfter) = (refusal.status, refusal.body, refusal.retryAfter)
            end(call, .success(.refused(status: status, body: body, retryAfter: retryAfter)))
        case .nothing: end(call, .failure(.upstreamFailed(.serverError)))
        }
    }

    func end(_ call: UpstreamCall, _ result: Result<ForwardResult, GatewayError>) {
        call.result = result
        call.journey.isUnderWay = false
    }
}
