import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Wire

/// Passes the events of one stream from its replica to its client, each when it arrives.
///
/// The loop calls it for both sockets, synchronously; the request's task sleeps until the stream has ended one way or
/// the other. Whole events only: what a replica sends in part is held until the rest is there, so a stream that breaks
/// can be continued without a seam. A slow client stops the reading, so its replica waits and not our memory.
///
///     replica ──► payload (framing off) ──► events ──► out (chunked anew) ──► client
///
/// - Isolation: its loop.
/// - Owns: an unfinished event, held events before the first content, and the text that was sent, each bounded.
package final class StreamRelay: ReadinessHandler {
    enum End: Equatable {
        /// A finish reason for every choice was seen, and the end.
        case complete
        case failed(UpstreamFailure)
        case clientGone
    }

    /// Bytes that one event may have.
    private static let eventBytesMax = 1 << 20
    /// Text kept of one answer, for its session and to resume it; beyond, neither is possible.
    private static let textBytesMax = 4 << 20
    /// Reads in one turn, so that a fast stream leaves others theirs.
    private static let readsPerTurn = 4

    let client: ServerConnection
    let buffers: RelayBuffers
    private weak var call: UpstreamCall?
    private var upstream: ClientConnection?
    private var limits = ChunkedDecoder.Limits(extensionBytes: 0, trailerBytes: 0, trailerFields: 0)

    private(set) var end: End?
    private(set) var lastEventAt = Moment.zero
    package private(set) var hasContent = false
    /// One bit for each choice that has finished.
    private var finished: UInt128 = 0
    private var scanner = SSEScanner(limit: 0)
    private var payload = ByteWriter()
    /// Events before the first content: a role delta mostly.
    private var held = ByteWriter()

    // What the client has seen, over all replicas.
    /// The answer's text, escaped, without quotes.
    private(set) var text = ByteWriter()
    package private(set) var isTextWhole = true
    /// Deltas with content that were passed on: an estimate of the tokens where the replica does not say.
    package private(set) var deltas = 0
    package private(set) var hasToolsOrReasoning = false
    /// The identity of the stream that the client sees: `id`, `created`, `model` of its first chunk with content.
    var identity = ByteWriter()
    var identityRanges: (id: ByteRange, created: ByteRange, model: ByteRange) = (.empty, .empty, .empty)
    var finish = FinishReason.none
    /// A finish reason that no replica gave and that stands before the end.
    var owedFinish: FinishReason? { didSet { finish = owedFinish ?? .none } }
    var rewrite: ChatRewrite?
    /// Tokens that were sent before this continuation.
    private var tokensBefore = 0

    init(client: ServerConnection, buffers: RelayBuffers) {
        self.client = client
        self.buffers = buffers
    }

    func reset() {
        stop()
        end = nil
        hasContent = false
        text.release()
        identity.release()
        isTextWhole = true
        deltas = 0
        hasToolsOrReasoning = false
        rewrite = nil
        tokensBefore = 0
        owedFinish = nil
    }

    /// The answer's text, escaped, without quotes.
    package func withText<Result>(_ read: (Span<UInt8>) -> Result) -> Result { text.withBytes(nil, read) }

    // MARK: Life

    /// Begins to relay; both sockets' changes come here until ``stop()``.
    ///
    /// - Parameter isContinuation: the client has had a part of this answer from another replica.
    func start(_ call: UpstreamCall, from upstream: ClientConnection, isContinuation: Bool, now: Moment) {
        self.call = call
        self.upstream = upstream
        limits = call.pool?.settings.replyChunks ?? limits
        end = nil
        finished = 0
        finish = .none
        scanner = SSEScanner(limit: Self.eventBytesMax)
        lastEventAt = now
        if isContinuation { continueIdentity() } else { rewrite = renaming(call) }
        upstream.stream.handler = self
        client.stream.handler = self
        pump()
    }

    /// Hands both sockets back to the task.
    func stop() {
        if let upstream, !upstream.stream.isClosed { upstream.stream.handler = client.parking }
        if !client.stream.isClosed { client.stream.handler = client.parking }
        upstream = nil
        payload.release()
        held.release()
    }

    package func becameReady(_ stream: Stream) { pump() }

    private func finish(_ end: End) {
        guard self.end == nil else { return }
        self.end = end
        client.parking.wake()
    }

    // MARK: Moving bytes

    private func pump() {
        guard end == nil, let upstream, let call else { return }
        if client.isClientGone { return finish(.clientGone) }
        if client.hasUnsent {
            guard client.sendUnsent() else { return }
            lastEventAt = client.loop.now  // The replica was not looked at meanwhile: its silence counts from here.
        }
        for _ in 0..<Self.readsPerTurn {
            let read: ClientConnection.BodyRead
            do throws(HTTPViolation) {
                read = try upstream.readBody(into: &payload, limits: limits)
            } catch {
                // What came before the violation was right, whichever read it came with.
                passEvents(call)
                return finish(.failed(hasContent ? .cut : .malformedReply))
            }
            if read == .wouldBlock { return }
            passEvents(call)
            if end != nil { return }
            switch read {
            case .ended: return endWithoutMarker(call, orFailure: .missingEnd)
            case .cut: return endWithoutMarker(call, orFailure: .cut)
            case .bytes, .wouldBlock: break
            }
            if client.hasUnsent { return }
        }
        upstream.loop.revisit(upstream.stream)
    }

    /// The body is over and no `[DONE]` came: an answer that is finished gets its end from us.
    private func endWithoutMarker(_ call: UpstreamCall, orFailure failure: UpstreamFailure) {
        guard isAnswerFinished(call) else { return finish(.failed(failure)) }
        if !call.holdsEnd { sendEnd(call) }
        finish(.complete)
    }

    /// Takes every whole event out of the payload and sends what the client is to see of them, in one write.
    private func passEvents(_ call: UpstreamCall) {
        buffers.out.removeAll()
        let start = buffers.out.openChunk()
        var used = 0
        var isDone = false
        payload.withBytes { bytes in
            scanning: while true {
                switch scanner.next(bytes, at: &used) {
                case .event(let event):
                    if !pass(event, bytes, call) {
                        isDone = true
                        break scanning
                    }
                case .needMore(let keepFrom):
                    used = keepFrom
                    break scanning
                case .oversized:
                    end = .failed(.oversizedEvent)
                    isDone = true
                    break scanning
                }
            }
        }
        payload.removeFirst(used)
        let isComplete = isDone && end == .complete
        if isComplete, !call.holdsEnd { appendEnd(call) }
        sendOut(from: start, call, closes: isComplete && !call.holdsEnd)
        if isDone { client.parking.wake() }
    }

    /// Sends the bytes of `out` since `start`, after the head if that is still owed.
    func sendOut(from start: Int, _ call: UpstreamCall, closes: Bool) {
        guard buffers.out.count > start else { return }
        guard call.delegate?.usesChunks ?? true else {
            return send(call, from: start)
        }
        let chunk = buffers.out.closeChunk(start)
        if closes { buffers.out.appendLastChunk() }
        send(call, from: chunk)
    }

    private func send(_ call: UpstreamCall, from start: Int) {
        if !call.isHeadSent {
            var head = ByteWriter(capacity: 1_024 + buffers.out.count)
            call.delegate?.appendStreamHead(to: &head)
            call.isHeadSent = true
            buffers.out.withUnsafeBytes { head.append(UnsafeRawBufferPointer(rebasing: $0[start...])) }
            head.withUnsafeBytes { client.send($0) }
        } else {
            buffers.out.withUnsafeBytes { client.send(UnsafeRawBufferPointer(rebasing: $0[start...])) }
        }
    }

    // MARK: Events

    /// - Returns: false when the stream is over; ``end`` says how.
    private func pass(_ event: SSEEvent, _ bytes: Span<UInt8>, _ call: UpstreamCall) -> Bool {
        guard event.dataLines > 0 else { return true }  // A comment: our own pings keep the client.
        if event.dataLines > 1 { return passJoined(event, bytes, call) }
        return pass(bytes.extracting(event.data), whole: bytes.extracting(event.range), call)
    }

    /// An event whose data is spread over several lines, which no engine does but the format allows.
    private func passJoined(_ event: SSEEvent, _ bytes: Span<UInt8>, _ call: UpstreamCall) -> Bool {
        var joined = ByteWriter(capacity: Int(event.range.count))
        SSEScanner.appendData(of: event, in: bytes, into: &joined)
        var whole = ByteWriter(capacity: joined.count + 8)
        whole.append("data: ")
        // A line end inside JSON is white space, so it may become a space.
        joined.withBytes { data in
            for index in 0..<data.count { whole.append(data[index] == 0x0A ? 0x20 : data[index]) }
        }
        whole.append("\n\n")
        return whole.withBytes { pass($0.extracting(6..<($0.count - 2)), whole: $0, call) }
    }

    private func pass(_ data: Span<UInt8>, whole: Span<UInt8>, _ call: UpstreamCall) -> Bool {
        if SSEScanner.isDone(data) {
            end = isAnswerFinished(call) ? .complete : .failed(.missingEnd)
            return false
        }
        let chunk: ChatChunk
        do throws(JSONProblem) {
            chunk = try ChatChunk.read(data)
        } catch {
            return fail(.malformedEvent)
        }
        if chunk.isError {
            call.keep(inBandError: data)
            return fail(.inBandError)
        }
        if chunk.isAborted { return fail(.aborted) }
        lastEventAt = client.loop.now
        if let usage = chunk.usage { call.usage = total(usage) }
        if chunk.isUsageOnly {
            guard call.request?.includesUsage == true else { return true }
        }
        finished |= chunk.finished
        if chunk.choice.finish != .none { finish = chunk.choice.finish }
        if chunk.hasContent { noteContent(chunk, data, call) }
        // What has neither content nor an end before the first content is held: another replica may yet answer instead.
        if !hasContent, chunk.finished == 0 {
            guard held.count + whole.count <= Self.eventBytesMax else { return fail(.oversizedEvent) }
            append(chunk, data, whole, to: &held)
            return true
        }
        if !held.isEmpty {
            held.withBytes { buffers.out.append($0) }
            held.release()
        }
        append(chunk, data, whole, to: &buffers.out)
        return true
    }

    private func fail(_ failure: UpstreamFailure) -> Bool {
        end = .failed(failure)
        return false
    }

    private func append(_ chunk: ChatChunk, _ data: Span<UInt8>, _ whole: Span<UInt8>, to writer: inout ByteWriter) {
        guard var rewrite else {
            writer.append(whole)
            // Its line feed is still on the way and won't be passed on: SDKs look for whole empty lines.
            if whole[whole.count - 1] == UInt8(ascii: "\r") { writer.append(UInt8(ascii: "\n")) }
            return
        }
        if tokensBefore > 0, let usage = chunk.usage { rewrite.usage = .counts(total(usage)) }
        // After a resume, a chunk that only repeats the role says nothing new.
        if rewrite.hidesRole, !chunk.hasContent, chunk.choiceCount > 0, chunk.finished == 0 { return }
        rewrite.writeEvent(data, of: chunk, into: &writer)
    }

    private func noteContent(_ chunk: ChatChunk, _ data: Span<UInt8>, _ call: UpstreamCall) {
        deltas += 1
        if !hasContent {
            hasContent = true
            call.firstContentAt = client.loop.now
            rememberIdentity(chunk, data)
        }
        let choice = chunk.choice
        if !choice.toolCalls.isEmpty || !choice.reasoning.isEmpty || choice.hasParts { hasToolsOrReasoning = true }
        guard choice.index == 0, isTextWhole else { return }
        let piece = choice.content.isEmpty ? choice.text : choice.content
        guard !piece.isEmpty else { return }
        if text.count + Int(piece.raw.count) > Self.textBytesMax {
            isTextWhole = false
            text.release()
        } else {
            text.append(data.extracting(piece.raw))
        }
    }

    /// The usage of the whole answer: a continuation's prompt holds what was sent before, and its completion does not.
    private func total(_ usage: Usage) -> Usage {
        guard tokensBefore > 0 else { return usage }
        let prompt = max(0, usage.promptTokens - tokensBefore)
        return Usage(promptTokens: prompt, completionTokens: usage.completionTokens + tokensBefore)
    }

    /// Whether every choice has a finish reason.
    private func isAnswerFinished(_ call: UpstreamCall) -> Bool {
        let choices = call.request?.choices ?? 1
        return finished.nonzeroBitCount >= choices
    }

    // MARK: One stream to the client

    private func renaming(_ call: UpstreamCall) -> ChatRewrite? {
        guard call.edits.model != nil else { return nil }
        var rewrite = ChatRewrite()
        rewrite.model = BodyEdits.quoted(call.modelName)
        return rewrite
    }

    private func rememberIdentity(_ chunk: ChatChunk, _ data: Span<UInt8>) {
        identity.removeAll()
        func keep(_ range: ByteRange) -> ByteRange {
            let start = identity.count
            identity.append(data.extracting(range))
            return ByteRange(start: start, count: Int(range.count))
        }
        identityRanges = (keep(chunk.id), keep(chunk.created), keep(chunk.model))
    }

    private func continueIdentity() {
        var next = ChatRewrite()
        identity.withBytes { bytes in
            func value(_ range: ByteRange) -> [UInt8]? {
                range.isEmpty ? nil : bytes.extracting(range).withUnsafeBufferPointer { Array($0) }
            }
            next.id = value(identityRanges.id)
            next.created = value(identityRanges.created)
            next.model = rewrite?.model ?? value(identityRanges.model)
        }
        next.hidesRole = true
        rewrite = next
        tokensBefore = deltas
    }
}
