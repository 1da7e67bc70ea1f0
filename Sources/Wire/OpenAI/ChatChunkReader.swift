import GatewayCore

/// Fills a ``ChatChunk`` in one pass.
///
/// Names are told apart by length and then by words (``Swift/Span/isName(_:)``), in one function for each level of the
/// document. What most engines write is compared as a whole before that (``readUsualBeginning(into:)``).
struct ChatChunkReader: ~Escapable {
    private let text: Span<UInt8>
    var scanner: JSONScanner

    @_lifetime(copy text)
    init(_ text: Span<UInt8>) {
        self.text = text
        scanner = JSONScanner(text, allowsLoneSurrogates: true)
    }

    /// - Precondition: `chunk` is fresh.
    mutating func read(into chunk: inout ChatChunk) throws(JSONProblem) {
        var start = scanner.at
        switch try readUsualBeginning(into: &chunk) {
        case .outside:
            try scanner.openObject()
            start = scanner.at
        case .members: break
        case .delta:
            try readDelta(into: &chunk.choice)
            if takeUsualEnd(of: &chunk.choice) {
                count(chunk.choice, in: &chunk)
            } else {
                try readRestOfChoice(into: &chunk.choice)
                count(chunk.choice, in: &chunk)
                try readRestOfChoices(into: &chunk)
            }
            if scanner.take(",\"usage\":") { try readUsage(into: &chunk) }
        }
        try readMembers(into: &chunk)
        chunk.object = ByteRange(start: start, count: scanner.at &- start)
        try scanner.finish()
    }

    // MARK: Level by level

    private mutating func readMembers(into chunk: inout ChatChunk) throws(JSONProblem) {
        while let name = try scanner.member() {
            chunk.hasMembers = true
            let key = key(name)
            switch key.count {
            case 2:
                if key.isName("id") {
                    chunk.id = try scanner.skip()
                    continue
                }
            case 4:
                if key.isName("data") {
                    chunk.data = try scanner.skip()
                    continue
                }
            case 5:
                if key.isName("model") {
                    chunk.model = try scanner.skip()
                    continue
                }
                if key.isName("usage") {
                    try readUsage(into: &chunk)
                    continue
                }
                if key.isName("error") {
                    try readError(into: &chunk)
                    continue
                }
            case 6:
                if key.isName("object") {
                    try readObjectName(into: &chunk)
                    continue
                }
            case 7:
                if key.isName("created") {
                    chunk.created = try scanner.skip()
                    continue
                }
                if key.isName("choices") {
                    try readChoices(into: &chunk)
                    continue
                }
            case 16:
                if key.isName("prompt_token_ids") {
                    chunk.promptTokenIDs = try nonEmptyArray()
                    continue
                }
            default:
                break
            }
            try scanner.skip()
        }
    }

    private mutating func readChoices(into chunk: inout ChatChunk) throws(JSONProblem) {
        guard try scanner.significantByte() == UInt8(ascii: "[") else {
            try scanner.skip()
            return
        }
        try scanner.openArray()
        try readRestOfChoices(into: &chunk)
    }

    /// The elements that are left, and the array's bracket.
    private mutating func readRestOfChoices(into chunk: inout ChatChunk) throws(JSONProblem) {
        while try scanner.element() {
            guard try scanner.significantByte() == UInt8(ascii: "{") else {
                try scanner.skip()
                continue
            }
            try scanner.openObject()
            // Only the first one is kept.
            if chunk.choiceCount == 0 {
                try readRestOfChoice(into: &chunk.choice)
                count(chunk.choice, in: &chunk)
            } else {
                var choice = ChatChunk.Choice()
                try readRestOfChoice(into: &choice)
                count(choice, in: &chunk)
            }
        }
    }

    @inline(__always)
    private func count(_ choice: borrowing ChatChunk.Choice, in chunk: inout ChatChunk) {
        chunk.choiceCount += 1
        if choice.hasContent { chunk.hasContent = true }
        switch choice.finish {
        case .none: chunk.unfinished += 1
        case .abort: chunk.isAborted = true
        default: break
        }
        if choice.finish == .none { return }
        if choice.index == 0 {
            chunk.finished |= 1
        } else if (0..<128).contains(choice.index) {
            chunk.finished |= 1 << UInt128(choice.index)
        }
    }

    /// The members of a choice that are left, all of them perhaps, and its bracket.
    private mutating func readRestOfChoice(into choice: inout ChatChunk.Choice) throws(JSONProblem) {
        _ = scanner.take(",\"logprobs\":null")
        _ = scanner.take(",\"finish_reason\":null")
        while let name = try scanner.member() {
            let key = key(name)
            switch key.count {
            case 4:
                if key.isName("text") {
                    choice.text = try stringOrEmpty()
                    continue
                }
            case 5:
                if key.isName("index") {
                    choice.index = try intOrNil() ?? 0
                    continue
                }
                if key.isName("delta") {
                    try readDelta(into: &choice)
                    continue
                }
            case 7:
                if key.isName("message") {
                    try readDelta(into: &choice)
                    continue
                }
            case 9:
                if key.isName("token_ids") {
                    choice.tokenIDs = try nonEmptyArray()
                    continue
                }
            case 13:
                if key.isName("finish_reason") {
                    try readFinish(into: &choice)
                    continue
                }
            case 16:
                if key.isName("prompt_token_ids") {
                    choice.promptTokenIDs = try nonEmptyArray()
                    continue
                }
            default:
                break
            }
            try scanner.skip()
        }
    }

    @inline(__always)
    private mutating func readDelta(into choice: inout ChatChunk.Choice) throws(JSONProblem) {
        var start = scanner.at
        if scanner.take("{\"content\":\"", deeper: 1) {
            choice.content = try scanner.string(from: scanner.at)
        } else if scanner.take("{\"role\":\"assistant\",\"content\":\"", deeper: 1) {
            // The word's place behind the bracket, the name, the colon and the quote.
            choice.role = JSONString(raw: ByteRange(start: start &+ 9, count: 9), hasEscapes: false)
            choice.content = try scanner.string(from: scanner.at)
        } else {
            guard try scanner.significantByte() == UInt8(ascii: "{") else {
                try scanner.skip()
                return
            }
            try scanner.openObject()
            start = scanner.at
        }
        while let name = try scanner.member() {
            let key = key(name)
            switch key.count {
            case 4:
                if key.isName("role") {
                    choice.role = try stringOrEmpty()
                    continue
                }
            case 7:
                if key.isName("content") {
                    try readContent(into: &choice)
                    continue
                }
                if key.isName("refusal") {
                    choice.refusal = try stringOrEmpty()
                    continue
                }
            case 9, 17:
                if key.isName("reasoning") || key.isName("reasoning_content") {
                    let value = try stringOrEmpty()
                    if !value.isEmpty { choice.reasoning = value }
                    continue
                }
            case 10:
                if key.isName("tool_calls") {
                    let calls = try nonEmptyArray()
                    if !calls.isEmpty { choice.toolCalls = calls }
                    continue
                }
            case 13:
                if key.isName("function_call") {
                    let isCall = try scanner.significantByte() == UInt8(ascii: "{")
                    let call = try scanner.skip()
                    if isCall { choice.toolCalls = call }
                    continue
                }
            default:
                break
            }
            try scanner.skip()
        }
        choice.delta = ByteRange(start: start, count: scanner.at &- start)
    }

    @inline(__always)
    private mutating func readContent(into choice: inout ChatChunk.Choice) throws(JSONProblem) {
        switch try scanner.significantByte() {
        case UInt8(ascii: "\""):
            choice.content = try scanner.quoted()
        case UInt8(ascii: "["):
            if try !nonEmptyArray().isEmpty { choice.hasParts = true }
        default:
            try scanner.skip()
        }
    }

    @inline(__always)
    private mutating func readFinish(into choice: inout ChatChunk.Choice) throws(JSONProblem) {
        guard try scanner.significantByte() == UInt8(ascii: "\"") else {
            try scanner.skip()
            choice.finish = .none
            return
        }
        choice.finish = Self.finish(bytes(try scanner.quoted()))
    }

    private static func finish(_ word: Span<UInt8>) -> FinishReason {
        switch word.count {
        case 0: .none
        case 4: word.isName("stop") ? .stop : .other
        case 5: word.isName("abort") ? .abort : .other
        case 6: word.isName("length") ? .length : .other
        case 10: word.isName("tool_calls") ? .toolCalls : .other
        case 13: word.isName("function_call") ? .functionCall : .other
        case 14: word.isName("content_filter") ? .contentFilter : .other
        default: .other
        }
    }

    @inline(never)
    private mutating func readUsage(into chunk: inout ChatChunk) throws(JSONProblem) {
        var start = scanner.at
        var (prompt, completion) = (0, 0)
        if scanner.take("{\"prompt_tokens\":", deeper: 1) {
            (prompt, chunk.promptTokens) = try count()
        } else {
            guard try scanner.significantByte() == UInt8(ascii: "{") else {
                chunk.usageValue = try scanner.skip()
                return
            }
            try scanner.openObject()
            start = scanner.at
        }
        if scanner.take(",\"completion_tokens\":") { (completion, chunk.completionTokens) = try count() }
        if scanner.take(",\"total_tokens\":") { (_, chunk.totalTokens) = try count() }
        if scanner.take(",\"completion_tokens\":") { (completion, chunk.completionTokens) = try count() }
        if scanner.take(",\"prompt_tokens_details\":{\"cached_tokens\":", deeper: 1) {
            _ = try count()
            while try scanner.member() != nil { try scanner.skip() }
        }
        while let name = try scanner.member() {
            let key = key(name)
            switch key.count {
            case 12:
                if key.isName("total_tokens") {
                    (_, chunk.totalTokens) = try count()
                    continue
                }
            case 13:
                if key.isName("prompt_tokens") {
                    (prompt, chunk.promptTokens) = try count()
                    continue
                }
            case 17:
                if key.isName("completion_tokens") {
                    (completion, chunk.completionTokens) = try count()
                    continue
                }
            default:
                break
            }
            try scanner.skip()
        }
        chunk.usage = Usage(promptTokens: prompt, completionTokens: completion)
        chunk.usageValue = ByteRange(start: start, count: scanner.at &- start)
    }

    @inline(never)
    private mutating func readError(into chunk: inout ChatChunk) throws(JSONProblem) {
        let isNull = try scanner.significantByte() == UInt8(ascii: "n")
        let value = try scanner.skip()
        if isNull { return }
        chunk.error = value
        chunk.isError = true
    }

    private mutating func readObjectName(into chunk: inout ChatChunk) throws(JSONProblem) {
        guard try scanner.significantByte() == UInt8(ascii: "\"") else {
            try scanner.skip()
            return
        }
        if bytes(try scanner.quoted()).isName("error") { chunk.isError = true }
    }

    // MARK: Values

    /// The bytes of a string that the scanner has just passed.
    @_lifetime(copy self)
    @inline(__always)
    private func bytes(_ string: JSONString) -> Span<UInt8> { text.extracting(unchecked: string.raw.range) }

    /// The bytes to dispatch on: the name as it stands, or, if it is written with escapes, ours that it means.
    @_lifetime(copy self)
    @inline(__always)
    private func key(_ name: JSONString) -> Span<UInt8> {
        name.hasEscapes ? Self.knownName(bytes(name)) : bytes(name)
    }

    @_lifetime(copy raw)
    @inline(never)
    private static func knownName(_ raw: Span<UInt8>) -> Span<UInt8> {
        for known in names where JSONText.equals(raw, known) {
            // The bytes of a static string live as long as the process.
            let span = Span(_unsafeStart: known.utf8Start, count: known.utf8CodeUnitCount)
            return _overrideLifetime(span, copying: raw)
        }
        return raw
    }

    private static let names: [StaticString] = [
        "id", "data", "model", "usage", "error", "object", "created", "choices", "prompt_token_ids", "text", "index",
        "delta", "message", "token_ids", "finish_reason", "role", "content", "refusal", "reasoning",
        "reasoning_content", "tool_calls", "function_call", "total_tokens", "prompt_tokens", "completion_tokens",
    ]

    @inline(__always)
    private mutating func stringOrEmpty() throws(JSONProblem) -> JSONString {
        if try scanner.significantByte() == UInt8(ascii: "\"") { return try scanner.quoted() }
        try scanner.skip()
        return .empty
    }

    private mutating func intOrNil() throws(JSONProblem) -> Int? {
        let small = scanner.smallNumber()
        if small >= 0 { return small }
        if try scanner.kind() == .number { return try scanner.number().int(in: text) }
        try scanner.skip()
        return nil
    }

    /// A number of tokens: never negative, at most 2³¹ − 1, so that sums can't overflow.
    @inline(__always)
    private mutating func count() throws(JSONProblem) -> (Int, ByteRange) {
        let start = scanner.at
        let small = scanner.smallNumber()
        return small >= 0 ? (small, ByteRange(start: start, count: scanner.at &- start)) : try unusualCount()
    }

    @inline(never)
    private mutating func unusualCount() throws(JSONProblem) -> (Int, ByteRange) {
        guard try scanner.kind() == .number else { return (0, try scanner.skip()) }
        let number = try scanner.number()
        return (min(max(0, number.int(in: text) ?? 0), Int(Int32.max)), number.range)
    }

    /// The array that comes next; empty if it has no element or is something else.
    @inline(never)
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
