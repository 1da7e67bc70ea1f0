import Balancing
import GatewayCore
import Wire

/// How a stream ended, as far as its bytes tell.
package enum StreamEnd: Equatable, Sendable {
    /// A finish reason for every choice was seen, and the end, or nothing that could follow it matters.
    case complete
    case failed(UpstreamFailure)
    /// A continuation that does not continue what the client has.
    case diverged
}

/// One streamed answer as its client sees it, over all replicas that tell it: events in, bytes for the client out.
///
/// Whole events only: what a replica sends in part is kept by the caller until the rest is there, so a stream that
/// breaks can be continued without a seam. The first send's events pass as they are. A continuation's events are
/// rewritten into the same stream: one identity, one role, and no text that the client has already.
///
/// Pure: no clock, no I/O.
/// - Owns: events before the first content, the text that was sent and its token ids, each bounded.
package struct AnswerStream: ~Copyable {
    /// What of a request decides how its stream is passed on.
    package struct Request: Sendable {
        package var kind = ChatRequest.Kind.chat
        /// The client asked for the usage.
        package var includesUsage = false
        package var choices = 1
        /// The client asked for token ids.
        package var showsTokenIDs = false
        /// The answer's text is kept: to resume the stream, or for a session.
        package var keepsText = true
        /// What the client calls the model, quoted, if the replica calls it otherwise.
        package var model: [UInt8]?

        package init() {}
    }

    /// Bytes that one event may have, and all events before the first content together.
    package static let eventBytesMax = 1 << 20
    /// Kept of an error inside the stream.
    static let errorBytesMax = 64 << 10
    /// Text kept of one answer, for its session and to resume it; beyond, neither is possible.
    static let textBytesMax = 4 << 20

    var request = Request()
    /// A stream was read since the last ``reset(_:)``: there is something to forget.
    package private(set) var isUsed = false
    /// The error event that the stream ended with; empty if it did not.
    package internal(set) var inBandError: [UInt8] = []
    package internal(set) var end: StreamEnd?
    /// Events that said something arrived since this was last set to false.
    package var sawEvent = false

    // The stream that is being read.
    var scanner = SSEScanner(limit: 0)
    /// One bit for each choice that has finished.
    var finished: UInt128 = 0
    /// Events before the first content: a role delta mostly.
    var held = ByteWriter()
    /// How this stream continues what others began; `nil` for the first one, or none.
    package internal(set) var way: ResumeWay?
    /// Asked only for its usage: the answer itself is finished.
    var isCounting = false
    var rewrite: ChatRewrite?
    /// Nothing is rewritten in an event without ids.
    var hidesOnlyIDs = false
    var trace = TokenTrace()
    var seam = Seam()

    // What the client has, over all replicas.
    package internal(set) var hasContent = false
    var hasRole = false
    /// The answer's text, escaped, without quotes.
    package internal(set) var text = ByteWriter()
    package internal(set) var isTextWhole = true
    /// Deltas with content that were passed on: an estimate of the tokens where the replica does not say.
    package internal(set) var deltas = 0
    /// Something was sent that is no plain text: tool calls, reasoning, a refusal, parts.
    package internal(set) var hasToolsOrReasoning = false
    package internal(set) var usage: Usage?
    package internal(set) var isUsageSent = false
    /// The last stream did not end of its own will.
    var brokeOff = false
    /// A usage was asked for on its own; it is not asked for twice.
    package var wasCounted = false
    /// The identity of the stream that the client sees: `id`, `created`, `model` of its first chunk with content.
    var identity = ByteWriter()
    var identityRanges: (id: ByteRange, created: ByteRange, model: ByteRange) = (.empty, .empty, .empty)
    package internal(set) var finish = FinishReason.none
    /// A finish reason that no replica gave and that stands before the end.
    package var owedFinish: FinishReason? { didSet { finish = owedFinish ?? .none } }

    package init() {}

    /// Ready for another answer. Gives all memory back.
    package mutating func reset(_ request: Request = Request()) {
        self.request = request
        isTextWhole = request.keepsText
        guard isUsed else { return }
        isUsed = false
        end = nil
        hasContent = false
        hasRole = false
        held.release()
        text.release()
        identity.release()
        deltas = 0
        hasToolsOrReasoning = false
        usage = nil
        isUsageSent = false
        wasCounted = false
        brokeOff = false
        isCounting = false
        way = nil
        rewrite = nil
        trace = TokenTrace()
        seam = Seam()
        owedFinish = nil
    }

    /// Begins to read one replica's stream.
    ///
    /// - Parameters:
    ///   - way: how it continues what the client has; `nil` for the first one, and for every one before content.
    ///   - ids: how far its token ids may be believed, if it was asked for them.
    package mutating func open(_ way: ResumeWay?, ids: TokenTrace.Trust = .none) {
        isUsed = true
        end = nil
        inBandError = []
        scanner = SSEScanner(limit: Self.eventBytesMax)
        held.removeAll()
        self.way = way
        isCounting = false
        finished = 0
        finish = .none
        brokeOff = false
        guard let way else { return openFirst(ids) }
        openContinuation(way, ids)
    }

    /// Begins to read a stream that is asked for its usage only.
    package mutating func openToCount() {
        isUsed = true
        end = nil
        scanner = SSEScanner(limit: Self.eventBytesMax)
        isCounting = true
        wasCounted = true
    }

    private mutating func openFirst(_ ids: TokenTrace.Trust) {
        hasRole = false
        trace.begin(ids)
        rewrite = nil
        let hidesIDs = ids != .none && !request.showsTokenIDs
        hidesOnlyIDs = hidesIDs && request.model == nil
        guard request.model != nil || hidesIDs else { return }
        var changes = ChatRewrite()
        changes.model = request.model
        changes.hidesTokenIDs = hidesIDs
        rewrite = changes
    }

    /// Takes every whole event out of `bytes`; what the client is to see goes to `out`.
    ///
    /// - Returns: how many bytes were used. The rest belongs in front of what comes next.
    package mutating func pass(_ bytes: Span<UInt8>, into out: inout ByteWriter) -> Int {
        var used = 0
        while end == nil {
            switch scanner.next(bytes, at: &used) {
            case .event(let event): pass(event, bytes, &out)
            case .needMore(let keepFrom): return keepFrom
            case .oversized: fail(.oversizedEvent)
            }
        }
        return used
    }

    /// The stream is over or was broken off, and no `[DONE]` came: an answer that has its finish reasons is complete.
    package mutating func wasCut(_ failure: UpstreamFailure) {
        if end == nil { fail(failure) }
    }

    /// Whether every choice has a finish reason.
    package var isFinished: Bool {
        isCounting || owedFinish != nil || finished.nonzeroBitCount >= request.choices
    }

    mutating func fail(_ failure: UpstreamFailure) {
        end = isFinished ? .complete : .failed(failure)
        // Some engines simply end without a usage or a marker.
        if failure != .missingEnd { brokeOff = true }
    }

    // MARK: Events

    private mutating func pass(_ event: SSEEvent, _ bytes: Span<UInt8>, _ out: inout ByteWriter) {
        guard event.dataLines > 0 else { return }  // A comment: our own pings keep the client.
        if event.dataLines > 1 { return passJoined(event, bytes, &out) }
        pass(bytes.extracting(event.data), whole: bytes.extracting(event.range), &out)
    }

    /// An event whose data is spread over several lines, which no engine does but the format allows.
    private mutating func passJoined(_ event: SSEEvent, _ bytes: Span<UInt8>, _ out: inout ByteWriter) {
        var joined = ByteWriter(capacity: Int(event.range.count))
        SSEScanner.appendData(of: event, in: bytes, into: &joined)
        var whole = ByteWriter(capacity: joined.count + 8)
        whole.append("data: ")
        // A line end inside JSON is white space, so it may become a space.
        for index in 0..<joined.count {
            let byte = joined.bytes[index]
            whole.append(byte == 0x0A ? 0x20 : byte)
        }
        whole.append("\n\n")
        pass(whole.bytes.extracting(6..<(whole.count - 2)), whole: whole.bytes, &out)
    }

    mutating func pass(_ data: Span<UInt8>, whole: Span<UInt8>, _ out: inout ByteWriter) {
        if SSEScanner.isDone(data) { return endedByMarker() }
        var chunk = ChatChunk()
        do throws(JSONProblem) {
            try chunk.fill(from: data)
        } catch {
            return fail(.malformedEvent)
        }
        if chunk.isError {
            let kept = data.extracting(first: Self.errorBytesMax)
            inBandError = kept.withUnsafeBufferPointer { Array($0) }
            return fail(.inBandError)
        }
        if chunk.isAborted { return fail(.aborted) }
        sawEvent = true
        if let told = chunk.usage { usage = total(told) }
        if isCounting { return }
        if way != nil { return passContinued(chunk, data, whole, &out) }
        let ids = trace.isTracing ? trace.take(chunk, data) : 0
        if chunk.isUsageOnly, !request.includesUsage { return }
        finished |= chunk.finished
        if chunk.choice.finish != .none { finish = chunk.choice.finish }
        if chunk.hasContent { noteContent(chunk, data, ids: ids) }
        let changes = hidesOnlyIDs && !chunk.hasTokenIDs ? nil : rewrite
        // What has neither content nor an end before the first content is held: another replica may yet answer instead.
        if !hasContent, chunk.finished == 0 {
            guard held.count + whole.count <= Self.eventBytesMax else { return fail(.oversizedEvent) }
            if chunk.choice.hasRole { hasRole = true }
            Self.append(chunk, data, whole, changes, to: &held)
            return
        }
        if !held.isEmpty {
            out.append(held.bytes)
            held.release()
        }
        if chunk.choice.hasRole { hasRole = true }
        if chunk.usage != nil, request.includesUsage { isUsageSent = true }
        Self.append(chunk, data, whole, changes, to: &out)
    }

    private mutating func endedByMarker() {
        end = isFinished ? .complete : .failed(.missingEnd)
    }

    private static func append(
        _ chunk: ChatChunk, _ data: Span<UInt8>, _ whole: Span<UInt8>, _ rewrite: ChatRewrite?,
        to writer: inout ByteWriter
    ) {
        guard let rewrite else {
            writer.append(whole)
            // Its line feed is still on the way and won't be passed on: SDKs look for whole empty lines.
            if whole[whole.count - 1] == UInt8(ascii: "\r") { writer.append(UInt8(ascii: "\n")) }
            return
        }
        rewrite.writeEvent(data, of: chunk, into: &writer)
    }

    // MARK: What the client has

    /// - Parameters:
    ///   - cut: raw bytes at the beginning of the piece that the client had before.
    ///   - ids: token ids that came with it.
    mutating func noteContent(_ chunk: ChatChunk, _ data: Span<UInt8>, cut: Int = 0, ids: Int) {
        deltas += 1
        if !hasContent {
            hasContent = true
            rememberIdentity(chunk, data)
        }
        let choice = chunk.choice
        if !choice.toolCalls.isEmpty || !choice.reasoning.isEmpty || !choice.refusal.isEmpty || choice.hasParts {
            hasToolsOrReasoning = true
        }
        guard choice.index == 0, isTextWhole else { return }
        let piece = choice.content.isEmpty ? choice.text : choice.content
        guard !piece.isEmpty else { return }
        if text.count + Int(piece.raw.count) > Self.textBytesMax {
            isTextWhole = false
            text.release()
        } else {
            text.appendSparingly(data.extracting((Int(piece.raw.start) + cut)..<piece.raw.end))
        }
        if trace.isTracing { trace.noteText(ids: ids) }
    }

    /// A chunk's usage as that of the whole answer: a continuation's prompt holds what was sent before, and its
    /// completion does not.
    private mutating func total(_ usage: Usage) -> Usage {
        switch way {
        case _ where isCounting:
            return Usage(promptTokens: usage.promptTokens, completionTokens: tokensSent)
        case nil, .replay:
            if usage.promptTokens > 0 { trace.promptTokens = usage.promptTokens }
            return usage
        case .tokenIDs, .prefill:
            let prompt = trace.promptTokens ?? max(0, usage.promptTokens - seam.tokensBefore)
            return Usage(promptTokens: prompt, completionTokens: max(0, usage.totalTokens - prompt))
        }
    }

    /// Completion tokens that the client has; an estimate where no replica gave ids.
    package var tokensSent: Int { max(seam.tokensBefore, trace.tokensOfText ?? deltas) }

    /// This replica's stream has said nothing that the client did not have.
    package var saysNothingNew: Bool { !hasContent || way != nil && deltas == seam.deltasBefore }

    /// Token ids are known that stand for the prompt and for exactly the text that was sent.
    package var hasExactIDs: Bool {
        // Ids that the client has seen can't be taken back.
        let isShown = request.showsTokenIDs && trace.ids.count > trace.idsAtText
        return trace.isExact && !isShown && !hasToolsOrReasoning && isTextWhole
    }

    /// These ids, as a prompt.
    package var idsAsPrompt: [UInt8] { TokenIDs.json(trace.ids[..<trace.idsAtText]) }

    /// The client is owed a usage that was lost with its replica: worth asking for.
    package var owesUsage: Bool {
        request.includesUsage && usage == nil && trace.promptTokens == nil && request.choices == 1 && !wasCounted
            && (brokeOff || owedFinish != nil)
    }

    /// The usage that the replica said, or what can be known or guessed of it.
    package var bestUsage: Usage {
        usage ?? Usage(promptTokens: trace.promptTokens ?? 0, completionTokens: max(tokensSent, trace.tokens ?? 0))
    }

    private mutating func rememberIdentity(_ chunk: ChatChunk, _ data: Span<UInt8>) {
        identity.removeAll()
        identityRanges = (
            keepIdentity(chunk.id, data), keepIdentity(chunk.created, data), keepIdentity(chunk.model, data)
        )
    }

    private mutating func keepIdentity(_ range: ByteRange, _ data: Span<UInt8>) -> ByteRange {
        let start = identity.count
        identity.append(data.extracting(range))
        return ByteRange(start: start, count: Int(range.count))
    }
}
