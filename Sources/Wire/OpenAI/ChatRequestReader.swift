/// Fills a ``ChatRequest`` in one pass over the body.
struct ChatRequestReader: ~Escapable {
    let body: Span<UInt8>
    var scanner: JSONScanner
    var request: ChatRequest

    @_lifetime(copy body)
    init(_ body: Span<UInt8>, kind: ChatRequest.Kind) {
        self.body = body
        scanner = JSONScanner(body)
        request = ChatRequest(kind: kind)
    }

    mutating func read() throws(BodyProblem) {
        guard try kind() == .object else { throw try wholeDocumentProblem() }
        let start = scanner.at
        try scan { scanner throws(JSONProblem) in try scanner.openObject() }
        while let name = try member() {
            let known =
                name.hasEscapes
                ? ChatMember.named(name, in: body) : ChatMember.named(body.extracting(unchecked: name.raw.range))
            guard let member = known else {
                _ = try skip()
                continue
            }
            let bit: UInt64 = 1 << UInt64(member.rawValue)
            if request.present & bit != 0, member != .grammar { throw .duplicate(.member(member)) }
            request.present |= bit
            let kind = try kind()
            let valueStart = scanner.at
            try read(member, kind)
            request.places[Int(member.rawValue)] = ChatRequest.Place(
                name: name.quoted, value: ByteRange(start: valueStart, count: scanner.at - valueStart))
        }
        request.object = ByteRange(start: start, count: scanner.at - start)
        try scan { scanner throws(JSONProblem) in try scanner.finish() }
        try checkRequired()
    }

    private mutating func read(_ member: ChatMember, _ kind: JSONKind) throws(BodyProblem) {
        switch member {
        case .model:
            request.model = try requiredString(kind, .member(.model))
        case .messages:
            try readMessages(kind)
        case .stream:
            request.isStream = try optionalBool(kind, .stream) ?? false
        case .streamOptions:
            try readStreamOptions(kind)
        case .maxTokens:
            request.maxTokens = try optionalInt(kind, .maxTokens, request.kind == .chat ? 1...tokensMax : 0...tokensMax)
        case .maxCompletionTokens:
            request.maxCompletionTokens = try optionalInt(kind, .maxCompletionTokens, 1...tokensMax)
        case .minTokens:
            request.minTokens = try optionalInt(kind, .minTokens, 0...tokensMax) ?? 0
        case .n:
            request.choices = try optionalInt(kind, .n, 1...128) ?? 1
        case .sessionID:
            request.sessionID = try optionalString(kind, .sessionID)
        case .user:
            request.user = try optionalString(kind, .user)
        case .stop:
            try readStops(kind)
        case .store:
            request.stores = try optionalBool(kind, .store)
        case .echo:
            request.echo = try optionalBool(kind, .echo) ?? false
        case .addGenerationPrompt:
            _ = try optionalBool(kind, .addGenerationPrompt)
        case .continueFinalMessage:
            request.continuesFinalMessage = try optionalBool(kind, .continueFinalMessage) ?? false
        case .returnTokenIDs:
            request.returnsTokenIDs = try optionalBool(kind, .returnTokenIDs) ?? false
        case .prompt, .input:
            try readPrompt(kind, member)
        case .responseFormat, .toolChoice, .functionCall, .grammar:
            if try bindsOutput(member, kind) { request.hasGrammar = true }
        case .tools, .functions:
            if try skip().count > 2, kind == .array { request.hasTools = true }
        case .logprobs, .topLogprobs:
            if try asksForSomething(kind) { request.hasLogprobs = true }
        case .presencePenalty, .frequencyPenalty:
            if try isNumber(kind, otherThan: 0) { request.hasPenalties = true }
        case .repetitionPenalty:
            if try isNumber(kind, otherThan: 1) { request.hasPenalties = true }
        case .seed, .temperature:
            _ = try skip()
        }
    }

    /// 2³¹ − 1: no engine has more, and sums of such numbers can't overflow.
    private var tokensMax: Int { Int(Int32.max) }

    private func checkRequired() throws(BodyProblem) {
        guard request.has(.model) else { throw .missing(.member(.model)) }
        switch request.kind {
        case .chat: guard request.has(.messages) else { throw .missing(.member(.messages)) }
        case .completion: break
        case .embedding: guard request.promptKind != .none else { throw .missing(.member(.input)) }
        }
    }

    /// The body is no object: is it JSON at all?
    private mutating func wholeDocumentProblem() throws(BodyProblem) -> BodyProblem {
        _ = try skip()
        try scan { scanner throws(JSONProblem) in try scanner.finish() }
        return .notAnObject
    }

    // MARK: Members with structure

    private mutating func readMessages(_ kind: JSONKind) throws(BodyProblem) {
        // Other endpoints may carry the member for all we care.
        guard request.kind == .chat else {
            _ = try skip()
            return
        }
        let place = BodyPlace.member(.messages)
        guard kind == .array else {
            throw .wrongType(place, expected: .arrayOfObjects, found: try found(kind))
        }
        try scan { scanner throws(JSONProblem) in try scanner.openArray() }
        while try element() {
            let kind = try self.kind()
            let index = request.messages.count
            guard kind == .object else {
                throw .wrongType(.message(index), expected: .object, found: try found(kind))
            }
            request.messages.append(try readMessage(index))
        }
        if request.messages.isEmpty { throw .emptyArray(place) }
    }

    private mutating func readMessage(_ index: Int) throws(BodyProblem) -> ChatMessage {
        let start = scanner.at
        var role: ChatMessage.Role?
        var content: ByteRange?
        try scan { scanner throws(JSONProblem) in try scanner.openObject() }
        if let usual = usualBeginning() {
            role = usual
            content = try skip()
        }
        while let name = try member() {
            if Self.isName(name, "role", in: body) {
                if role != nil { throw .duplicate(.messageRole(index)) }
                role = Self.role(try requiredString(try kind(), .messageRole(index)), in: body)
            } else if Self.isName(name, "content", in: body) {
                if content != nil { throw .duplicate(.messageContent(index)) }
                content = try skip()
            } else {
                _ = try skip()
            }
        }
        guard let role else { throw .missing(.messageRole(index)) }
        return ChatMessage(
            range: ByteRange(start: start, count: scanner.at - start), content: content ?? .empty, role: role)
    }

    /// The role, if the message begins as nearly every one does: with it and then the content, whose value is next.
    ///
    /// Compact as JavaScript and newer Python clients write it, and with the spaces of the others.
    @inline(__always)
    private mutating func usualBeginning() -> ChatMessage.Role? {
        if scanner.take("\"role\":\"user\",\"content\":") { return .user }
        if scanner.take("\"role\":\"assistant\",\"content\":") { return .assistant }
        if scanner.take("\"role\":\"system\",\"content\":") { return .system }
        if scanner.take("\"role\": \"user\", \"content\":") { return .user }
        if scanner.take("\"role\": \"assistant\", \"content\":") { return .assistant }
        if scanner.take("\"role\": \"system\", \"content\":") { return .system }
        return nil
    }

    /// Whether the string that the scanner has just passed means `text`.
    @inline(__always)
    private static func isName(_ name: JSONString, _ text: StaticString, in body: Span<UInt8>) -> Bool {
        let bytes = body.extracting(unchecked: name.raw.range)
        return name.hasEscapes ? JSONText.equals(bytes, text) : bytes.isName(text)
    }

    private static func role(_ name: JSONString, in body: Span<UInt8>) -> ChatMessage.Role {
        if isName(name, "user", in: body) { return .user }
        if isName(name, "assistant", in: body) { return .assistant }
        if isName(name, "system", in: body) { return .system }
        if isName(name, "tool", in: body) { return .tool }
        if isName(name, "developer", in: body) { return .developer }
        if isName(name, "function", in: body) { return .function }
        return .other
    }

    private mutating func readStreamOptions(_ kind: JSONKind) throws(BodyProblem) {
        if kind == .null {
            _ = try skip()
            return
        }
        guard kind == .object else {
            throw .wrongType(.member(.streamOptions), expected: .object, found: try found(kind))
        }
        try scan { scanner throws(JSONProblem) in try scanner.openObject() }
        while let name = try member() {
            request.streamOptionsIsEmpty = false
            guard name.equals("include_usage", in: body) else {
                _ = try skip()
                continue
            }
            guard request.includeUsageValue.isEmpty else { throw .duplicate(.includeUsage) }
            let kind = try self.kind()
            let start = scanner.at
            request.includesUsage = try optionalBool(kind, at: .includeUsage) ?? false
            request.includeUsageValue = ByteRange(start: start, count: scanner.at - start)
        }
    }

    private mutating func readStops(_ kind: JSONKind) throws(BodyProblem) {
        switch kind {
        case .null:
            _ = try skip()
        case .string:
            request.stops.append(try string())
        case .array:
            try scan { scanner throws(JSONProblem) in try scanner.openArray() }
            while try element() {
                let kind = try self.kind()
                guard kind == .string else {
                    throw .wrongType(.stop(request.stops.count), expected: .string, found: try found(kind))
                }
                request.stops.append(try string())
            }
        default:
            throw .wrongType(.member(.stop), expected: .stringOrStrings, found: try found(kind))
        }
    }

    /// `prompt` and `input`: a string, strings, token ids, or lists of token ids.
    private mutating func readPrompt(_ kind: JSONKind, _ member: ChatMember) throws(BodyProblem) {
        let isOurs = member == (request.kind == .embedding ? .input : .prompt) && request.kind != .chat
        guard isOurs else {
            _ = try skip()
            return
        }
        switch kind {
        case .string:
            _ = try string()
            request.promptKind = .text
            request.promptCount = 1
        case .null:
            _ = try skip()
        case .array:
            try scan { scanner throws(JSONProblem) in try scanner.openArray() }
            while try element() {
                let kind: ChatRequest.PromptKind =
                    switch try self.kind() {
                    case .string: .texts
                    case .number: .tokens
                    case .array: .tokenLists
                    default: .other
                    }
                request.promptKind = request.promptKind == .none || request.promptKind == kind ? kind : .other
                request.promptCount += 1
                _ = try skip()
            }
            if request.promptCount == 0 { throw .emptyArray(.member(member)) }
        default:
            throw .wrongType(.member(member), expected: .stringOrArray, found: try found(kind))
        }
    }

    /// Whether the member leaves the model no free choice of words. What we don't understand counts as binding.
    private mutating func bindsOutput(_ member: ChatMember, _ kind: JSONKind) throws(BodyProblem) -> Bool {
        switch kind {
        case .null:
            _ = try skip()
            return false
        case .string where member == .toolChoice || member == .functionCall:
            let choice = try string()
            return !choice.equals("auto", in: body) && !choice.equals("none", in: body)
        case .object where member == .responseFormat:
            var isText = false
            try scan { scanner throws(JSONProblem) in try scanner.openObject() }
            while let name = try self.member() {
                if name.equals("type", in: body), try self.kind() == .string {
                    isText = try string().equals("text", in: body)
                } else {
                    _ = try skip()
                }
            }
            return !isText
        default:
            _ = try skip()
            return true
        }
    }
}
