import Wire

/// What a request asks for, by its path.
package enum Endpoint: Equatable, Sendable {
    /// `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`.
    case inference(ChatRequest.Kind)
    case models
    /// `/v1/models/{id}`: where the id lies in the request.
    case model(ByteRange)
    /// Alive: 200 as long as the process runs.
    case alive
    /// Can serve: 200 or 503.
    case ready
    case unknown

    init(path: ByteRange, in bytes: Span<UInt8>) {
        let text = bytes.extracting(path)
        switch text.count {
        case 20 where text.equals("/v1/chat/completions"): self = .inference(.chat)
        case 15 where text.equals("/v1/completions"): self = .inference(.completion)
        case 14 where text.equals("/v1/embeddings"): self = .inference(.embedding)
        case 10 where text.equals("/v1/models"): self = .models
        case 8 where text.equals("/healthz"): self = .alive
        case 7 where text.equals("/readyz"): self = .ready
        case 7 where text.equals("/health"): self = .ready
        case 10 where text.equals("/v1/health"): self = .ready
        case 12... where text.extracting(0..<11).equals("/v1/models/"):
            self = .model(ByteRange(start: Int(path.start) + 11, count: Int(path.count) - 11))
        default: self = .unknown
        }
    }

    /// What the access log calls it.
    var label: StaticString {
        switch self {
        case .inference(.chat): "chat_completions"
        case .inference(.completion): "completions"
        case .inference(.embedding): "embeddings"
        case .models, .model: "models"
        case .alive, .ready: "health"
        case .unknown: "unknown"
        }
    }

    /// For `Allow`, and for the answer to another method.
    var allowedMethods: String {
        switch self {
        case .inference: "POST"
        default: "GET, HEAD"
        }
    }

    func allows(_ method: HTTPMethod) -> Bool {
        switch self {
        case .inference: method.isPost
        default: method.isRead
        }
    }

    /// Health paths are answered without a credential and leave no line in the access log.
    var isHealth: Bool {
        switch self {
        case .alive, .ready: true
        default: false
        }
    }
}
