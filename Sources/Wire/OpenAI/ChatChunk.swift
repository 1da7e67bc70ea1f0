import GatewayCore

/// Why an answer ended.
package enum FinishReason: UInt8, Equatable, Sendable {
    /// Absent, null or empty: it goes on.
    case none
    case stop, length, toolCalls, contentFilter, functionCall
    /// SGLang and vLLM say so when the engine gave up: a failure, not an end.
    case abort
    /// A reason of some engine's own.
    case other
}

/// What one event of a streamed answer, or a whole answer, says.
///
/// All ranges are into the text that was read and empty where there is nothing. Where engines send a member twice, the
/// last one counts, as in every JSON reader.
/// - Cost: one pass, no allocation.
package struct ChatChunk: Sendable {
    /// One element of `choices`.
    package struct Choice: Equatable, Sendable {
        package var index = 0
        /// The whole `delta` or `message` object.
        package var delta = ByteRange.empty
        package var role = JSONString.empty
        package var content = JSONString.empty
        /// `text`, in the reply of `/v1/completions`.
        package var text = JSONString.empty
        /// `reasoning_content` or `reasoning`.
        package var reasoning = JSONString.empty
        package var refusal = JSONString.empty
        /// `tool_calls` that is not an empty array, or `function_call`.
        package var toolCalls = ByteRange.empty
        /// Content that is no string, such as an array of parts.
        package var hasParts = false
        package var finish = FinishReason.none
        /// `token_ids`: a JSON array.
        package var tokenIDs = ByteRange.empty
        /// `prompt_token_ids` where an engine puts it into the choice.
        package var promptTokenIDs = ByteRange.empty

        package init() {}

        package var hasRole: Bool { !role.isEmpty }

        /// *Content*: a non-empty content, text, refusal, reasoning or tool-call delta.
        package var hasContent: Bool {
            hasParts || !content.isEmpty || !text.isEmpty || !refusal.isEmpty || !reasoning.isEmpty
                || !toolCalls.isEmpty
        }
    }

    /// The outermost object, brackets included.
    package internal(set) var object = ByteRange.empty
    var hasMembers = false
    /// Complete values, strings with their quotes.
    package internal(set) var id = ByteRange.empty
    package internal(set) var created = ByteRange.empty
    package internal(set) var model = ByteRange.empty
    /// The first choice of the array; what a request for one answer needs.
    package internal(set) var choice = Choice()
    package internal(set) var choiceCount = 0
    /// Whether any choice has content.
    package internal(set) var hasContent = false
    /// One bit for each choice index below 128 that has a finish reason here.
    package internal(set) var finished: UInt128 = 0
    /// Elements of `choices` without a finish reason.
    package internal(set) var unfinished = 0
    /// Some choice's finish reason is `abort`.
    package internal(set) var isAborted = false
    package internal(set) var usage: Usage?
    /// The value of `usage`, also when it is null.
    package internal(set) var usageValue = ByteRange.empty
    /// The numbers inside `usage`.
    var promptTokens = ByteRange.empty
    var completionTokens = ByteRange.empty
    var totalTokens = ByteRange.empty
    /// The value of a top-level `error` that is not null.
    package internal(set) var error = ByteRange.empty
    /// There is an error: as a member, or because `object` is `"error"`.
    package internal(set) var isError = false
    package internal(set) var promptTokenIDs = ByteRange.empty
    /// `data`: what `/v1/embeddings` answers.
    package internal(set) var data = ByteRange.empty

    package init() {}

    /// Whether it holds ids that ``ChatRewrite/hidesTokenIDs`` takes out.
    package var hasTokenIDs: Bool {
        !choice.tokenIDs.isEmpty || !choice.promptTokenIDs.isEmpty || !promptTokenIDs.isEmpty
    }

    /// The chunk that carries the usage and nothing else.
    package var isUsageOnly: Bool { choiceCount == 0 && usage != nil && !isError }

    /// Reads the data of one event, or a whole reply.
    ///
    /// - Throws: ``JSONProblem`` when it is no JSON object: a malformed event.
    package static func read(_ text: Span<UInt8>) throws(JSONProblem) -> ChatChunk {
        var chunk = ChatChunk()
        try chunk.fill(from: text)
        return chunk
    }

    /// ``read(_:)`` into a fresh chunk, where it lies: what is returned beside an error is copied, 272 bytes here.
    package mutating func fill(from text: Span<UInt8>) throws(JSONProblem) {
        var reader = ChatChunkReader(text)
        try reader.read(into: &self)
    }
}
