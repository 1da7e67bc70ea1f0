import GatewayCore

/// What the gateway changes in the chunks of an answer, so that the client sees one stream from one model.
package struct ChatRewrite: Sendable {
    package enum UsageChange: Equatable, Sendable {
        case keep
        /// `usage: null`, as on all chunks but the last.
        case null
        /// Other counts; details such as cached tokens stay.
        case counts(Usage)
    }

    /// Complete JSON values, strings with their quotes; `nil` keeps what the replica sent.
    package var id: [UInt8]?
    package var created: [UInt8]?
    package var model: [UInt8]?
    package var usage = UsageChange.keep
    /// Leaves the delta's role out: the client has had its role delta.
    package var hidesRole = false
    /// Leaves out token ids, which only the gateway asked for.
    package var hidesTokenIDs = false
    /// Raw bytes at the beginning of the first choice's text that the client has had already.
    package var contentCut = 0

    package init() {}

    /// Appends `text` with the changes.
    ///
    /// - Precondition: `chunk` was read from `text`.
    /// - Cost: one copy; no allocation beyond the writer's.
    package func write(_ text: Span<UInt8>, of chunk: ChatChunk, into writer: inout ByteWriter) {
        var edits = EditList()
        if id != nil { edits.insert(.id, chunk.id, orAt: chunk.object) }
        if created != nil { edits.insert(.created, chunk.created, orAt: chunk.object) }
        if model != nil { edits.insert(.model, chunk.model, orAt: chunk.object) }
        if hidesRole, chunk.choice.hasRole { edits.insert(.removal, chunk.choice.role.quoted) }
        if contentCut > 0 {
            let piece = chunk.choice.content.isEmpty ? chunk.choice.text.raw : chunk.choice.content.raw
            edits.insert(.nothing, ByteRange(start: Int(piece.start), count: min(contentCut, Int(piece.count))))
        }
        if hidesTokenIDs {
            edits.insert(.removal, chunk.choice.tokenIDs)
            edits.insert(.removal, chunk.choice.promptTokenIDs)
            edits.insert(.removal, chunk.promptTokenIDs)
        }
        if chunk.usage != nil {
            switch usage {
            case .keep: break
            case .null: edits.insert(.null, chunk.usageValue)
            case .counts:
                edits.insert(.promptTokens, chunk.promptTokens)
                edits.insert(.completionTokens, chunk.completionTokens)
                edits.insert(.totalTokens, chunk.totalTokens)
            }
        }
        writer.reserve(text.count + 256)
        var done = 0
        for index in 0..<edits.count {
            var edit = edits[index]
            if edit.what == .removal { edit.range = Self.member(of: edit.range, in: text, from: done) }
            writer.append(text.extracting(done..<Int(edit.range.start)))
            append(edit, &writer)
            let isFollowed = chunk.hasMembers || index + 1 < edits.count
            if edit.range.isEmpty, edit.what != .nothing, isFollowed { writer.append(UInt8(ascii: ",")) }
            done = edit.range.end
        }
        writer.append(text.extracting(done..<text.count))
    }

    /// Appends the chunk as a whole event: `data: …` and an empty line.
    package func writeEvent(_ text: Span<UInt8>, of chunk: ChatChunk, into writer: inout ByteWriter) {
        writer.append("data: ")
        write(text, of: chunk, into: &writer)
        writer.append("\n\n")
    }

    /// The whole member that has this value, with one comma beside it that lies at `from` or behind.
    private static func member(of value: ByteRange, in text: Span<UInt8>, from: Int) -> ByteRange {
        var start = Int(value.start)
        while text[start - 1] != UInt8(ascii: ":") { start -= 1 }
        while text[start - 1] != UInt8(ascii: "\"") { start -= 1 }
        start -= 1
        while text[start - 1] != UInt8(ascii: "\"") { start -= 1 }
        start -= 1
        var before = start
        while JSONScanner.isSpace(text[before - 1]) { before -= 1 }
        if before > from, text[before - 1] == UInt8(ascii: ",") { return ByteRange((before - 1)..<value.end) }
        var end = value.end
        while JSONScanner.isSpace(text[end]) { end += 1 }
        return ByteRange(start..<(text[end] == UInt8(ascii: ",") ? end + 1 : value.end))
    }

    private func append(_ edit: EditList.Edit, _ writer: inout ByteWriter) {
        let isAdded = edit.range.isEmpty
        switch edit.what {
        case .id:
            if isAdded { writer.append("\"id\":") }
            writer.append(id ?? [])
        case .created:
            if isAdded { writer.append("\"created\":") }
            writer.append(created ?? [])
        case .model:
            if isAdded { writer.append("\"model\":") }
            writer.append(model ?? [])
        case .null: writer.append("null")
        case .removal, .nothing: break
        case .promptTokens: writer.append(decimal: counts.promptTokens)
        case .completionTokens: writer.append(decimal: counts.completionTokens)
        case .totalTokens: writer.append(decimal: counts.totalTokens)
        }
    }

    private var counts: Usage { if case .counts(let usage) = usage { usage } else { Usage() } }
}

/// At most twelve changes, in the order of the text.
private struct EditList {
    enum What {
        case id, created, model, null, nothing, promptTokens, completionTokens, totalTokens
        /// The member goes whose value this is.
        case removal
    }
    struct Edit {
        var what: What
        /// Empty where something is added.
        var range: ByteRange
    }

    private var edits = InlineArray<12, Edit>(repeating: Edit(what: .null, range: .empty))
    private(set) var count = 0

    subscript(index: Int) -> Edit { edits[index] }

    /// Replaces `range`; nothing if it is empty.
    mutating func insert(_ what: What, _ range: ByteRange) {
        if !range.isEmpty { put(Edit(what: what, range: range)) }
    }

    /// Replaces `range`; if it is empty, adds the member at the beginning of `object`.
    mutating func insert(_ what: What, _ range: ByteRange, orAt object: ByteRange) {
        let addition = ByteRange(start: Int(object.start) + 1, count: 0)
        put(Edit(what: what, range: range.isEmpty ? addition : range))
    }

    private mutating func put(_ edit: Edit) {
        var slot = count
        while slot > 0, edits[slot - 1].range.start > edit.range.start {
            edits[slot] = edits[slot - 1]
            slot -= 1
        }
        edits[slot] = edit
        count += 1
    }
}
