/// How an engine is set up. The command that starts it has the defaults.
package struct EngineSettings: Equatable, Sendable {
    /// Path of a GGUF file.
    package var modelFile: String
    /// Answers generated at the same time. 1 to 64.
    package var slots: Int
    /// Tokens that one conversation may hold; never more than the model was trained for.
    package var contextTokens: Int
    /// Requests that may wait for a slot; one more is refused.
    package var waitingMax: Int
    /// Threads that compute; `nil` is one for a model under 100 MB and one per core otherwise.
    package var threads: Int?
    /// Passes on everything that llama.cpp says, not only its errors.
    package var isVerbose: Bool

    package init(
        modelFile: String, slots: Int, contextTokens: Int, waitingMax: Int, threads: Int? = nil, isVerbose: Bool = false
    ) {
        self.modelFile = modelFile
        self.slots = slots
        self.contextTokens = contextTokens
        self.waitingMax = waitingMax
        self.threads = threads
        self.isVerbose = isVerbose
    }
}

/// What a loaded model says about itself.
package struct ModelFacts: Equatable, Sendable {
    /// `general.name` of the GGUF file, or the file's name without its ending.
    package var name: String
    /// Tokens that one conversation may hold here.
    package var contextTokens: Int
    package var trainedContextTokens: Int
    package var vocabularyTokens: Int
    package var parameters: UInt64
    package var bytes: UInt64
}

/// Where an engine is in its life; it only moves forward.
package enum EngineState: Equatable, Sendable {
    case loading
    case ready(ModelFacts)
    /// The model could not be loaded.
    case failed(String)
    case stopped
}
