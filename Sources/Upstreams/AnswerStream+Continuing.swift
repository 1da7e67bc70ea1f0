import Balancing
import GatewayCore
import Wire

/// Where a continuation meets what the client has.
struct Seam {
    /// Completion tokens that the client had before this continuation.
    var tokensBefore = 0
    /// Deltas that the client had before it.
    var deltasBefore = 0
    /// Raw bytes of the text that a replay has repeated so far.
    var repeated = 0
    /// The stream repeats the text from its start, and has not come to its end.
    var isReplay = false
    /// Raw bytes of the text's beginning that a prefill has repeated so far; `nil` when it is a true continuation.
    var guarded: Int?
    /// What is repeated until it counts as the answer told anew.
    var guardEnd = 0
    /// Writes what `/v1/completions` says as chunks of a chat.
    var translator: ChatStreamWriter?

}

/// Continuing an answer that another replica began: one identity, one role, no text twice.
extension AnswerStream {
    mutating func openContinuation(_ way: ResumeWay, _ ids: TokenTrace.Trust) {
        let sent = tokensSent
        switch way {
        case .tokenIDs: trace.goOn(ids)
        case .prefill, .replay: trace.beginAnew(ids)
        }
        seam = Seam()
        seam.tokensBefore = sent
        seam.deltasBefore = deltas
        seam.isReplay = way == .replay
        if way == .tokenIDs, request.kind == .chat { seam.translator = writer }
        if way == .prefill, JSONText.isTelling(text.bytes) {
            seam.guarded = 0
            seam.guardEnd = min(text.count, 256)
            held.removeAll()
        }
        var changes = ChatRewrite()
        changes.id = identityValue(identityRanges.id)
        changes.created = identityValue(identityRanges.created)
        changes.model = request.model ?? identityValue(identityRanges.model)
        changes.hidesRole = hasRole
        changes.hidesTokenIDs = ids != .none && !request.showsTokenIDs
        rewrite = changes
    }

    /// Writes events of our own in the name of the answer.
    package var writer: ChatStreamWriter {
        ChatStreamWriter(
            kind: request.kind, id: identityValue(identityRanges.id) ?? Array("\"chatcmpl-weir\"".utf8),
            created: identityValue(identityRanges.created) ?? [UInt8(ascii: "0")],
            model: request.model ?? identityValue(identityRanges.model) ?? Array("\"unknown\"".utf8))
    }

    private func identityValue(_ range: ByteRange) -> [UInt8]? {
        range.isEmpty ? nil : identity.bytes.extracting(range).withUnsafeBufferPointer { Array($0) }
    }

    // MARK: Events

    mutating func passContinued(
        _ chunk: ChatChunk, _ data: Span<UInt8>, _ whole: Span<UInt8>, _ out: inout ByteWriter
    ) {
        if seam.guarded != nil, isHeldByGuard(chunk, data, whole, &out) { return }
        let ids = trace.isTracing ? trace.take(chunk, data) : 0
        if chunk.choiceCount == 0 {
            if chunk.usage != nil, request.includesUsage { write(chunk, data, cut: 0, to: &out) }
            return
        }
        var cut = 0
        let wasReplay = seam.isReplay
        if seam.isReplay {
            guard let had = repeated(in: chunk, data) else { return end = .diverged }
            cut = had
            seam.isReplay = seam.repeated < text.count
            // It ended before it had said what the client has.
            if chunk.finished != 0, seam.isReplay { return end = .diverged }
        }
        finished |= chunk.finished
        if chunk.choice.finish != .none { finish = chunk.choice.finish }
        let piece = chunk.choice.content.isEmpty ? chunk.choice.text : chunk.choice.content
        let isNew = chunk.hasContent && !(cut > 0 && cut == Int(piece.raw.count))
        if isNew {
            noteContent(chunk, data, cut: cut, ids: ids)
        } else if wasReplay, !seam.isReplay, trace.isTracing {
            trace.noteText(ids: ids)
        }
        // A chunk that only repeats the role, or the text, says nothing new.
        let tells = chunk.choice.hasRole && !hasRole || request.showsTokenIDs && !chunk.choice.tokenIDs.isEmpty
        guard isNew || chunk.finished != 0 || tells && !wasReplay else { return }
        write(chunk, data, cut: cut, to: &out)
    }

    private mutating func write(_ chunk: ChatChunk, _ data: Span<UInt8>, cut: Int, to out: inout ByteWriter) {
        if let translator = seam.translator {
            return translate(chunk, data, translator, &out)
        }
        guard var changes = rewrite else { return }
        if chunk.choice.hasRole { hasRole = true }
        if chunk.usage != nil, let usage {
            changes.usage = .counts(usage)
            if request.includesUsage { isUsageSent = true }
        }
        changes.contentCut = cut
        changes.writeEvent(data, of: chunk, into: &out)
        rewrite?.hidesRole = hasRole
    }

    /// What `/v1/completions` says, as a chat says it.
    private mutating func translate(
        _ chunk: ChatChunk, _ data: Span<UInt8>, _ writer: ChatStreamWriter, _ out: inout ByteWriter
    ) {
        let choice = chunk.choice
        let ids = request.showsTokenIDs ? choice.tokenIDs : .empty
        if !choice.text.isEmpty || !ids.isEmpty {
            writer.append(content: data.extracting(choice.text.raw), tokenIDs: data.extracting(ids), into: &out)
        }
        if choice.finish != .none { writer.append(finish: choice.finish, into: &out) }
        if chunk.choiceCount == 0, let usage {
            writer.append(usage: usage, into: &out)
            isUsageSent = true
        }
    }

    // MARK: Repeated text

    /// Raw bytes of the chunk's text that the client has; `nil` if it says something else.
    private mutating func repeated(in chunk: ChatChunk, _ data: Span<UInt8>) -> Int? {
        let choice = chunk.choice
        if !choice.toolCalls.isEmpty || !choice.reasoning.isEmpty || !choice.refusal.isEmpty || choice.hasParts {
            return nil
        }
        let piece = choice.content.isEmpty ? choice.text : choice.content
        if piece.isEmpty { return 0 }
        guard
            let common = JSONText.common(text.bytes.extracting(seam.repeated..<text.count), data.extracting(piece.raw))
        else { return nil }
        seam.repeated += common.left
        return common.right
    }

    /// A replica that begins the whole answer anew did not understand that it should continue it. Until that can be
    /// told, its events are held: that is, while they equal the beginning of the text.
    ///
    /// - Returns: true while the chunk is held, or when it is clear what it is.
    private mutating func isHeldByGuard(
        _ chunk: ChatChunk, _ data: Span<UInt8>, _ whole: Span<UInt8>, _ out: inout ByteWriter
    ) -> Bool {
        let piece = chunk.choice.content.isEmpty ? chunk.choice.text : chunk.choice.content
        guard let from = seam.guarded, held.count + whole.count <= Self.eventBytesMax else {
            finishGuard(&out)
            return end != nil
        }
        if chunk.choiceCount > 0, chunk.finished == 0 {
            let common = JSONText.common(text.bytes.extracting(from..<seam.guardEnd), data.extracting(piece.raw))
            if let equal = common?.left {
                if from + equal == seam.guardEnd {
                    end = .diverged
                    return true
                }
                seam.guarded = from + equal
                held.append("data: ")
                held.append(data)
                held.append("\n\n")
                return true
            }
        }
        finishGuard(&out)
        return end != nil
    }

    /// It is a true continuation: what was held goes out.
    mutating func finishGuard(_ out: inout ByteWriter) {
        guard seam.guarded != nil else { return }
        seam.guarded = nil
        var events = ByteWriter()
        swap(&events, &held)
        var inner = SSEScanner(limit: Self.eventBytesMax)
        var used = 0
        while end == nil, case .event(let event) = inner.next(events.bytes, at: &used) {
            pass(events.bytes.extracting(event.data), whole: events.bytes.extracting(event.range), &out)
        }
    }
}
