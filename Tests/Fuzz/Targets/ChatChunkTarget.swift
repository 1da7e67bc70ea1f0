import GatewayCore
import Wire

/// An event says the same however it is spelled. One that is accepted can be rewritten: it then says what it was told
/// to say, and otherwise the same as before.
func checkChatChunk(_ bytes: [UInt8]) throws(BrokenProperty) {
    let said = sayings(ofChunk: bytes)
    for spelling in bytes.spellings {
        let other = sayings(ofChunk: spelling)
        try hold(other == said, "spelled as \(spelling.text) it says \(other ?? []), else \(said ?? [])")
    }
    let error = UpstreamError.normalise(status: 400, body: bytes.span)
    try hold(!error.message.isEmpty && !error.type.isEmpty, "an error without words")
    guard let chunk = try? ChatChunk.read(bytes.span) else { return }
    try hold(chunk.choiceCount >= chunk.unfinished, "more unfinished choices than choices")
    try hold(!chunk.choice.hasContent || chunk.hasContent, "content of a choice that is none of the chunk")

    var rewrite = ChatRewrite()
    rewrite.id = Array(#""the id""#.utf8)
    rewrite.created = Array("1700000000".utf8)
    rewrite.model = Array(#""the model""#.utf8)
    rewrite.hidesRole = true
    rewrite.hidesTokenIDs = true
    let counts = Usage(promptTokens: 3, completionTokens: 4)
    for usage in [ChatRewrite.UsageChange.keep, .null, .counts(counts)] {
        rewrite.usage = usage
        let written = [UInt8].written { rewrite.write(bytes.span, of: chunk, into: &$0) }
        guard let again = try? ChatChunk.read(written.span) else {
            throw BrokenProperty(description: "rewritten it is refused: \(written.text)")
        }
        func says(_ range: ByteRange) -> [UInt8] { written[range] }
        try hold(says(again.id) == rewrite.id, "another id: \(written.text)")
        try hold(says(again.created) == rewrite.created, "another time: \(written.text)")
        try hold(says(again.model) == rewrite.model, "another model: \(written.text)")
        try hold(!again.choice.hasRole && again.choice.tokenIDs.isEmpty, "not hidden: \(written.text)")
        try hold(again.choiceCount == chunk.choiceCount && again.finished == chunk.finished, "other choices")
        try hold(says(again.choice.content.raw) == bytes[chunk.choice.content.raw], "other content: \(written.text)")
        try hold(again.hasContent == chunk.hasContent && again.isError == chunk.isError, "another meaning")
        if chunk.usage != nil, usage == .null { try hold(again.usage == nil, "usage is left: \(written.text)") }
    }
}
