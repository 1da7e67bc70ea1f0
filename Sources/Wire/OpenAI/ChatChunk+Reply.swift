import GatewayCore

/// What a whole, not streamed reply says besides: the `delta` of its ``ChatChunk/choice`` is the `message`.
extension ChatChunk {
    /// All choices have a finish reason, and none is `abort`; or there are embeddings.
    package var isCompleteReply: Bool {
        if isError || isAborted { return false }
        return choiceCount > 0 ? unfinished == 0 : !data.isEmpty
    }
}
