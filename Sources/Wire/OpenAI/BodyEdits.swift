/// What the gateway changes in a request body before a replica gets it. All other bytes stay as the client sent them.
package struct BodyEdits: Sendable {
    package enum Messages: Equatable, Sendable {
        case keep
        /// JSON objects with commas between them, put before the client's messages.
        case prepend([UInt8])
        /// JSON objects with commas between them, instead of the client's messages.
        case replace([UInt8])
    }

    /// The replica's name of the model: a JSON string with its quotes (``quoted(_:)``).
    package var model: [UInt8]?
    /// Sets `stream_options.include_usage` to true. Does nothing unless the request streams.
    package var forcesUsage = false
    package var messages = Messages.keep
    package var removesSessionID = false
    /// Sets whichever of `max_completion_tokens` and `max_tokens` is in force.
    package var maxTokens: Int?
    /// `max_tokens: null`, where the client gave no limit: as many as there is room for, also for a plain completion,
    /// whose default is 16.
    package var liftsMaxTokens = false
    /// Text of the answer so far, escaped but without quotes: becomes a partial assistant message that the replica is
    /// asked to continue. If the client itself asked to continue its last message, that message gets longer; so does
    /// the prompt of a plain completion, if it is one string.
    package var continuation: [UInt8]?
    /// A last message of the assistant gets longer also where nobody asked to continue it: the replica does so unasked.
    package var extendsLastMessage = false
    /// Adds `seed`, unless the client gave one.
    package var seed: Int?
    package var returnsTokenIDs = false
    /// Replaces or adds `prompt`, a complete JSON value.
    package var prompt: [UInt8]?
    /// Members to leave out besides; the model and grammars stay.
    package var removed: ChatMemberSet = []

    package init() {}

    /// A JSON string with its quotes, as ``model`` wants it.
    package static func quoted(_ text: String) -> [UInt8] {
        var writer = ByteWriter(capacity: text.utf8.count + 2)
        writer.append(jsonString: text)
        return writer.withUnsafeBytes { Array($0) }
    }

    /// What is to be sent instead of `body`. New bytes are appended to `added`, which the pieces refer to.
    ///
    /// - Precondition: `request` was read from `body`.
    /// - Cost: O(changes): the body is not copied.
    package func splice(
        _ body: Span<UInt8>, of request: ChatRequest, added: inout ByteWriter
    ) -> SplicedBody {
        if isNothing(for: request) { return SplicedBody(sourceCount: body.count) }
        var removed = removed
        if removesSessionID { removed.insert(.sessionID) }
        var work = EditWork(body: body, removed: removed)
        if let model { work.set(.model, to: model, request, &added) }
        if forcesUsage, request.isStream { work.forceUsage(request, &added) }
        work.editMessages(self, request, &added)
        if let continuation { work.lengthenPrompt(continuation, request, &added) }
        if continuation != nil, request.kind == .chat {
            work.set(.continueFinalMessage, to: Self.yes, request, &added)
            work.set(.addGenerationPrompt, to: Self.no, request, &added)
        }
        if let maxTokens { work.setMaxTokens(maxTokens, request, &added) }
        if liftsMaxTokens { work.set(.maxTokens, to: Array("null".utf8), request, &added) }
        if let seed { work.setSeed(seed, request, &added) }
        if let prompt { work.set(.prompt, to: prompt, request, &added) }
        if returnsTokenIDs { work.set(.returnTokenIDs, to: Self.yes, request, &added) }
        work.removeMembers(request, added)
        work.addMissing(request, &added)
        return work.result
    }

    /// Most requests go on as they came.
    private func isNothing(for request: ChatRequest) -> Bool {
        model == nil && !(forcesUsage && request.isStream) && messages == .keep && !removesSessionID && maxTokens == nil
            && continuation == nil && !returnsTokenIDs && prompt == nil && removed.isEmpty
    }

    /// Appends the edited body to `writer`.
    package func write(_ body: Span<UInt8>, of request: ChatRequest, into writer: inout ByteWriter) {
        var added = ByteWriter()
        let spliced = splice(body, of: request, added: &added)
        spliced.write(body, added: added.bytes, into: &writer)
    }

    private static let yes: [UInt8] = Array("true".utf8)
    private static let no: [UInt8] = Array("false".utf8)
}

/// A set of body members.
package struct ChatMemberSet: ExpressibleByArrayLiteral, Equatable, Sendable {
    private var bits: UInt64 = 0

    package init(arrayLiteral members: ChatMember...) {
        for member in members { insert(member) }
    }
    package mutating func insert(_ member: ChatMember) { bits |= 1 << UInt64(member.rawValue) }
    package func contains(_ member: ChatMember) -> Bool { bits & 1 << UInt64(member.rawValue) != 0 }
    package var isEmpty: Bool { bits == 0 }
}
