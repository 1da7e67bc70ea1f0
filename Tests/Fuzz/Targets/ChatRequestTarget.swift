import TestSupport
import Wire

/// A body says the same however it is spelled and whatever was read before. One that is accepted is JSON; edited, it is
/// the document that the same edits of its tree make.
func checkChatRequest(_ bytes: [UInt8]) throws(BrokenProperty) {
    // What the request before leaves behind: one of each half of the body.
    var old = bytes.halves.compactMap { try? ChatRequest.read($0.span, kind: .chat) }.first
    let spellings = bytes.spellings
    for kind in [ChatRequest.Kind.chat, .completion, .embedding] {
        let said = sayings(of: bytes, kind)
        for spelling in spellings {
            let other = sayings(of: spelling, kind, into: &old)
            try hold(other == said, "spelled as \(spelling.text) it says \(other), else \(said)")
        }
        let request: ChatRequest
        do throws(BodyProblem) {
            request = try ChatRequest.read(bytes.span, kind: kind)
        } catch {
            continue
        }
        try hold((try? JSONScanner.check(bytes.span)) != nil, "accepted, although it is not JSON")
        var generator = bytes.generator
        for _ in 0..<4 {
            let edits = BodyEdits(random: &generator, for: request)
            let edited = [UInt8].written { edits.write(bytes.span, of: request, into: &$0) }
            try hold((try? JSONScanner.check(edited.span)) != nil, "edited it is not JSON: \(edited.text) by \(edits)")
            var added = ByteWriter()
            let spliced = edits.splice(bytes.span, of: request, added: &added)
            try hold(spliced.length == edited.count, "the length is \(spliced.length), not \(edited.count)")
            // Numbers beyond a Double pass through unread, but have no tree.
            guard let before = try? JSONValue.read(bytes.span), let after = try? JSONValue.read(edited.span) else {
                continue
            }
            let expected = edits.applied(to: before, request, bytes)
            try hold(
                expected.sorted == after.sorted,
                "edited it is \(edited.text), should be \([UInt8].written { $0.append(json: expected) }.text)")
            try hold((try? ChatRequest.read(edited.span, kind: kind)) != nil, "edited it is refused: \(edited.text)")
        }
    }
}

private let insertedMessages = Array(#"{"role":"system","content":"s"},{"role":"user","content":"u"}"#.utf8)
private let insertedTree: [JSONValue] = [
    .object([.init(name: "role", value: .string("system")), .init(name: "content", value: .string("s"))]),
    .object([.init(name: "role", value: .string("user")), .init(name: "content", value: .string("u"))]),
]
private let continuationRaw = Array(#"so \u00e4 \"far\""#.utf8)
private let continuationText = "so ä \"far\""

extension BodyEdits {
    /// Edits as the gateway makes them of such a request.
    fileprivate init(random generator: inout SplitMix64, for request: ChatRequest) {
        self.init()
        func coin() -> Bool { generator.below(2) == 0 }
        if coin() { model = BodyEdits.quoted("the \"model\"") }
        forcesUsage = coin()
        removesSessionID = coin()
        if coin() { maxTokens = generator.below(1_000) + 1 }
        if request.kind == .chat {
            switch generator.below(3) {
            case 0: messages = .prepend(insertedMessages)
            case 1: messages = .replace(insertedMessages)
            default: break
            }
        }
        switch generator.below(4) {
        case 0 where request.kind != .embedding: continuation = continuationRaw
        case 1 where request.kind == .completion: prompt = Array("[1,2,3]".utf8)
        default: break
        }
        returnsTokenIDs = coin()
        for member in [ChatMember.store, .n, .stop, .user, .tools, .temperature, .seed] where generator.below(4) == 0 {
            removed.insert(member)
        }
    }

    /// The same on a tree, member by member.
    fileprivate func applied(to document: JSONValue, _ request: ChatRequest, _ bytes: [UInt8]) -> JSONValue {
        var members = document.object ?? []
        func set(_ name: String, _ value: JSONValue) {
            if let index = members.firstIndex(where: { $0.name == name }) {
                members[index].value = value
            } else {
                members.append(.init(name: name, value: value))
            }
        }
        if model != nil { set("model", .string("the \"model\"")) }
        if forcesUsage, request.isStream {
            var options = document["stream_options"]?.object ?? []
            options.removeAll { $0.name == "include_usage" }
            set("stream_options", .object(options + [.init(name: "include_usage", value: .bool(true))]))
        }
        if request.kind == .chat { set("messages", .array(editedMessages(document, request))) }
        if continuation != nil, request.promptKind == .text, let prompt = document["prompt"]?.string {
            set("prompt", .string(prompt + continuationText))
        }
        if continuation != nil, request.kind == .chat {
            set("continue_final_message", .bool(true))
            set("add_generation_prompt", .bool(false))
        }
        if let maxTokens {
            if request.maxCompletionTokens != nil { set("max_completion_tokens", .integer(maxTokens)) }
            if request.maxTokens != nil || request.maxCompletionTokens == nil {
                set("max_tokens", .integer(maxTokens))
            }
        }
        if prompt != nil { set("prompt", .array([.integer(1), .integer(2), .integer(3)])) }
        if returnsTokenIDs { set("return_token_ids", .bool(true)) }
        if removesSessionID { members.removeAll { $0.name == "session_id" } }
        members.removeAll { member in
            ChatMember.allCases.contains { removed.contains($0) && "\($0.name)" == member.name }
        }
        return .object(members)
    }

    private func editedMessages(_ document: JSONValue, _ request: ChatRequest) -> [JSONValue] {
        var list = document["messages"]?.array ?? []
        var isReplaced = false
        switch messages {
        case .keep: break
        case .prepend: list = insertedTree + list
        case .replace:
            list = insertedTree
            isReplaced = true
        }
        guard continuation != nil else { return list }
        if !isReplaced, request.continuesFinalMessage, case .object(var last)? = list.last,
            last.first(where: { $0.name == "role" })?.value == .string("assistant"),
            let index = last.firstIndex(where: { $0.name == "content" }), let text = last[index].value.string
        {
            last[index].value = .string(text + continuationText)
            return list.dropLast() + [.object(last)]
        }
        return list + [
            .object([
                .init(name: "role", value: .string("assistant")),
                .init(name: "content", value: .string(continuationText)),
            ])
        ]
    }
}

extension JSONValue {
    /// The same with the members of the outermost object and of `stream_options` in the order of their names: where an
    /// edit puts a new member is its own affair.
    fileprivate var sorted: JSONValue {
        guard case .object(var members) = self else { return self }
        for index in members.indices where members[index].name == "stream_options" {
            guard case .object(let options) = members[index].value else { continue }
            members[index].value = .object(Self.inOrder(options))
        }
        return .object(Self.inOrder(members))
    }

    private static func inOrder(_ members: [Member]) -> [Member] {
        members.enumerated().sorted { ($0.element.name, $0.offset) < ($1.element.name, $1.offset) }.map(\.element)
    }
}
