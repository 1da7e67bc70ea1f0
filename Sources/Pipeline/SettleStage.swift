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
        // Nobody asks for the caller any more.
        let caller = exchange.caller.take()
        if let caller, let reservation = exchange.reservation.take() { charge(exchange, reservation, caller) }
        if !exchange.endpoint.isHealth { record(exchange, caller) }
        exchange.served = nil
        if exchange.failure != nil { exchange.failure = nil }
    }

    // MARK: Answering

    @inline(never)
    func answer(_ exchange: Exchange) {
        if let served = exchange.served {
            exchange.ending = answer(exchange, served) ?? .ok
        } else if let error = exchange.failure {
            answer(exchange, error)
            exchange.ending = ending(error, exchange)
        }
    }

    private func ending(_ error: GatewayError, _ exchange: Exchange) -> Outcome {
        if case .clientGone = error, exchange.connection.hasStalled { return Outcome(.clientStalled) }
        return Outcome(error)
    }

    /// - Returns: what the outcome is, where it is not the reply's success.
    private func answer(_ exchange: Exchange, _ served: Served) -> Outcome? {
        switch served {
        case .local(let answer): self.answer(exchange, answer)
        case .whole(let reply):
            reply.withBody { send($0, exchange) }
            services.upstreams.finish(exchange.call)
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

    private func send(_ body: Span<UInt8>, _ exchange: Exchange) {
        guard exchange.call.renamesModel else {
            return exchange.reply(200, contentType: "application/json", body: body)
        }
        var rewrite = ChatRewrite()
        rewrite.model = BodyEdits.quoted(exchange.call.modelName)
        var renamed = ByteWriter(capacity: body.count + 64)
        if let chunk = exchange.call.reply?.chunk { rewrite.write(body, of: chunk, into: &renamed) }
        exchange.reply(200, contentType: "application/json", body: renamed.bytes)
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

    @inline(never)
    private func charge(_ exchange: Exchange, _ reservation: KeyBudget.Reservation, _ caller: Caller) {
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

    private func record(_ exchange: Exchange, _ caller: Caller?) {
        let call = exchange.call
        let connection = exchange.connection
        var record = AccessRecord(
            time: exchange.arrivedWall, method: connection.method.text, path: exchange.endpoint.label)
        record.outcome = exchange.ending
        record.usage = call.usage
        record.bytesIn = connection.bytesReceived
        record.bytesOut = connection.bytesSent
        record.duration = services.loop.now - exchange.arrivedAt
        if call.firstContentAt != .zero { record.timeToFirstToken = call.firstContentAt - exchange.arrivedAt }
        record.overhead = exchange.overhead
        count(exchange, &record)
        guard let log = services.accessLog else { return }
        record.hasSession = exchange.session != nil
        record.isStream = call.isStream
        record.status = exchange.status
        record.attempts = call.sends
        record.resumes = call.resumes
        record.resumedBy = call.resumedBy
        record.queueWait = call.queueWait
        let pool = call.pool
        connection.withRequest { bytes in
            let model = pool == nil ? ByteRange.empty : call.modelRange
            let body = bytes.extracting(connection.bodyRange)
            exchange.requestID.withBytes { id in
                Caller.withLoggedID(of: caller) { principal in
                    log.append { lines, timestamp in
                        record.append(
                            to: &lines, timestamp: &timestamp, requestID: id, model: body.extracting(model),
                            principal: principal, pool: pool?.loggedName, fallback: exchange.loggedFallback,
                            replica: call.replica?.loggedName, client: exchange.loggedClient)
                    }
                }
            }
        }
    }

    /// Counts what `record` says. A refused credential's reason is added to it.
    private func count(_ exchange: Exchange, _ record: inout AccessRecord) {
        let metrics = services.metrics
        let place = services.upstreams.place(of: exchange.call)
        metrics.requestEnded(
            record.outcome, pool: place, duration: record.duration,
            timeToFirstToken: record.timeToFirstToken, overhead: record.overhead, usage: record.usage)
        metrics.transferred(bytesIn: record.bytesIn, bytesOut: record.bytesOut)
        if record.outcome == .ok {
            if exchange.sessionDegraded != nil {
                services.shared.sessionsDegraded.wrappingAdd(1, ordering: .relaxed)
            }
        } else if record.outcome == Outcome(.clientGone) {
            metrics.clientGone()
        } else if case .invalidAPIKey(let reason) = exchange.failure {
            metrics.authenticationFailed(reason)
            record.tokenProblem = reason
        }
    }
}
