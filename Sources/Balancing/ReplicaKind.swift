/// What software a replica runs: what decides how a broken stream can be continued there.
package enum ReplicaKind: String, Sendable, CaseIterable {
    /// Ours.
    case weir
    case vllm
    case sglang
    case llamaCpp = "llama.cpp"
    case tgi
    /// Anything else that speaks the OpenAI API.
    case generic

    package var abilities: ReplicaAbilities {
        switch self {
        case .weir: [.tokenIDs, .textPrefill, .grammarOverIDs, .tinyProbe]
        case .vllm: [.tokenIDs, .textPrefill, .tinyProbe]
        case .sglang, .llamaCpp: [.textPrefill, .tinyProbe]
        case .tgi: [.tinyProbe]
        case .generic: []
        }
    }
}

/// What a replica can do beyond the OpenAI API.
package struct ReplicaAbilities: OptionSet, Sendable, Hashable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Reports the token ids of prompt and output, and continues from them.
    package static let tokenIDs = ReplicaAbilities(rawValue: 1 << 0)
    /// Continues an assistant message that is there in part.
    package static let textPrefill = ReplicaAbilities(rawValue: 1 << 1)
    /// Replays continued ids through the grammar, so that constrained output stays constrained.
    package static let grammarOverIDs = ReplicaAbilities(rawValue: 1 << 2)
    /// Counts continued ids as output where penalties are computed.
    package static let penaltiesOverIDs = ReplicaAbilities(rawValue: 1 << 3)
    /// Reports the log probabilities of what follows as if nothing had been cut.
    package static let logprobsOverIDs = ReplicaAbilities(rawValue: 1 << 4)
    /// Counts continued ids towards `min_tokens`.
    package static let minTokensOverIDs = ReplicaAbilities(rawValue: 1 << 5)
    /// May be sent deep probes and warm-up requests of one token.
    package static let tinyProbe = ReplicaAbilities(rawValue: 1 << 6)
}
