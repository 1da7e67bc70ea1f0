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
    /// `role: null` in the delta: the client has had its role delta.
    package var hidesRole = false
    /// Token ids that only the gateway asked for become null.
    package var hidesTokenIDs = false

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
        if hidesRole, chunk.choice.hasRole { edits.insert(.null, chunk.choice.role.quoted) }
        if hidesTokenIDs {
            edits.insert(.null, chunk.choice.tokenIDs)
            edits.insert(.null, chunk.choice.promptTokenIDs)
            edits.insert(.null, chunk.promptTokenIDs)
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
            let edit = edits[index]
            writer.append(text.extracting(done..<Int(edit.range.start)))
            append(edit, &writer)
            let isFollowed = chunk.hasMembers || index + 1 < edits.count
            if edit.range.isEmpty, isFollowed { writer.append(UInt8(ascii: ",")) }
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
        case .promptTokens: writer.append(decimal: counts.promptTokens)
        case .completionTokens: writer.append(decimal: counts.completionTokens)
        case .totalTokens: writer.append(decimal: counts.totalTokens)
        }
    }

    private var counts: Usage { if case .counts(let usage) = usage { usage } else { Usage() } }
}

/// At most ten changes, in the order of the text.
private struct EditList {
    enum What { case id, created, model, null, promptTokens, completionTokens, totalTokens }
    struct Edit {
        var what: What
        /// Empty where something is added.
        var range: ByteRange
    }

    private var edits = InlineArray<10, Edit>(repeating: Edit(what: .null, range: .empty))
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
