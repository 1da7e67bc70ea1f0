/// Chunks and replies in the order and the spelling that most engines have from OpenAI: what stands between the values
/// is compared as a whole, which takes half as long as reading member by member.
///
/// What differs is left to the general reader, which goes on where this stopped.
extension ChatChunkReader {
    /// Where ``readUsualBeginning(into:)`` stopped.
    enum Place {
        /// Nothing was read.
        case outside
        /// In the outermost object.
        case members
        /// The value of the first choice's `delta` or `message` comes next.
        case delta
    }

    /// The members that most engines write first.
    @inline(__always)
    mutating func readUsualBeginning(into chunk: inout ChatChunk) throws(JSONProblem) -> Place {
        guard scanner.take("{\"id\":\"", deeper: 1) else { return .outside }
        chunk.hasMembers = true
        chunk.id = try scanner.longString(from: scanner.at, plainUntil: scanner.at).quoted
        guard
            scanner.take(",\"object\":\"chat.completion.chunk\",\"created\":")
                || scanner.take(",\"object\":\"chat.completion\",\"created\":")
        else { return .members }
        chunk.created = try scanner.skipNumber()
        guard scanner.take(",\"model\":\"") else { return .members }
        chunk.model = try scanner.string(from: scanner.at).quoted
        let isChoice =
            scanner.take(",\"choices\":[{\"index\":0,\"delta\":", deeper: 2)
            || scanner.take(",\"choices\":[{\"index\":0,\"message\":", deeper: 2)
        return isChoice ? .delta : .members
    }

    /// The end of the only choice, if it is one of the usual ones.
    @inline(__always)
    mutating func takeUsualEnd(of choice: inout ChatChunk.Choice) -> Bool {
        if scanner.take(",\"finish_reason\":null}]", deeper: -2) { return true }
        _ = scanner.take(",\"logprobs\":null")
        if scanner.take(",\"finish_reason\":\"stop\"}]", deeper: -2) {
            choice.finish = .stop
            return true
        }
        return scanner.take(",\"finish_reason\":null}]", deeper: -2)
    }
}
