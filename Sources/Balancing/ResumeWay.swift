/// How a stream that broke after its first content is continued on another replica, best first.
package enum ResumeWay: UInt8, Sendable, CaseIterable {
    /// Prompt ids plus output ids: exact.
    case tokenIDs
    /// The partial assistant message appended: exact up to tokenisation at the seam.
    case prefill
    /// Ask again and swallow the output while it equals what was sent.
    case replay

    package var label: String {
        switch self {
        case .tokenIDs: "token_ids"
        case .prefill: "prefill"
        case .replay: "replay"
        }
    }
}

/// The ways that are left to one stream.
package struct ResumeWays: OptionSet, Sendable, Hashable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package init(_ way: ResumeWay) { rawValue = 1 << way.rawValue }

    package static let tokenIDs = ResumeWays(.tokenIDs)
    package static let prefill = ResumeWays(.prefill)
    package static let replay = ResumeWays(.replay)
    package static let all: ResumeWays = [.tokenIDs, .prefill, .replay]
}

/// What of a request decides how it may be retried and resumed.
package struct AttemptRequest: Sendable {
    package struct Traits: OptionSet, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// The library's own goes through generic code at every `[]`: 900 instructions a request.
        package init(arrayLiteral elements: Traits...) {
            rawValue = elements.reduce(0) { $0 | $1.rawValue }
        }

        /// `response_format`, a grammar or a forced tool: output that a grammar constrains.
        package static let constrained = Traits(rawValue: 1 << 0)
        /// `presence_penalty`, `frequency_penalty`, `repetition_penalty`.
        package static let penalties = Traits(rawValue: 1 << 1)
        package static let logprobs = Traits(rawValue: 1 << 2)
        package static let minTokens = Traits(rawValue: 1 << 3)
    }

    package var isStream: Bool
    /// `n`.
    package var choices: Int
    package var traits: Traits
    /// `max_tokens` or `max_completion_tokens`, as sent to the replica; `nil` if none is in force.
    package var maxTokens: Int?

    /// One whose answer is no stream: it is sent again from the start or not at all, whatever else it asks for.
    package static var whole: AttemptRequest {
        AttemptRequest(isStream: false, choices: 1, traits: Traits(rawValue: 0), maxTokens: nil)
    }

    package init(isStream: Bool, choices: Int, traits: Traits, maxTokens: Int?) {
        self.isStream = isStream
        self.choices = choices
        self.traits = traits
        self.maxTokens = maxTokens
    }
}

/// What the client has received of an answer when it breaks.
package struct SentSoFar: Equatable, Sendable {
    /// Completion tokens in it; an estimate where the replica doesn't count.
    package var tokens: Int
    /// The token ids of prompt and output are known and cover exactly the text that was sent.
    package var hasExactIDs: Bool
    /// Some of it were tool-call or reasoning deltas.
    package var hasToolsOrReasoning: Bool
    /// Its text ends in a proper prefix of a stop string: the rest of that string may have been on its way.
    package var endsInStopPrefix: Bool

    package init(
        tokens: Int = 0, hasExactIDs: Bool = false, hasToolsOrReasoning: Bool = false, endsInStopPrefix: Bool = false
    ) {
        self.tokens = tokens
        self.hasExactIDs = hasExactIDs
        self.hasToolsOrReasoning = hasToolsOrReasoning
        self.endsInStopPrefix = endsInStopPrefix
    }
}

/// What can be resumed, how, and where.
package enum ResumeRules {
    /// The ways that a replica with these abilities offers to a stream that broke here.
    ///
    ///     way        where                             not with
    ///     tokenIDs   `.tokenIDs`, and exact ids        constrained output, penalties, logprobs, min_tokens unless the
    ///                                                  replica declares each; a text that ends in a stop's prefix
    ///     prefill    `.textPrefill`                    any of those; tool calls or reasoning already sent
    ///     replay     everywhere                        tool calls or reasoning already sent
    ///
    /// Never with more than one choice, nor for an answer that isn't a stream.
    package static func ways(
        for request: AttemptRequest, sent: SentSoFar, on abilities: ReplicaAbilities
    ) -> ResumeWays {
        guard request.isStream, request.choices == 1 else { return [] }
        var ways: ResumeWays = []
        if abilities.contains(.tokenIDs), sent.hasExactIDs, !sent.endsInStopPrefix,
            abilities.isSuperset(of: needed(for: request.traits))
        {
            ways.insert(.tokenIDs)
        }
        guard !sent.hasToolsOrReasoning else { return ways }
        if abilities.contains(.textPrefill), request.traits.isEmpty, !sent.endsInStopPrefix { ways.insert(.prefill) }
        ways.insert(.replay)
        return ways
    }

    /// What continuing from ids asks of a replica for these traits.
    private static func needed(for traits: AttemptRequest.Traits) -> ReplicaAbilities {
        var needed: ReplicaAbilities = []
        if traits.contains(.constrained) { needed.insert(.grammarOverIDs) }
        if traits.contains(.penalties) { needed.insert(.penaltiesOverIDs) }
        if traits.contains(.logprobs) { needed.insert(.logprobsOverIDs) }
        if traits.contains(.minTokens) { needed.insert(.minTokensOverIDs) }
        return needed
    }
}
