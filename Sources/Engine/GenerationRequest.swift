/// What one caller wants generated. Every field is already checked; only what depends on the model is not.
package struct GenerationRequest: Equatable, Sendable {
    package enum Prompt: Equatable, Sendable {
        /// Messages for the model's own chat template.
        case chat([ChatTurn], ending: ChatEnding)
        /// Text as it stands; the names of special tokens in it count as those tokens.
        case text(String)
        /// Token ids as they stand: what makes resuming exact.
        case tokens([Int32])
    }

    package var prompt: Prompt
    package var sampling: Sampling
    /// Tokens to generate at most; `nil` is as many as the context holds. At least 1.
    package var tokensMax: Int?
    /// Texts that end the answer and are not part of it. None is empty.
    package var stops: [String]

    package init(prompt: Prompt, sampling: Sampling = Sampling(), tokensMax: Int? = nil, stops: [String] = []) {
        self.prompt = prompt
        self.sampling = sampling
        self.tokensMax = tokensMax
        self.stops = stops
    }
}

/// One turn of a chat.
package struct ChatTurn: Equatable, Sendable {
    /// `system`, `user`, `assistant` or `tool`.
    package var role: String
    package var content: String

    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

/// What follows the last message of a chat in the prompt.
package enum ChatEnding: Equatable, Sendable {
    /// The opening of a new answer (`add_generation_prompt: true`).
    case newAnswer
    /// Nothing, not even the last message's end: the model goes on writing it (`continue_final_message: true`).
    case continuation
    /// The end of the last message (both false).
    case closed
}

/// How the next token is picked from the model's logits.
package struct Sampling: Equatable, Sendable {
    /// 0 always takes the likeliest token; 1 samples from the model's own distribution.
    package var temperature: Float
    /// Only the likeliest tokens whose probabilities together reach this share are sampled from. Above 0, at most 1.
    package var topP: Float
    /// Equal seeds give equal answers, also for the rest of an answer that is resumed. `nil` draws one.
    package var seed: UInt64?

    package init(temperature: Float = 1, topP: Float = 1, seed: UInt64? = nil) {
        self.temperature = temperature
        self.topP = topP
        self.seed = seed
    }
}
