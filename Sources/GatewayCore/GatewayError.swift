/// Every way a request can fail inside the gateway.
///
/// The set is closed: stages throw `GatewayError` and nothing else, so the one `switch` in ``answer`` is the whole map
/// from a failure to what the client sees, and ``label`` the whole map to the metric and the access log.
package enum GatewayError: Error, Equatable, Sendable {
    // What the client sent.
    /// The bytes are not HTTP/1.1 as RFC 9112 demands. The connection is closed after the answer.
    case malformedRequest(reason: String)
    /// The head is longer than `http.headBytes` or has more fields than `http.headFields`.
    case headTooLarge
    case targetTooLong
    /// Valid HTTP that asks for what this server does not speak. The connection is closed after the answer.
    case unsupportedHTTP(HTTPFeature, reason: String)
    /// The body or a header is not what the API accepts. `param` is the JSON path, if one is to blame.
    case invalidRequest(message: String, param: String?)
    case bodyTooLarge(limitBytes: Int)
    case unsupportedMediaType(message: String)
    case notFound(path: String)
    case methodNotAllowed(allowed: String)
    /// The client took too long to send its head or its body.
    case headTimeout
    case bodyTimeout

    // Who the client is.
    /// No key, an unknown key, or a token that did not verify. Deliberately says no more to the client.
    case invalidAPIKey(TokenProblem)
    /// Keys could not be loaded yet: the key may be good.
    case keysUnavailable
    case missingScope(String)
    case modelNotAllowed(model: String)
    case modelNotFound(model: String)

    // What the client has left.
    /// A budget of the key is spent. Nothing was charged.
    case rateLimited(RateLimitKind, retryAfter: Interval)

    // Sessions.
    case sessionNotFound
    /// Another turn of the same session is running.
    case sessionBusy
    case sessionsUnavailable

    // Room and replicas.
    /// The process-wide budget for request bodies is used up.
    case bodyMemoryExhausted
    /// No replica of `model` is serving, or every one that was tried failed before the first content.
    case noReplica(model: String)
    /// All replicas are full and so is the queue.
    case queueFull(retryAfter: Interval)
    case queueTimeout(retryAfter: Interval)
    case connectTimeout
    case firstByteTimeout
    case firstContentTimeout
    case totalTimeout
    /// The last replica that was tried failed before any content.
    case upstreamFailed(UpstreamFailure)
    /// The upstream broke after content was sent to the client; the stream ends with an error event.
    case upstreamBroke(UpstreamFailure)

    // Ourselves.
    case shuttingDown
    /// The client left before the answer was complete: nobody is there to be told.
    case clientGone
    /// The client is there but took nothing of its answer for `writeStall`.
    case clientStalled
    /// A bug of ours, reported without details.
    case internalError
}

/// Why a credential was refused: for the log and a metric, never for the client, except that it expired.
package enum TokenProblem: String, Equatable, Sendable, CaseIterable {
    case missing, malformed, unknownKey, revoked, badSignature, expired, notYetValid, wrongIssuer, wrongAudience
    case unsupportedAlgorithm, missingClaim, criticalHeader
}

/// What a request may ask of HTTP that is not spoken here: another expectation than 100-continue (417), CONNECT or a
/// transfer coding but chunked (501), another version than 1.0 and 1.1 (505).
package enum HTTPFeature: String, Equatable, Sendable, CaseIterable {
    case expectation, codingOrMethod, version
}

package enum RateLimitKind: String, Equatable, Sendable, CaseIterable {
    case requests, tokens, concurrency, quota
}

/// Every way a replica can fail us. One file, one list: retry, health and metrics decide by it.
package enum UpstreamFailure: String, Equatable, Sendable, CaseIterable {
    /// No connection: refused, unreachable or not answered in time.
    case connectFailed, connectTimeout
    /// A connection that broke: before the reply's first byte, or after it.
    case reset, cut
    case firstByteTimeout, firstContentTimeout, stalled, totalTimeout
    /// The reply is not HTTP, or framed ambiguously.
    case malformedReply
    /// A 200 that is not what it claims: no JSON, no event stream, or nothing in it.
    case wrongContentType, encodedReply, emptyAnswer, malformedEvent, oversizedEvent
    /// An end without a finish reason; `finish_reason: abort`; an error event inside a stream.
    case missingEnd, aborted, inBandError
    /// The replica answered with a status: 429 or 503 (busy), 401, 403 or 404 (misconfigured), any other 5xx.
    case busy, refusedUs, serverError
    /// Its probe failed while it owed us the first content.
    case declaredDead
}
