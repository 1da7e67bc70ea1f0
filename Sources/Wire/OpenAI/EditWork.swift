/// Collects the splices of one body.
struct EditWork: ~Escapable {
    let body: Span<UInt8>
    /// Members that are left out: nothing else is done to them.
    let removed: ChatMemberSet
    private(set) var result: SplicedBody
    /// Members to be added behind the last one.
    private var missing = InlineArray<10, (member: ChatMember, value: ByteRange)>(repeating: (.model, .empty))
    private var missingCount = 0

    @_lifetime(copy body)
    init(body: Span<UInt8>, removed: ChatMemberSet) {
        self.body = body
        self.removed = removed
        result = SplicedBody(sourceCount: body.count)
    }

    /// Gives `member` another value, or adds it. Does nothing where it has that value already.
    mutating func set(_ member: ChatMember, to value: [UInt8], _ request: ChatRequest, _ added: inout ByteWriter) {
        if removed.contains(member) { return }
        let mark = added.count
        guard let place = request.place(of: member) else {
            added.append(value)
            return addLater(member, ByteRange(start: mark, count: value.count))
        }
        if equals(place.value, value) { return }
        added.append(value)
        result.replace(place.value, withAddedSince: mark, of: added)
    }

    mutating func setMaxTokens(_ maxTokens: Int, _ request: ChatRequest, _ added: inout ByteWriter) {
        var digits = ByteWriter(capacity: 20)
        digits.append(decimal: maxTokens)
        let value = digits.withUnsafeBytes { Array($0) }
        // Engines differ in which one wins, so both are set where both have a value.
        if request.maxCompletionTokens != nil { set(.maxCompletionTokens, to: value, request, &added) }
        if request.maxTokens != nil || request.maxCompletionTokens == nil || removed.contains(.maxCompletionTokens) {
            set(.maxTokens, to: value, request, &added)
        }
    }

    /// Does nothing where the client gave a seed.
    mutating func setSeed(_ seed: Int, _ request: ChatRequest, _ added: inout ByteWriter) {
        if let place = request.place(of: .seed), body[Int(place.value.start)] != UInt8(ascii: "n") { return }
        var digits = ByteWriter(capacity: 20)
        digits.append(decimal: seed)
        set(.seed, to: digits.withUnsafeBytes { Array($0) }, request, &added)
    }

    mutating func forceUsage(_ request: ChatRequest, _ added: inout ByteWriter) {
        if request.includesUsage || removed.contains(.streamOptions) { return }
        let mark = added.count
        guard let place = request.place(of: .streamOptions), body[Int(place.value.start)] == UInt8(ascii: "{") else {
            return set(.streamOptions, to: Array("{\"include_usage\":true}".utf8), request, &added)
        }
        if request.includeUsageValue.isEmpty {
            added.append(request.streamOptionsIsEmpty ? "\"include_usage\":true" : "\"include_usage\":true,")
            result.replace(
                ByteRange(start: Int(place.value.start) + 1, count: 0), withAddedSince: mark, of: added)
        } else {
            added.append("true")
            result.replace(request.includeUsageValue, withAddedSince: mark, of: added)
        }
    }

    mutating func editMessages(_ edits: BodyEdits, _ request: ChatRequest, _ added: inout ByteWriter) {
        // Other endpoints may carry the member for all we care: it was not looked into.
        guard request.kind == .chat, let list = request.place(of: .messages)?.value, list.count >= 2,
            !removed.contains(.messages)
        else { return }
        let first = ByteRange(start: Int(list.start) + 1, count: 0)
        let inside = ByteRange(start: Int(list.start) + 1, count: Int(list.count) - 2)
        let mark = added.count
        switch edits.messages {
        case .keep:
            break
        case .prepend(let messages):
            if !messages.isEmpty {
                added.append(messages)
                if !request.messages.isEmpty { added.append(UInt8(ascii: ",")) }
                result.replace(first, withAddedSince: mark, of: added)
            }
        case .replace(let messages):
            added.append(messages)
            if let text = edits.continuation {
                if !messages.isEmpty { added.append(UInt8(ascii: ",")) }
                Self.append(assistant: text, &added)
            }
            return result.replace(inside, withAddedSince: mark, of: added)
        }
        guard let text = edits.continuation else { return }
        let tail = added.count
        if request.continuesFinalMessage || edits.extendsLastMessage, let last = request.messages.last,
            last.role == .assistant, last.content.count >= 2, body[Int(last.content.start)] == UInt8(ascii: "\"")
        {
            added.append(text)
            return result.replace(
                ByteRange(start: last.content.end - 1, count: 0), withAddedSince: tail, of: added)
        }
        if !request.messages.isEmpty { added.append(UInt8(ascii: ",")) }
        Self.append(assistant: text, &added)
        result.replace(ByteRange(start: list.end - 1, count: 0), withAddedSince: tail, of: added)
    }

    /// A plain completion is continued by its prompt.
    mutating func lengthenPrompt(_ text: [UInt8], _ request: ChatRequest, _ added: inout ByteWriter) {
        guard request.kind == .completion, request.promptKind == .text, let prompt = request.place(of: .prompt)?.value
        else { return }
        let mark = added.count
        added.append(text)
        result.replace(ByteRange(start: prompt.end - 1, count: 0), withAddedSince: mark, of: added)
    }

    private static func append(assistant text: [UInt8], _ added: inout ByteWriter) {
        added.append("{\"role\":\"assistant\",\"content\":\"")
        added.append(text)
        added.append("\"}")
    }

    // MARK: Removing and adding

    /// Takes members out, each with one comma.
    mutating func removeMembers(_ request: ChatRequest, _ added: borrowing ByteWriter) {
        if removed.isEmpty { return }
        let opening = Int(request.object.start)
        // What goes next, held back because a run of members at the end goes as one.
        var pending: ByteRange?
        var from = opening
        while let place = nextRemoved(of: request, from: from) {
            from = place.value.end
            var start = Int(place.start)
            var end = skipSpace(from: place.value.end)
            if body[end] == UInt8(ascii: ",") {
                end += 1
            } else {
                // The last member: the comma before it goes, which may have gone already.
                end = place.value.end
                while true {
                    start = skipSpaceBack(from: start)
                    if let before = pending, before.end == start, before.end > Int(before.start) {
                        start = Int(before.start)
                        pending = nil
                        continue
                    }
                    if start > opening + 1, body[start - 1] == UInt8(ascii: ",") { start -= 1 }
                    break
                }
            }
            if let before = pending {
                if skipSpaceBack(from: start) == before.end {
                    pending = ByteRange(before.range.lowerBound..<end)
                    continue
                }
                result.replace(before, withAddedSince: added.count, of: added)
            }
            pending = ByteRange(start..<end)
        }
        if let pending { result.replace(pending, withAddedSince: added.count, of: added) }
    }

    mutating func addMissing(_ request: ChatRequest, _ added: inout ByteWriter) {
        if missingCount == 0 { return }
        let mark = added.count
        for index in 0..<missingCount {
            let value = missing[index].value
            added.append(",\"")
            added.append(missing[index].member.name)
            added.append("\":")
            added.appendCopy(of: value)
        }
        // A body that was accepted has a model, which is never removed: a comma is always due.
        result.replace(ByteRange(start: request.object.end - 1, count: 0), withAddedSince: mark, of: added)
    }

    private mutating func addLater(_ member: ChatMember, _ value: ByteRange) {
        precondition(missingCount < 10)
        missing[missingCount] = (member, value)
        missingCount += 1
    }

    private func nextRemoved(of request: ChatRequest, from: Int) -> ChatRequest.Place? {
        var found: ChatRequest.Place?
        for member in ChatMember.allCases where removed.contains(member) && member != .model {
            guard let place = request.place(of: member), Int(place.start) >= from else { continue }
            if let best = found, best.start < place.start { continue }
            found = place
        }
        return found
    }

    private func equals(_ range: ByteRange, _ value: [UInt8]) -> Bool {
        guard Int(range.count) == value.count else { return false }
        let bytes = body.extracting(range)
        for index in 0..<value.count where bytes[index] != value[index] { return false }
        return true
    }

    private func skipSpace(from start: Int) -> Int {
        var index = start
        while JSONScanner.isSpace(body[index]) { index += 1 }
        return index
    }

    private func skipSpaceBack(from start: Int) -> Int {
        var index = start
        while JSONScanner.isSpace(body[index - 1]) { index -= 1 }
        return index
    }
}

extension ByteWriter {
    /// Appends bytes that were written before.
    mutating func appendCopy(of range: ByteRange) {
        precondition(range.end <= count)
        reserve(Int(range.count))
        for index in range.range {
            let byte = bytes[index]
            append(byte)
        }
    }
}
