/// Fills a ``ChatRequest`` in one pass over the body.
struct ChatRequestReader: ~Copyable, ~Escapable {
    let body: Span<UInt8>
    var scanner: JSONScanner
    let request: ChatRequest

    @_lifetime(copy body)
    init(_ body: Span<UInt8>, into request: consuming ChatRequest) {
        self.body = body
        scanner = JSONScanner(body)
        self.request = request
    }

    mutating func read() throws(BodyProblem) {
        guard try firstByte() == UInt8(ascii: "{") else { throw try wholeDocumentProblem() }
        try scan { scanner throws(JSONProblem) in try scanner.openObject() }
        let start = scanner.at
        while true {
            if try readUsualMember() { continue }
            guard let name = try member() else { break }
            guard let member = ChatMember.named(name, in: body) else {
                _ = try skip()
                continue
            }
            let value = try begin(member)
            try readValue(of: member)
            end(member, at: Int(name.quoted.start), value: value)
        }
        request.object = ByteRange(start: start, count: scanner.at &- start)
        try scan { scanner throws(JSONProblem) in try scanner.finish() }
        try checkRequired()
    }

    /// Reads the next member if it is one that most requests have, spelled as programs spell it: it is told without
    /// looking for the end of its name. - Returns: whether it did.
    @inline(__always)
    private mutating func readUsualMember() throws(BodyProblem) -> Bool {
        let start = scanner.nameStart
        if start == 0 { return false }
        if scanner.take("\"model\":", at: start) {
            let value = try begin(.model)
            request.model = try requiredString(.member(.model))
            end(.model, at: start, value: value)
        } else if scanner.take("\"messages\":", at: start) {
            let value = try begin(.messages)
            try readMessages()
            end(.messages, at: start, value: value)
        } else if scanner.take("\"stream\":", at: start) {
            let value = try begin(.stream)
            request.isStream = try optionalBool(.member(.stream)) ?? false
            end(.stream, at: start, value: value)
        } else if scanner.take("\"max_tokens\":", at: start) {
            let value = try begin(.maxTokens)
            request.maxTokens = try optionalInt(.maxTokens, tokensMin...tokensMax)
            end(.maxTokens, at: start, value: value)
        } else if scanner.take("\"temperature\":", at: start) {
            let value = try begin(.temperature)
            try skipNumber()
            end(.temperature, at: start, value: value)
        } else {
            return false
        }
        return true
    }

    /// Notes that `member` occurs, which it may only once. - Returns: where its value begins; `scanner` stands there.
    @inline(__always)
    private mutating func begin(_ member: ChatMember) throws(BodyProblem) -> Int {
        let bit: UInt64 = 1 &<< UInt64(member.rawValue)
        if request.present & bit != 0, member != .grammar { throw .duplicate(.member(member)) }
        request.present |= bit
        _ = try firstByte()
        return scanner.at
    }

    /// Notes where `member` lies: from its name's quote at `start` to where `scanner` stands.
    @inline(__always)
    private func end(_ member: ChatMember, at start: Int, value: Int) {
        request.places[Int(member.rawValue)] = ChatRequest.Place(
            start: Int32(truncatingIfNeeded: start), value: ByteRange(start: value, count: scanner.at &- value))
    }

    /// `scanner` stands on the first byte of the value.
    @inline(never)
    private mutating func readValue(of member: ChatMember) throws(BodyProblem) {
        switch member {
        case .model:
            request.model = try requiredString(.member(.model))
        case .messages:
            try readMessages()
        case .stream:
            request.isStream = try optionalBool(.member(.stream)) ?? false
        case .maxTokens:
            request.maxTokens = try optionalInt(.maxTokens, tokensMin...tokensMax)
        case .temperature, .seed:
            _ = try skip()
        case .streamOptions:
            try readStreamOptions()
        case .maxCompletionTokens:
            request.maxCompletionTokens = try optionalInt(.maxCompletionTokens, 1...tokensMax)
        case .minTokens:
            request.minTokens = try optionalInt(.minTokens, 0...tokensMax) ?? 0
        case .n:
            request.choices = try optionalInt(.n, 1...128) ?? 1
        case .sessionID:
            request.sessionID = try optionalString(.sessionID)
        case .user:
            request.user = try optionalString(.user)
        case .stop:
            try readStops()
        case .store:
            request.stores = try optionalBool(.member(.store))
        case .echo:
            request.echo = try optionalBool(.member(.echo)) ?? false
        case .addGenerationPrompt:
            _ = try optionalBool(.member(.addGenerationPrompt))
        case .continueFinalMessage:
            request.continuesFinalMessage = try optionalBool(.member(.continueFinalMessage)) ?? false
        case .returnTokenIDs:
            request.returnsTokenIDs = try optionalBool(.member(.returnTokenIDs)) ?? false
        case .prompt, .input:
            try readPrompt(member)
        case .responseFormat, .toolChoice, .functionCall, .grammar:
            if try bindsOutput(member) { request.hasGrammar = true }
        case .tools, .functions:
            let kind = try self.kind()
            if try skip().count > 2, kind == .array { request.hasTools = true }
        case .logprobs, .topLogprobs:
            if try asksForSomething() { request.hasLogprobs = true }
        case .presencePenalty, .frequencyPenalty:
            if try isNumber(otherThan: 0) { request.hasPenalties = true }
        case .repetitionPenalty:
            if try isNumber(otherThan: 1) { request.hasPenalties = true }
        }
    }

    private var tokensMin: Int { request.kind == .chat ? 1 : 0 }
    /// 2³¹ − 1: no engine has more, and sums of such numbers can't overflow.
    private var tokensMax: Int { Int(Int32.max) }

    @inline(__always)
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

    @inline(never)
    private mutating func readMessages() throws(BodyProblem) {
        // Other endpoints may carry the member for all we care.
        guard request.kind == .chat else {
            _ = try skip()
            return
        }
        guard byte == UInt8(ascii: "[") else {
            throw .wrongType(.member(.messages), expected: .arrayOfObjects, found: try found())
        }
        try scan { scanner throws(JSONProblem) in try scanner.openArray() }
        while true {
            var start = scanner.elementStart
            let role = usualBeginning(at: start)
            if role == nil {
                guard try element() else { break }
                guard try firstByte() == UInt8(ascii: "{") else {
                    throw .wrongType(.message(request.messages.count), expected: .object, found: try found())
                }
                try scan { scanner throws(JSONProblem) in try scanner.openObject() }
                start = scanner.at
            }
            try readMessage(from: start, role)
        }
        if request.messages.isEmpty { throw .emptyArray(.member(.messages)) }
    }

    /// - Parameters:
    ///   - start: where the message's bracket is.
    ///   - usual: its role, if what is next is the value of its content.
    @inline(__always)
    private mutating func readMessage(from start: Int, _ usual: ChatMessage.Role?) throws(BodyProblem) {
        var role = usual
        var hasContent = usual != nil
        var content = hasContent ? try skip() : .empty
        while let name = try member() {
            if Self.isName(name, "role", in: body) {
                if role != nil { throw .duplicate(.messageRole(request.messages.count)) }
                _ = try firstByte()
                role = Self.role(try requiredString(.messageRole(request.messages.count)), in: body)
            } else if Self.isName(name, "content", in: body) {
                if hasContent { throw .duplicate(.messageContent(request.messages.count)) }
                content = try skip()
                hasContent = true
            } else {
                _ = try skip()
            }
        }
        guard let role else { throw .missing(.messageRole(request.messages.count)) }
        request.messages.append(
            ChatMessage(range: ByteRange(start: start, count: scanner.at &- start), content: content, role: role))
    }

    /// The role, if a message comes next that begins as nearly every one does: with it and then the content, whose
    /// value is next then.
    ///
    /// Compact as JavaScript and newer Python clients write it, and with the spaces of the others.
    @inline(__always)
    private mutating func usualBeginning(at start: Int) -> ChatMessage.Role? {
        if start == 0 { return nil }
        if scanner.take("{\"role\":\"user\",\"content\":", at: start, deeper: 1) { return .user }
        if scanner.take("{\"role\":\"assistant\",\"content\":", at: start, deeper: 1) { return .assistant }
        if scanner.take("{\"role\":\"system\",\"content\":", at: start, deeper: 1) { return .system }
        if scanner.take("{\"role\": \"user\", \"content\":", at: start, deeper: 1) { return .user }
        if scanner.take("{\"role\": \"assistant\", \"content\":", at: start, deeper: 1) { return .assistant }
        if scanner.take("{\"role\": \"system\", \"content\":", at: start, deeper: 1) { return .system }
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

    private mutating func readStreamOptions() throws(BodyProblem) {
        let kind = try self.kind()
        if kind == .null {
            _ = try skip()
            return
        }
        guard kind == .object else {
            throw .wrongType(.member(.streamOptions), expected: .object, found: try found())
        }
        try scan { scanner throws(JSONProblem) in try scanner.openObject() }
        while let name = try member() {
            request.streamOptionsIsEmpty = false
            guard name.equals("include_usage", in: body) else {
                _ = try skip()
                continue
            }
            guard request.includeUsageValue.isEmpty else { throw .duplicate(.includeUsage) }
            _ = try firstByte()
            let start = scanner.at
            request.includesUsage = try optionalBool(.includeUsage) ?? false
            request.includeUsageValue = ByteRange(start: start, count: scanner.at - start)
        }
    }

    private mutating func readStops() throws(BodyProblem) {
        switch try kind() {
        case .null:
            _ = try skip()
        case .string:
            request.someStops = [try string()]
        case .array:
            var stops: [JSONString] = []
            try scan { scanner throws(JSONProblem) in try scanner.openArray() }
            while try element() {
                guard try kind() == .string else {
                    throw .wrongType(.stop(stops.count), expected: .string, found: try found())
                }
                stops.append(try string())
            }
            request.someStops = stops
        default:
            throw .wrongType(.member(.stop), expected: .stringOrStrings, found: try found())
        }
    }

    /// `prompt` and `input`: a string, strings, token ids, or lists of token ids.
    private mutating func readPrompt(_ member: ChatMember) throws(BodyProblem) {
        let isOurs = member == (request.kind == .embedding ? .input : .prompt) && request.kind != .chat
        guard isOurs else {
            _ = try skip()
            return
        }
        switch try kind() {
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
            throw .wrongType(.member(member), expected: .stringOrArray, found: try found())
        }
    }

    /// Whether the member leaves the model no free choice of words. What we don't understand counts as binding.
    private mutating func bindsOutput(_ member: ChatMember) throws(BodyProblem) -> Bool {
        switch try kind() {
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
