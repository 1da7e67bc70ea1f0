extension GatewayError {
    /// What the client receives: an HTTP status and the body of an OpenAI `error` object.
    ///
    /// Source: OpenAI API reference, "Errors" (`error.message`, `.type`, `.param`, `.code`).
    package struct Answer: Equatable, Sendable {
        package var status: Int
        package var type: String
        package var code: String?
        package var message: String
        package var param: String?
        /// For `Retry-After` (seconds, rounded up) and `retry-after-ms`; `nil` leaves both out.
        package var retryAfter: Interval?
        /// For `x-should-retry: false`: the same request can't succeed soon.
        package var shouldNotRetry = false

        init(
            _ status: Int, _ type: String, code: String?, _ message: String, param: String? = nil,
            retryAfter: Interval? = nil, shouldNotRetry: Bool = false
        ) {
            self.status = status
            self.type = type
            self.code = code
            self.message = message
            self.param = param
            self.retryAfter = retryAfter
            self.shouldNotRetry = shouldNotRetry
        }
    }

    package var answer: Answer {
        switch self {
        case .malformedRequest(let reason):
            Answer(400, Self.invalid, code: "malformed_request", "The request is not valid HTTP/1.1: \(reason).")
        case .headTooLarge:
            Answer(431, Self.invalid, code: "head_too_large", "The request's header fields are too large.")
        case .targetTooLong:
            Answer(414, Self.invalid, code: "target_too_long", "The request's URL is too long.")
        case .unsupportedHTTP(let feature, let reason):
            Answer(feature.status, Self.invalid, code: feature.code, "The request can't be served: \(reason).")
        case .invalidRequest(let message, let param):
            Answer(400, Self.invalid, code: nil, message, param: param)
        case .bodyTooLarge(let limit):
            Answer(413, Self.invalid, code: "request_too_large", "The request body is larger than \(limit) bytes.")
        case .unsupportedMediaType(let message):
            Answer(415, Self.invalid, code: "unsupported_media_type", message)
        case .notFound(let path):
            Answer(404, Self.invalid, code: "not_found", "Unknown request URL: \(path).")
        case .methodNotAllowed(let allowed):
            Answer(405, Self.invalid, code: "method_not_supported", "Only \(allowed) is supported for this URL.")
        case .headTimeout:
            Answer(408, Self.invalid, code: "head_timeout", "The request head took too long to arrive.")
        case .bodyTimeout:
            Answer(408, Self.invalid, code: "body_timeout", "The request body took too long to arrive.")
        case .invalidAPIKey:
            Answer(401, Self.invalid, code: "invalid_api_key", "Incorrect API key provided.")
        case .keysUnavailable:
            Answer(
                503, Self.server, code: "keys_unavailable", "API keys can't be checked now.", retryAfter: .seconds(1))
        case .missingScope(let scope):
            Answer(403, "permission_error", code: "missing_scope", "This key lacks the scope \(scope).")
        case .modelNotAllowed(let model):
            Answer(
                403, "permission_error", code: "model_not_allowed", "This key may not use the model `\(model)`.",
                param: "model")
        case .modelNotFound(let model):
            Answer(404, Self.invalid, code: "model_not_found", "The model `\(model)` does not exist.", param: "model")
        case .rateLimited(let kind, let retryAfter):
            Self.limited(kind, retryAfter)
        case .sessionNotFound:
            Answer(404, Self.invalid, code: "session_not_found", "No such session.", param: "session_id")
        case .sessionBusy:
            Answer(
                409, Self.invalid, code: "session_busy", "Another turn of this session is running.",
                param: "session_id", retryAfter: .seconds(1))
        case .sessionsUnavailable:
            Answer(
                503, Self.server, code: "sessions_unavailable", "Session history can't be read now.",
                retryAfter: .seconds(1))
        case .bodyMemoryExhausted:
            Answer(503, Self.server, code: "body_memory_exhausted", Self.overloaded, retryAfter: .seconds(1))
        case .noReplica(let model):
            Answer(503, Self.server, code: "overloaded", "No replica is serving `\(model)`.", retryAfter: .seconds(1))
        case .queueFull(let retryAfter):
            Answer(503, Self.server, code: "queue_full", Self.overloaded, retryAfter: retryAfter)
        case .queueTimeout(let retryAfter):
            Answer(503, Self.server, code: "queue_timeout", Self.overloaded, retryAfter: retryAfter)
        case .connectTimeout:
            Answer(504, Self.server, code: "connect_timeout", Self.silent)
        case .firstByteTimeout:
            Answer(504, Self.server, code: "first_byte_timeout", Self.silent)
        case .firstContentTimeout:
            Answer(504, Self.server, code: "first_content_timeout", Self.silent)
        case .totalTimeout:
            Answer(504, Self.server, code: "total_timeout", "The request took longer than it may.")
        case .upstreamFailed(let failure), .upstreamBroke(let failure):
            Answer(502, Self.server, code: "upstream_\(failure.label)", "The model stopped responding.")
        case .shuttingDown:
            Answer(503, Self.server, code: "shutting_down", "The gateway is restarting.", retryAfter: .seconds(1))
        case .clientGone:
            Answer(499, Self.invalid, code: "client_gone", "The client closed the connection.")
        case .clientStalled:
            Answer(499, Self.invalid, code: "client_stalled", "The client stopped reading.")
        case .internalError:
            Answer(500, Self.server, code: "internal_error", "The gateway failed.")
        }
    }

    /// The metric label and the log's `outcome`: bounded, never what a client sent.
    package var label: String {
        switch self {
        case .invalidRequest: "invalid_request"
        case .upstreamFailed(let failure), .upstreamBroke(let failure): "upstream_\(failure.label)"
        case .rateLimited(let kind, _): "rate_limited_\(kind.rawValue)"
        case .noReplica: "no_replica"
        default: answer.code ?? "error"
        }
    }

    private static let invalid = "invalid_request_error"
    private static let server = "server_error"
    private static let overloaded = "The service is overloaded; please try again."
    private static let silent = "The model did not answer in time."

    private static func limited(_ kind: RateLimitKind, _ retryAfter: Interval) -> Answer {
        switch kind {
        case .quota:
            Answer(
                429, "insufficient_quota", code: "insufficient_quota", "This key's budget is spent.",
                retryAfter: retryAfter, shouldNotRetry: true)
        case .requests, .tokens, .concurrency:
            Answer(
                429, kind == .tokens ? "tokens" : "requests", code: "rate_limit_exceeded",
                "Rate limit reached for this key (\(kind.rawValue)).", retryAfter: retryAfter)
        }
    }
}

extension HTTPFeature {
    /// Source: RFC 9110 §15.5.18, §15.6.2, §15.6.6.
    fileprivate var status: Int {
        switch self {
        case .expectation: 417
        case .codingOrMethod: 501
        case .version: 505
        }
    }

    fileprivate var code: String {
        switch self {
        case .expectation: "unsupported_expectation"
        case .codingOrMethod: "unsupported_coding_or_method"
        case .version: "unsupported_http_version"
        }
    }
}

extension UpstreamFailure {
    /// `rawValue` in snake case: the spelling of metric labels and error codes.
    package var label: String {
        var label = ""
        for character in rawValue {
            if character.isUppercase { label += "_" }
            label += character.lowercased()
        }
        return label
    }
}
