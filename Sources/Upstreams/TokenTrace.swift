import Balancing
import Wire

/// The token ids of a prompt and of what was answered to it, as a stream's replica reports them.
///
/// Nothing is kept, and no event costs more, where the replica was not asked for ids or its first event has none.
package struct TokenTrace: Sendable {
    /// How far a replica's ids tell which text they stand for.
    package enum Trust: UInt8, Sendable {
        /// It has none, or they are of no use to this request.
        case none
        /// The ids of an event stand for its text, no more and no less.
        case everyEvent
        /// The same for an event with one id; the last of several may be the beginning of a character yet to come.
        case singleID
    }

    /// Ids kept of one answer, its prompt included; beyond, it can't be resumed from ids.
    static let idsMax = 1 << 18

    private(set) var trust = Trust.none
    private(set) var ids: ContiguousArray<Int32> = []
    private var hasPrompt = false
    /// How many ids, the prompt's included, came up to the last text.
    private(set) var idsAtText = 0
    /// The ids at the last text stand for exactly the text that was sent.
    private(set) var isExact = false
    /// Tokens of the client's own prompt, once a replica has told.
    var promptTokens: Int?

    /// Ids are being collected.
    var isTracing: Bool { trust != .none }
    /// Completion tokens up to the last text.
    var tokensOfText: Int? { hasPrompt ? promptTokens.map { idsAtText - $0 } : nil }
    /// Completion tokens, with those that had no text.
    var tokens: Int? { hasPrompt ? promptTokens.map { ids.count - $0 } : nil }

    /// A stream begins that answers from the start.
    mutating func begin(_ trust: Trust) {
        self = TokenTrace()
        self.trust = trust
    }

    /// A stream begins that continues from the ids at the last text.
    mutating func goOn(_ trust: Trust) {
        ids.removeSubrange(idsAtText...)
        self.trust = trust
    }

    /// A stream begins that continues by other means; its prompt holds what was sent.
    mutating func beginAnew(_ trust: Trust) {
        let prompt = promptTokens
        begin(trust)
        promptTokens = prompt
    }

    /// Takes a chunk's ids. - Returns: how many of them are the answer's.
    mutating func take(_ chunk: ChatChunk, _ data: Span<UInt8>) -> Int {
        if !hasPrompt {
            let prompt = chunk.promptTokenIDs.isEmpty ? chunk.choice.promptTokenIDs : chunk.promptTokenIDs
            // Engines tell the prompt's ids in the first event, or never.
            guard !prompt.isEmpty, let count = append(data.extracting(prompt)) else { return giveUp() }
            hasPrompt = true
            idsAtText = count
            if promptTokens == nil { promptTokens = count }
        }
        if chunk.choice.tokenIDs.isEmpty { return 0 }
        return append(data.extracting(chunk.choice.tokenIDs)) ?? giveUp()
    }

    /// The text that came with `count` ids was sent.
    mutating func noteText(ids count: Int) {
        idsAtText = ids.count
        isExact = count == 1 || trust == .everyEvent && count > 0
        // Text that no id stands for: from here on, no ids ever will be all of it.
        if count == 0, trust == .everyEvent { _ = giveUp() }
    }

    private mutating func append(_ array: Span<UInt8>) -> Int? {
        TokenIDs.append(array, to: &ids, max: Self.idsMax)
    }

    private mutating func giveUp() -> Int {
        let prompt = promptTokens
        self = TokenTrace()
        promptTokens = prompt
        return 0
    }
}
