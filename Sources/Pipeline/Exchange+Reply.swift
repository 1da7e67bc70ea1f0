import GatewayCore
import HTTPConnections
import Limiting
import Reactor
import Upstreams
import Wire

/// Heads and bodies of what the client gets.
extension Exchange: ReplyDelegate {
    package var callerKey: String { principal?.id ?? "" }
    package var usesChunks: Bool { connection.minorVersion == 1 }

    /// HTTP/1.0 can't tell a broken stream from a whole one, except by a reset.
    var mustReset: Bool { didBreakStream && !usesChunks }

    package func appendStreamHead(to writer: inout ByteWriter) {
        status = 200
        if !usesChunks { connection.closesAfterReply = true }
        writer.appendStatusLine(200)
        writer.append("content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n")
        writer.append("x-accel-buffering: no\r\n")
        if usesChunks { writer.append("transfer-encoding: chunked\r\n") }
        writer.append(upTo: Self.commonFieldsBytesMax) { putCommonFields(on: &$0) }
        appendSeldomFields(to: &writer)
        writer.appendHeadEnd()
    }

    /// Sends `body`, what a replica answered.
    func reply(_ body: Span<UInt8>) {
        status = 200
        services.reply.removeAll()
        services.reply.append(upTo: 128 + Self.commonFieldsBytesMax) { head in
            head.put(upTo: 128) { run in
                run.put("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ")
                run.put(decimal: body.count)
                run.put("\r\n")
            }
            putCommonFields(on: &head)
        }
        appendSeldomFields(to: &services.reply)
        send(body)
    }

    /// Sends any other reply.
    func reply(
        _ status: Int, contentType: StaticString, extra: (inout ByteWriter) -> Void = { _ in }, body: Span<UInt8>
    ) {
        self.status = status
        services.reply.removeAll()
        services.reply.appendStatusLine(status)
        if status != 204 {
            services.reply.appendField("content-type", contentType)
            services.reply.appendContentLength(body.count)
        }
        services.reply.append(upTo: Self.commonFieldsBytesMax) { putCommonFields(on: &$0) }
        appendSeldomFields(to: &services.reply)
        extra(&services.reply)
        send(body)
    }

    /// Sends the head that is ready but for its end, and `body` unless HEAD asked.
    @inline(__always)
    private func send(_ body: Span<UInt8>) {
        services.reply.appendHeadEnd()
        services.reply.withUnsafeBytes { head in
            if connection.method.isHead { return connection.send(head) }
            body.withUnsafeBytes { connection.send(head, $0) }
        }
    }

    /// Sends an error as OpenAI's object, with what tells a client when to come back.
    func reply(_ error: GatewayError) {
        let answer = error.answer
        var body = ByteWriter(capacity: 256)
        body.append(openAIError: answer)
        reply(answer.status, contentType: "application/json", extra: { writer in
            if let wait = answer.retryAfter { Self.append(retryAfter: wait, to: &writer) }
            if answer.shouldNotRetry { writer.append("x-should-retry: false\r\n") }
            switch error {
            case .invalidAPIKey(.expired):
                writer.append("www-authenticate: Bearer error=\"invalid_token\", error_description=\"expired\"\r\n")
            case .invalidAPIKey: writer.append("www-authenticate: Bearer\r\n")
            case .methodNotAllowed(let allowed): writer.appendField("allow", allowed)
            default: break
            }
        }, body: body.bytes)
    }

    /// Sends a replica's refusal in OpenAI's form.
    func reply(refused status: Int, body: [UInt8], retryAfter: Interval?) {
        let status = (400...599).contains(status) ? status : 502
        let error = UpstreamError.normalise(status: status, body: body.span)
        var text = ByteWriter(capacity: 256)
        text.append(openAIError: error)
        // A replica that refuses us is our misconfiguration, not the client's.
        let shown = status == 401 || status == 403 ? 502 : status
        reply(shown, contentType: "application/json", extra: { writer in
            if let retryAfter { Self.append(retryAfter: retryAfter, to: &writer) }
        }, body: text.bytes)
    }

    private static func append(retryAfter wait: Interval, to writer: inout ByteWriter) {
        writer.appendField("retry-after", decimal: Int(wait.secondsRoundedUp))
        writer.appendField("retry-after-ms", decimal: Int(wait.millisecondsRoundedUp))
    }

    // MARK: Fields of every reply

    /// A request id has at most 128 bytes, a replica's name 64, the date 37, and each of three runs of numbers 256.
    private static let commonFieldsBytesMax = 1_152

    /// Those that nearly every reply has.
    @inline(__always)
    private func putCommonFields(on head: inout ByteCursor) {
        services.date.put(on: &head, now: services.loop.wallNow)
        head.put("x-request-id: ")
        requestID.withBytes { head.put($0) }
        head.put("\r\n")
        if let requests = standing.requests {
            head.put(upTo: 256) { run in
                run.put(
                    requests, limit: "x-ratelimit-limit-requests: ",
                    remaining: "\r\nx-ratelimit-remaining-requests: ", reset: "\r\nx-ratelimit-reset-requests: ")
            }
        }
        if let tokens = standing.tokens {
            head.put(upTo: 256) { run in
                run.put(
                    tokens, limit: "x-ratelimit-limit-tokens: ",
                    remaining: "\r\nx-ratelimit-remaining-tokens: ", reset: "\r\nx-ratelimit-reset-tokens: ")
            }
        }
        if let link = call.link {
            head.put(link.replica.nameField)
            head.put(upTo: 96) { run in
                run.put("x-weir-attempts: ")
                run.put(decimal: call.sends)
                run.put("\r\nx-weir-overhead-ms: ")
                run.put(milliseconds: overhead?.nanoseconds ?? 0)
                run.put("\r\n")
            }
        }
    }

    @inline(__always)
    private func appendSeldomFields(to writer: inout ByteWriter) {
        if sessionID != nil || sessionDegraded != nil { appendSession(to: &writer) }
        if !services.settings.cors.allowedOrigins.isEmpty { appendCORS(to: &writer) }
        if connection.announcesClose {
            writer.append("connection: close\r\n")
            connection.closesAfterReply = true
        } else if connection.minorVersion == 0 {
            writer.append("connection: keep-alive\r\n")
        }
    }

    @inline(never)
    private func appendSession(to writer: inout ByteWriter) {
        if let sessionID {
            writer.append("x-session-id: ")
            writer.append(sessionID)
            writer.appendLineEnd()
            if session?.startedAnew == true { writer.append("x-session-started-anew: true\r\n") }
        }
        if let sessionDegraded { writer.appendField("x-session-degraded", sessionDegraded) }
    }

    // MARK: CORS

    @inline(never)
    private func appendCORS(to writer: inout ByteWriter) {
        let cors = services.settings.cors
        guard let range = connection.first(.origin) else { return }
        connection.withRequest { bytes in
            let origin = bytes.extracting(range)
            let allowsAll = cors.allowedOrigins.contains("*")
            guard allowsAll || cors.allowedOrigins.contains(origin.text) else { return }
            writer.append("access-control-allow-origin: ")
            if allowsAll { writer.append("*") } else { writer.append(origin) }
            writer.append("\r\nvary: origin\r\naccess-control-expose-headers: x-request-id, ")
            writer.append("retry-after, retry-after-ms, ")
            writer.append("x-session-id, x-session-degraded, x-weir-replica, x-weir-attempts\r\n")
        }
    }

    /// Answers `OPTIONS`: a browser's preflight, or anybody's question what is allowed.
    func replyPreflight() {
        let isPreflight = connection.first(.accessControlRequestMethod) != nil
        let nothing = ByteWriter()
        reply(204, contentType: "", extra: { writer in
            writer.append("allow: GET, HEAD, POST, OPTIONS\r\n")
            guard isPreflight, !services.settings.cors.allowedOrigins.isEmpty else { return }
            writer.append("access-control-allow-methods: GET, HEAD, POST, OPTIONS\r\n")
            writer.append("access-control-allow-headers: authorization, content-type, x-request-id, x-session-id, ")
            writer.append("idempotency-key, openai-organization, openai-project, x-stainless-arch, x-stainless-async, ")
            writer.append("x-stainless-lang, x-stainless-os, x-stainless-package-version, x-stainless-retry-count, ")
            writer.append("x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout\r\n")
            writer.appendField("access-control-max-age", decimal: Int(services.settings.cors.maxAge.secondsRoundedUp))
        }, body: nothing.bytes)
    }
}

extension ByteRun {
    /// The three fields that say where a client stands with one of its limits, each behind what comes before its value.
    @inline(__always)
    fileprivate mutating func put(
        _ standing: SlidingWindow.Standing, limit: StaticString, remaining: StaticString, reset: StaticString
    ) {
        put(limit)
        put(decimal: standing.limit)
        put(remaining)
        put(decimal: standing.remaining)
        put(reset)
        put(goDuration: standing.reset)
        put("\r\n")
    }

    /// As Go prints durations, and OpenAI its rate-limit resets: `120ms`, `1s`, `6m0s`; rounded up.
    mutating func put(goDuration interval: Interval) {
        let milliseconds = interval.millisecondsRoundedUp
        if milliseconds < 1_000 {
            put(decimal: Int(milliseconds))
            return put("ms")
        }
        var seconds = interval.secondsRoundedUp
        if seconds >= 60 {
            if seconds >= 3_600 {
                put(decimal: Int(seconds / 3_600))
                put("h")
            }
            put(decimal: Int(seconds % 3_600 / 60))
            put("m")
            seconds %= 60
        }
        put(decimal: Int(seconds))
        put("s")
    }
}
