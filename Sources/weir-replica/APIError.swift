import Engine
import GatewayCore
import Wire

/// A refusal or failure as a client sees it: an HTTP status and an OpenAI `error` object.
///
/// Source: OpenAI API reference, "Errors".
struct APIError: Error, Equatable, Sendable {
    var status: Int
    var type: String
    var code: String?
    var message: String
    var param: String?
    /// For `Retry-After`.
    var retryAfterSeconds: Int?
    /// For `Allow`, on 405.
    var allowed: String?

    private static let invalid = "invalid_request_error"

    static func invalid(_ message: String, param: String? = nil) -> APIError {
        APIError(status: 400, type: invalid, message: message, param: param)
    }
    static func unsupported(_ param: String, _ message: String) -> APIError {
        APIError(status: 400, type: invalid, code: "unsupported_parameter", message: message, param: param)
    }
    static func modelNotFound(_ model: String) -> APIError {
        APIError(
            status: 404, type: invalid, code: "model_not_found", message: "The model `\(model)` does not exist.",
            param: "model")
    }
    static func notFound(_ path: String) -> APIError {
        APIError(status: 404, type: invalid, code: "not_found", message: "Unknown request URL: \(path).")
    }
    static func methodNotAllowed(_ allowed: String) -> APIError {
        var error = APIError(
            status: 405, type: invalid, code: "method_not_supported", message: "Only \(allowed) is supported here.")
        error.allowed = allowed
        return error
    }

    /// As llama.cpp's server words it, whose `/health` this one imitates.
    static let loading = APIError(
        status: 503, type: "unavailable_error", code: "503", message: "Loading model", retryAfterSeconds: 1)
    static let overloaded = APIError(
        status: 503, type: "server_error", code: "overloaded", message: "Too many requests are waiting.",
        retryAfterSeconds: 1)
    static let stopping = APIError(
        status: 503, type: "server_error", code: "shutting_down", message: "The replica is shutting down.",
        retryAfterSeconds: 1)

    init(
        status: Int, type: String, code: String? = nil, message: String, param: String? = nil,
        retryAfterSeconds: Int? = nil
    ) {
        self.status = status
        self.type = type
        self.code = code
        self.message = message
        self.param = param
        self.retryAfterSeconds = retryAfterSeconds
    }

    init(_ refusal: EngineRefusal) {
        switch refusal {
        case .loading: self = .loading
        case .queueFull: self = .overloaded
        case .stopped: self = .stopping
        }
    }

    /// - In: `promptName`, the member of the body that holds the prompt.
    init(_ failure: GenerationFailure, promptName: String) {
        switch failure {
        case .contextTooLong(let promptTokens, let contextTokens):
            self.init(
                status: 400, type: Self.invalid, code: "context_length_exceeded",
                message: "This model's maximum context length is \(contextTokens) tokens. However, your \(promptName) "
                    + "resulted in \(promptTokens) tokens.",
                param: promptName)
        case .emptyPrompt:
            self = .invalid("The prompt has no tokens.", param: promptName)
        case .unknownToken(let token):
            self = .invalid("The model has no token \(token).", param: promptName)
        case .decodeFailed(let code):
            self.init(
                status: 500, type: "server_error", code: "decode_failed",
                message: "The engine could not evaluate the request (\(code)).")
        case .stopped:
            self = .stopping
        }
    }

    /// What the connection itself found wrong with a request.
    init(_ error: GatewayError) {
        let answer = error.answer
        self.init(
            status: answer.status, type: answer.type, code: answer.code, message: answer.message, param: answer.param,
            retryAfterSeconds: answer.retryAfter.map { Int($0.secondsRoundedUp) })
    }

    /// The body: `{"error":{…}}`.
    func write(into writer: inout ByteWriter) {
        writer.openObject()
        writer.member("error")
        writer.openObject()
        writer.member("message", string: message)
        writer.member("type", string: type)
        writer.member("param", string: param)
        if self == .loading {
            // llama.cpp's server has a number here, which its clients may look for.
            writer.member("code", number: 503)
        } else {
            writer.member("code", string: code)
        }
        writer.closeObject()
        writer.closeObject()
    }
}
