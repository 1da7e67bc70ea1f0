/// What the gateway knows of a request body: where the members lie that it reads or edits, and what they say.
///
/// All ranges are into the body that was read. `null` counts as absent, except that an edit must overwrite it.
/// A class, because it is large and every stage hands it on.
/// - Cost: one pass over the body; one allocation, more only for more than eight messages and for stop strings. None
///   but those where it is read into an old one: to make and free one costs as much as to read a short message.
/// - Isolation: whoever read it; it does not change after that.
package final class ChatRequest {
    package enum Kind: UInt8, Equatable, Sendable {
        /// `/v1/chat/completions`
        case chat
        /// `/v1/completions`
        case completion
        /// `/v1/embeddings`
        case embedding
    }

    /// Where a member lies.
    package struct Place: Equatable, Sendable {
        /// Where the name begins, with its quote.
        package var start: Int32
        package var value: ByteRange
    }

    package private(set) var kind: Kind
    /// The document's outermost object, brackets included.
    package internal(set) var object = ByteRange.empty
    var places = InlineArray<31, Place>(repeating: Place(start: 0, value: .empty))
    /// One bit per ``ChatMember`` that occurs.
    var present: UInt64 = 0

    package internal(set) var model = JSONString.empty
    package internal(set) var messages = MessageList()
    package internal(set) var sessionID: JSONString?
    package internal(set) var user: JSONString?
    package internal(set) var isStream = false
    package internal(set) var maxTokens: Int?
    package internal(set) var maxCompletionTokens: Int?
    package internal(set) var minTokens = 0
    /// `n`: how many answers are asked for.
    package internal(set) var choices = 1
    package internal(set) var stores: Bool?
    package internal(set) var echo = false
    package internal(set) var continuesFinalMessage = false
    package internal(set) var returnsTokenIDs = false
    /// Raw, without quotes.
    package var stops: [JSONString] { someStops ?? [] }
    /// `nil` costs less to make and to destroy than an empty array.
    var someStops: [JSONString]?
    /// `stream_options.include_usage` as the client set it.
    package internal(set) var includesUsage = false
    /// The value of `include_usage`, if the member is there at all.
    var includeUsageValue = ByteRange.empty
    var streamOptionsIsEmpty = true
    /// What `prompt` or `input` holds.
    package internal(set) var promptKind = PromptKind.none
    /// Elements of an array in `prompt` or `input`; 1 for a string.
    package internal(set) var promptCount = 0

    /// A response format other than text, a grammar, or a tool that must be called.
    package internal(set) var hasGrammar = false
    /// A presence, frequency or repetition penalty that does something.
    package internal(set) var hasPenalties = false
    package internal(set) var hasLogprobs = false
    package internal(set) var hasTools = false

    package enum PromptKind: UInt8, Equatable, Sendable {
        case none, text, texts, tokens, tokenLists, other
    }

    init(kind: Kind) { self.kind = kind }

    /// Makes an old one new. What lies in `places` and in the list of messages stays, and is not looked at.
    private func clear(for kind: Kind) {
        self.kind = kind
        object = .empty
        present = 0
        model = .empty
        messages.removeAll()
        sessionID = nil
        user = nil
        isStream = false
        maxTokens = nil
        maxCompletionTokens = nil
        minTokens = 0
        choices = 1
        stores = nil
        echo = false
        continuesFinalMessage = false
        returnsTokenIDs = false
        if someStops != nil { someStops = nil }
        includesUsage = false
        includeUsageValue = .empty
        streamOptionsIsEmpty = true
        promptKind = .none
        promptCount = 0
        hasGrammar = false
        hasPenalties = false
        hasLogprobs = false
        hasTools = false
    }

    /// The limit in force on the answer's tokens; `max_completion_tokens` is the newer name and goes first.
    package var maxTokensInForce: Int? { maxCompletionTokens ?? maxTokens }

    /// The public model name that is asked for. Allocates when it is longer than fifteen bytes.
    package func modelName(in body: Span<UInt8>) -> String { model.text(in: body) }

    package func has(_ member: ChatMember) -> Bool { present & 1 << UInt64(member.rawValue) != 0 }

    /// Where `member` lies, also when its value is null; `nil` when it does not occur. For ``ChatMember/grammar`` the
    /// last one of them.
    package func place(of member: ChatMember) -> Place? {
        has(member) ? places[Int(member.rawValue)] : nil
    }

    /// Reads and checks a whole body.
    ///
    /// - Throws: ``BodyProblem``; its ``BodyProblem/error`` is a 400.
    package static func read(_ body: Span<UInt8>, kind: Kind) throws(BodyProblem) -> ChatRequest {
        var none: ChatRequest?
        return try read(body, kind: kind, into: &none)
    }

    /// The same, into `old`, a request that is over, if nobody else holds it.
    package static func read(
        _ body: Span<UInt8>, kind: Kind, into old: inout ChatRequest?
    ) throws(BodyProblem) -> ChatRequest {
        let request: ChatRequest
        if isKnownUniquelyReferenced(&old), let unused = old.take() {
            request = unused
            request.clear(for: kind)
        } else {
            request = ChatRequest(kind: kind)
        }
        var reader = ChatRequestReader(body, into: request)
        try reader.read()
        return request
    }
}

/// One element of `messages`.
package struct ChatMessage: Equatable, Sendable {
    package enum Role: UInt8, Equatable, Sendable {
        case other, system, developer, user, assistant, tool, function
    }

    /// The whole object.
    package var range: ByteRange
    /// The value of `content`, with its quotes or brackets; empty when there is none.
    package var content: ByteRange
    package var role: Role
}

/// The messages in order: eight without allocating, the others in one array.
package struct MessageList: Sendable {
    package private(set) var count = 0
    private var first = InlineArray<8, ChatMessage>(
        repeating: ChatMessage(range: .empty, content: .empty, role: .other))
    /// Bounded by the body's length.
    private var more: ContiguousArray<ChatMessage>?

    package var isEmpty: Bool { count == 0 }
    package var last: ChatMessage? { count > 0 ? self[count - 1] : nil }

    package subscript(index: Int) -> ChatMessage {
        precondition(index < count)
        return index < 8 ? first[index] : more![index - 8]
    }

    @inline(__always)
    mutating func append(_ message: ChatMessage) {
        if count < 8 { first[count] = message } else { more = Self.appending(message, to: more.take() ?? []) }
        count &+= 1
    }

    mutating func removeAll() {
        count = 0
        if more != nil { more = nil }
    }

    private static func appending(
        _ message: ChatMessage, to list: consuming ContiguousArray<ChatMessage>
    ) -> ContiguousArray<ChatMessage> {
        list.append(message)
        return list
    }
}
