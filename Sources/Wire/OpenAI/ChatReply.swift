import GatewayCore

/// A whole, not streamed reply: what the gateway checks before it passes it on, and what it keeps.
package struct ChatReply: Sendable {
    /// What it says, with the ranges; `choice` is the first of `choices`, its `delta` the `message`.
    package let chunk: ChatChunk
    /// All choices have a finish reason, and none is `abort`.
    package let isComplete: Bool

    /// Reads a reply of any of the three endpoints.
    ///
    /// - Throws: ``JSONProblem`` when it is no JSON object.
    package static func read(_ text: Span<UInt8>) throws(JSONProblem) -> ChatReply {
        let chunk = try ChatChunk.read(text)
        return ChatReply(chunk: chunk)
    }

    private init(chunk: ChatChunk) {
        self.chunk = chunk
        let isEmbedding = !chunk.data.isEmpty && chunk.choiceCount == 0
        isComplete =
            !chunk.isError && !chunk.isAborted && (isEmbedding || chunk.choiceCount > 0 && chunk.unfinished == 0)
    }

    /// The `message` object of the first choice; empty in replies of other endpoints.
    package var message: ByteRange { chunk.choice.delta }
    package var usage: Usage? { chunk.usage }
    package var isError: Bool { chunk.isError }
    /// Nothing was generated: neither content in any choice nor embeddings. An answer may be legitimately empty when
    /// it ended with a stop string; the caller decides.
    package var isEmpty: Bool { !chunk.hasContent && chunk.data.count <= 2 }

    /// Appends the reply with another model name or other counts.
    package func write(
        _ text: Span<UInt8>, with rewrite: ChatRewrite, into writer: inout ByteWriter
    ) {
        rewrite.write(text, of: chunk, into: &writer)
    }
}
