import GatewayCore

/// Fills a ``ChatChunk`` in one pass.
///
/// Names are told apart by length and then by words (``Swift/Span/isName(_:)``).
struct ChatChunkReader: ~Escapable {
    let text: Span<UInt8>
    var scanner: JSONScanner
    var chunk = ChatChunk()

    @_lifetime(copy text)
    init(_ text: Span<UInt8>) {
        self.text = text
        scanner = JSONScanner(text, allowsLoneSurrogates: true)
    }

    mutating func read() throws(JSONProblem) {
        try scanner.openObject()
        let start = scanner.at - 1
        while let name = try scanner.member() {
            chunk.hasMembers = true
            let key = key(name)
            switch key.count {
            case 2 where key.isName("id"): chunk.id = try scanner.skip()
            case 4 where key.isName("data"): chunk.data = try scanner.skip()
            case 5 where key.isName("model"): chunk.model = try scanner.skip()
            case 5 where key.isName("usage"): try readUsage()
            case 5 where key.isName("error"): try readError()
            case 6 where key.isName("object"): try readObjectName()
            case 7 where key.isName("created"): chunk.created = try scanner.skip()
            case 7 where key.isName("choices"): try readChoices()
            case 16 where key.isName("prompt_token_ids"): chunk.promptTokenIDs = try nonEmptyArray()
            default: try scanner.skip()
            }
        }
        chunk.object = ByteRange(start: start, count: scanner.at - start)
        try scanner.finish()
    }

    private mutating func readChoices() throws(JSONProblem) {
        guard try scanner.kind() == .array else {
            _ = try scanner.skip()
            return
        }
        try scanner.openArray()
        while try scanner.element() {
            guard try scanner.kind() == .object else {
                try scanner.skip()
                continue
            }
            let choice = try readChoice()
            if chunk.choiceCount == 0 { chunk.choice = choice }
            chunk.choiceCount += 1
            if choice.hasContent { chunk.hasContent = true }
            if choice.finish == .none { chunk.unfinished += 1 }
            if choice.finish == .abort { chunk.isAborted = true }
            if choice.finish != .none, (0..<128).contains(choice.index) {
                chunk.finished |= 1 << UInt128(choice.index)
            }
        }
    }

    private mutating func readChoice() throws(JSONProblem) -> ChatChunk.Choice {
        var choice = ChatChunk.Choice()
        try scanner.openObject()
        while let name = try scanner.member() {
            let key = key(name)
            switch key.count {
            case 4 where key.isName("text"): choice.text = try stringOrEmpty()
            case 5 where key.isName("index"): choice.index = try intOrNil() ?? 0
            case 5 where key.isName("delta"): try readDelta(into: &choice)
            case 7 where key.isName("message"): try readDelta(into: &choice)
            case 9 where key.isName("token_ids"): choice.tokenIDs = try nonEmptyArray()
            case 13 where key.isName("finish_reason"): try readFinish(into: &choice)
            case 16 where key.isName("prompt_token_ids"): choice.promptTokenIDs = try nonEmptyArray()
            default: try scanner.skip()
            }
        }
        return choice
    }

    private mutating func readDelta(into choice: inout ChatChunk.Choice) throws(JSONProblem) {
        guard try scanner.kind() == .object else {
            _ = try scanner.skip()
            return
        }
        let start = scanner.at
        try scanner.openObject()
        while let name = try scanner.member() {
            let key = key(name)
            switch key.count {
            case 4 where key.isName("role"): choice.role = try stringOrEmpty()
            case 7 where key.isName("content"): try readContent(into: &choice)
            case 7 where key.isName("refusal"): choice.refusal = try stringOrEmpty()
            case 9 where key.isName("reasoning"), 17 where key.isName("reasoning_content"):
                let value = try stringOrEmpty()
                if !value.isEmpty { choice.reasoning = value }
            case 10 where key.isName("tool_calls"):
                let calls = try nonEmptyArray()
                if !calls.isEmpty { choice.toolCalls = calls }
            case 13 where key.isName("function_call"):
                let isCall = try scanner.kind() == .object
                let call = try scanner.skip()
                if isCall { choice.toolCalls = call }
            default: try scanner.skip()
            }
        }
        choice.delta = ByteRange(start: start, count: scanner.at - start)
    }

    private mutating func readContent(into choice: inout ChatChunk.Choice) throws(JSONProblem) {
        switch try scanner.kind() {
        case .string:
            choice.content = try scanner.string()
        case .array:
            if try !nonEmptyArray().isEmpty { choice.hasParts = true }
        default:
            try scanner.skip()
        }
    }

    private mutating func readFinish(into choice: inout ChatChunk.Choice) throws(JSONProblem) {
        guard try scanner.kind() == .string else {
            choice.finishValue = try scanner.skip()
            choice.finish = .none
            return
        }
        let reason = try scanner.string()
        let word = text.extracting(reason.raw)
        choice.finishValue = reason.quoted
        choice.finish =
            switch word.count {
            case 0: .none
            case 4 where word.isName("stop"): .stop
            case 5 where word.isName("abort"): .abort
            case 6 where word.isName("length"): .length
            case 10 where word.isName("tool_calls"): .toolCalls
            case 13 where word.isName("function_call"): .functionCall
            case 14 where word.isName("content_filter"): .contentFilter
            default: .other
            }
    }

    private mutating func readUsage() throws(JSONProblem) {
        guard try scanner.kind() == .object else {
            chunk.usageValue = try scanner.skip()
            return
        }
        let start = scanner.at
        var usage = Usage()
        try scanner.openObject()
        while let name = try scanner.member() {
            let key = key(name)
            switch key.count {
            case 12 where key.isName("total_tokens"):
                (_, chunk.totalTokens) = try count()
            case 13 where key.isName("prompt_tokens"):
                (usage.promptTokens, chunk.promptTokens) = try count()
            case 17 where key.isName("completion_tokens"):
                (usage.completionTokens, chunk.completionTokens) = try count()
            default:
                try scanner.skip()
            }
        }
        chunk.usage = usage
        chunk.usageValue = ByteRange(start: start, count: scanner.at - start)
    }

    private mutating func readError() throws(JSONProblem) {
        let isNull = try scanner.kind() == .null
        let value = try scanner.skip()
        if isNull { return }
        chunk.error = value
        chunk.isError = true
    }

    private mutating func readObjectName() throws(JSONProblem) {
        guard try scanner.kind() == .string else {
            chunk.objectName = try scanner.skip()
            return
        }
        let value = try scanner.string()
        chunk.objectName = value.quoted
        if text.extracting(value.raw).isName("error") { chunk.isError = true }
    }

    // MARK: Values

    /// The bytes to dispatch on: the name as it stands, or, if it is written with escapes, ours that it means.
    @_lifetime(copy self)
    private func key(_ name: JSONString) -> Span<UInt8> {
        let raw = text.extracting(name.raw)
        guard name.hasEscapes else { return raw }
        for known in Self.names where JSONText.equals(raw, known) {
            // The bytes of a static string live as long as the process.
            let span = Span(_unsafeStart: known.utf8Start, count: known.utf8CodeUnitCount)
            return _overrideLifetime(span, copying: self)
        }
        return raw
    }

    private static let names: [StaticString] = [
        "id", "data", "model", "usage", "error", "object", "created", "choices", "prompt_token_ids", "text", "index",
        "delta", "message", "token_ids", "finish_reason", "role", "content", "refusal", "reasoning",
        "reasoning_content", "tool_calls", "function_call", "total_tokens", "prompt_tokens", "completion_tokens",
    ]

    private mutating func stringOrEmpty() throws(JSONProblem) -> JSONString {
        if try scanner.kind() == .string { return try scanner.string() }
        try scanner.skip()
        return .empty
    }

    private mutating func intOrNil() throws(JSONProblem) -> Int? {
        if try scanner.kind() == .number { return try scanner.number().int(in: text) }
        try scanner.skip()
        return nil
    }

    /// A number of tokens: never negative, at most 2³¹ − 1, so that sums can't overflow.
    private mutating func count() throws(JSONProblem) -> (Int, ByteRange) {
        guard try scanner.kind() == .number else { return (0, try scanner.skip()) }
        let number = try scanner.number()
        return (min(max(0, number.int(in: text) ?? 0), Int(Int32.max)), number.range)
    }

    /// The array that comes next; empty if it has no element or is something else.
    private mutating func nonEmptyArray() throws(JSONProblem) -> ByteRange {
        guard try scanner.kind() == .array else {
            try scanner.skip()
            return .empty
        }
        let start = scanner.at
        try scanner.openArray()
        var isEmpty = true
        while try scanner.element() {
            isEmpty = false
            try scanner.skip()
        }
        return isEmpty ? .empty : ByteRange(start: start, count: scanner.at - start)
    }
}
