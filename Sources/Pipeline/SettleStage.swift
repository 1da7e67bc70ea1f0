import GatewayCore
import HTTPConnections
import Limiting
import Reactor
import Synchronization
import Telemetry
import Upstreams
import Wire

/// Ends every request, exactly once: remembers the turn, answers, charges, counts and logs.
///
/// - Isolation: the request's loop.
struct SettleStage {
    let services: LoopServices

    func flush(_ exchange: Exchange) async {
        do throws(GatewayError) {
            try await exchange.connection.flush()
        } catch {
            if exchange.ending == .ok { exchange.ending = ending(error, exchange) }
        }
    }

    @inline(never)
    func close(_ exchange: Exchange) {
        charge(exchange)
        if !exchange.endpoint.isHealth { record(exchange) }
        if exchange.failure != nil { exchange.failure = nil }
        if exchange.isFleetOld { exchange.forgetFleet() }
    }

    // MARK: Answering

    @inline(never)
    func answer(_ exchange: Exchange) {
        if let served = exchange.served.take() {
            if case .whole(let reply) = served {
                exchange.ending = .ok
                pass(reply, exchange)
            } else {
                exchange.ending = answer(exchange, served) ?? .ok
            }
        } else if let error = exchange.failure {
            answer(exchange, error)
            exchange.ending = ending(error, exchange)
        }
    }

    /// A replica's whole answer, under the model's name that the client knows.
    @inline(__always)
    private func pass(_ reply: WholeReply, _ exchange: Exchange) {
        reply.withBody { body in
            if exchange.call.renamesModel { sendRenamed(body, exchange) } else { exchange.reply(body) }
        }
        services.upstreams.finish(exchange.call)
    }

    private func ending(_ error: GatewayError, _ exchange: Exchange) -> Outcome {
        if case .clientGone = error, exchange.connection.hasStalled { return Outcome(.clientStalled) }
        return Outcome(error)
    }

    /// - Returns: what the outcome is, where it is not the reply's success.
    @inline(never)
    private func answer(_ exchange: Exchange, _ served: Served) -> Outcome? {
        switch served {
        case .local(let answer): self.answer(exchange, answer)
        case .whole(let reply): pass(reply, exchange)
        case .streamed:
            guard exchange.call.holdsEnd else { break }
            let isStored = exchange.sessionDegraded == nil
            exchange.call.relay.sendEnd(exchange.call, comment: isStored ? nil : "x-session-degraded")
        case .replayed(let reply): replay(reply, exchange)
        case .refused(let status, let body, let retryAfter):
            if exchange.call.isHeadSent {
                // The head went out while the first content was awaited: the refusal is told in the stream.
                breakStream(exchange)
                exchange.call.relay.sendFailure(
                    exchange.call, UpstreamError.normalise(status: status, body: body.span))
            } else {
                exchange.reply(refused: status, body: body, retryAfter: retryAfter)
            }
            return status == 429 || status >= 500
                ? Outcome(.upstreamFailed(status == 429 || status == 503 ? .busy : .serverError))
                : Outcome(.invalidRequest(message: "", param: nil))
        }
        return nil
    }

    @inline(never)
    private func sendRenamed(_ body: Span<UInt8>, _ exchange: Exchange) {
        var rewrite = ChatRewrite()
        rewrite.model = BodyEdits.quoted(exchange.call.modelName)
        var renamed = ByteWriter(capacity: body.count + 64)
        if let chunk = exchange.call.reply?.chunk { rewrite.write(body, of: chunk, into: &renamed) }
        exchange.reply(renamed.bytes)
    }

    private func answer(_ exchange: Exchange, _ answer: LocalAnswer) {
        var body = ByteWriter()
        switch answer {
        case .alive:
            body.append("OK")
            exchange.reply(200, contentType: "text/plain; charset=utf-8", body: body.bytes)
        case .ready(let isReady):
            body.append(isReady ? "{\"status\":\"ok\"}" : "{\"status\":\"unavailable\"}")
            exchange.reply(isReady ? 200 : 503, contentType: "application/json", body: body.bytes)
        case .preflight: exchange.replyPreflight()
        case .models(let models):
            body.append(modelList: models)
            exchange.reply(200, contentType: "application/json", body: body.bytes)
        case .model(let model):
            body.append(listedModel: model)
            exchange.reply(200, contentType: "application/json", body: body.bytes)
        }
    }

    private func answer(_ exchange: Exchange, _ error: GatewayError) {
        if case .clientGone = error {
            // It may be reading after all, only too slowly: to HTTP/1.0 an orderly end would look like the answer's.
            exchange.didBreakStream = exchange.call.isHeadSent
            return
        }
        guard exchange.call.isHeadSent else { return exchange.reply(error) }
        breakStream(exchange)
        exchange.call.relay.sendFailure(exchange.call, error)
    }

    /// The client has a 200 already: the failure is told in the stream, without `[DONE]`, and the connection ends.
    private func breakStream(_ exchange: Exchange) {
        exchange.didBreakStream = true
        exchange.connection.closesAfterReply = true
    }

    // MARK: Sessions

    /// The turn into history before its answer, or given up, so that the next one need not wait for it.
    func endTurn(_ exchange: Exchange) async {
        switch exchange.served {
        case .whole(let reply): await remember(exchange, reply)
        case .streamed: if await !rememberStream(exchange) { exchange.sessionDegraded = "not-stored" }
        case .refused, nil: await forgetTurn(exchange)
        case .local, .replayed: break
        }
    }

    private func remember(_ exchange: Exchange, _ reply: WholeReply) async {
        guard let session = exchange.session, let memory = services.sessions else { return }
        let (message, whole) = reply.withBody { body in
            let message = body.extracting(exchange.call.reply?.chunk.choice.delta ?? .empty)
            return (message.withUnsafeBufferPointer { Array($0) }, body.withUnsafeBufferPointer { Array($0) })
        }
        if await !memory.append(message, reply: whole, to: session, deadline: appendDeadline) {
            exchange.sessionDegraded = "not-stored"
        }
    }

    private func rememberStream(_ exchange: Exchange) async -> Bool {
        guard let session = exchange.session, let memory = services.sessions else { return false }
        let relay = exchange.call.relay
        guard relay.isTextWhole, !relay.hasToolsOrReasoning else {
            await memory.release(session)
            return false
        }
        var message = ByteWriter()
        message.append("{\"role\":\"assistant\",\"content\":\"")
        relay.withText { message.append($0) }
        message.append("\"}")
        var reply = ByteWriter()
        relay.appendWholeReply(exchange.call, message: message.bytes, to: &reply)
        return await memory.append(
            message.withUnsafeBytes { Array($0) }, reply: reply.withUnsafeBytes { Array($0) }, to: session,
            deadline: appendDeadline)
    }

    private var appendDeadline: Moment {
        services.loop.now + (services.settings.sessions?.appendTimeout ?? .zero)
    }

    /// The turn failed: the next one need not wait for it.
    private func forgetTurn(_ exchange: Exchange) async {
        guard let session = exchange.session, let memory = services.sessions else { return }
        await memory.release(session)
    }

    /// Answers a repeated turn as it was answered before: whole, or as a stream if that is asked for now.
    private func replay(_ reply: [UInt8], _ exchange: Exchange) {
        guard exchange.call.isStream, let chunk = try? ChatChunk.read(reply.span) else {
            return exchange.reply(200, contentType: "application/json", body: reply.span)
        }
        exchange.call.relay.replay(reply.span, of: chunk, exchange.call)
    }

    // MARK: Charging

    private func charge(_ exchange: Exchange) {
        // Taken out and put back: to keep it while it is still there would be to count a reference.
        guard let reservation = exchange.reservation.take(), let caller = exchange.caller.take() else { return }
        defer { exchange.caller = caller }
        if exchange.call.sends == 0 { return caller.withSlot { $0.giveBack(reservation) } }
        let used = exchange.call.usage?.totalTokens ?? guessedTokens(exchange)
        caller.withSlot { $0.settle(reservation, tokens: used, now: services.loop.now) }
    }

    /// Of an answer whose usage its replica did not say.
    @inline(never)
    private func guessedTokens(_ exchange: Exchange) -> Int {
        let deltas = exchange.call.relay.deltas
        return deltas > 0 ? deltas + exchange.connection.bodyRange.count / 4 : 0
    }

    // MARK: Counting and logging

    private func record(_ exchange: Exchange) {
        fill(services.record, exchange)
        services.counters.requestEnded(services.record)
        // Taken out of the exchange, which is done with them: nobody else can let them go meanwhile.
        if isUsual(exchange), let link = exchange.call.link, let caller = exchange.caller.take(),
            let named = exchange.named.take()
        {
            write(exchange, caller, named, link)
            exchange.familiar = named
        } else {
            writeUnusual(exchange)
        }
    }

    @inline(__always)
    private func fill(_ record: AccessRecord, _ exchange: Exchange) {
        let call = exchange.call
        let connection = exchange.connection
        record.time = exchange.arrivedWall
        record.tokenProblem = nil
        record.hasSession = exchange.session != nil
        record.isStream = call.isStream
        record.status = exchange.status
        record.outcome = exchange.ending
        record.attempts = call.sends
        record.resumes = call.resumes
        record.resumedBy = call.resumedBy
        record.usage = call.usage
        record.bytesIn = connection.bytesReceived
        record.bytesOut = connection.bytesSent
        record.timeToFirstToken = call.firstContentAt == .zero ? nil : call.firstContentAt - exchange.arrivedAt
        record.duration = services.loop.now - exchange.arrivedAt
        record.queueWait = call.queueWait
        record.overhead = exchange.overhead
    }

    /// Whether all that a line names is at hand: the request was served, by the pool that it asked for.
    @inline(__always)
    private func isUsual(_ exchange: Exchange) -> Bool {
        exchange.failure == nil && exchange.named != nil && !exchange.isFleetOld && exchange.caller != nil
            && exchange.loggedFallback == nil && exchange.forwardedClient == nil && exchange.sessionDegraded == nil
    }

    /// The counters and the line of nearly every request: nothing has to be looked up, nor references be counted.
    @inline(never)
    private func write(_ exchange: Exchange, _ caller: Caller, _ named: NamedModel, _ link: Link) {
        named.counters.requestEnded(services.record)
        exchange.requestID.withBytes { id in
            caller.withLoggedID { principal in
                exchange.loggedPeer.withBytes { client in
                    services.accessLog?.append(
                        services.record, requestID: id, principal: principal, request: named.logged, fallback: nil,
                        replica: link.loggedName, client: client)
                }
            }
        }
    }

    /// The same for any request.
    @inline(never)
    private func writeUnusual(_ exchange: Exchange) {
        let record = services.record
        let call = exchange.call
        services.metrics.pool(services.upstreams.place(of: call)).requestEnded(record)
        if record.outcome == .ok, exchange.sessionDegraded != nil {
            services.shared.sessionsDegraded.wrappingAdd(1, ordering: .relaxed)
        }
        if case .invalidAPIKey(let reason) = exchange.failure {
            services.counters.authenticationFailed(reason)
            record.tokenProblem = reason
        }
        let written = exchange.named?.written ?? []
        let request = LogText(
            method: exchange.connection.method.text, path: exchange.endpoint.label,
            model: call.pool.map { (name: written, pool: $0.name) })
        exchange.requestID.withBytes { id in
            Caller.withLoggedID(of: exchange.caller) { principal in
                exchange.withLoggedClient { client in
                    services.accessLog?.append(
                        record, requestID: id, principal: principal, request: request,
                        fallback: exchange.loggedFallback, replica: call.replica?.loggedName ?? .null, client: client)
                }
            }
        }
    }
}
