import GatewayCore

/// What the engine reports about one request, in this order: `started`, any number of `text`, then `finished`; or
/// `failed` at any point. Nothing follows `finished`, `failed` or a cancellation that has taken effect.
package enum GenerationEvent: Equatable, Sendable {
    /// The request has a slot, and its prompt fits. `cachedTokens` of the prompt needed no evaluation.
    case started(promptTokens: [Int32], cachedTokens: Int)
    /// More of the answer. `text` is whole characters, and `tokens` are exactly those that `text` was made from.
    case text(String, tokens: [Int32])
    /// The end. `text` is what was held back until now, often empty; `tokens` has also the token that ended the answer.
    case finished(EndReason, text: String, tokens: [Int32], usage: Usage)
    case failed(GenerationFailure)
}

/// Why an answer ended.
package enum EndReason: String, Equatable, Sendable {
    /// The model ended it, or one of the request's stop texts came up.
    case stop
    /// `tokensMax` is reached, or the context is full.
    case length
}

/// Why a request has no answer, or only half of one.
package enum GenerationFailure: Error, Equatable, Sendable {
    /// The prompt leaves no room for an answer.
    case contextTooLong(promptTokens: Int, contextTokens: Int)
    /// A prompt of no tokens at all.
    case emptyPrompt
    /// A prompt token that the model does not have.
    case unknownToken(Int32)
    /// llama.cpp could not evaluate a batch.
    case decodeFailed(code: Int32)
    /// The engine was stopped first.
    case stopped
}

/// Why the engine did not take a request at all.
package enum EngineRefusal: Error, Equatable, Sendable {
    case loading
    /// As many requests wait as may.
    case queueFull
    case stopped
}

/// Names one request to the engine that took it.
package struct GenerationID: Hashable, Sendable {
    let number: UInt64
}
