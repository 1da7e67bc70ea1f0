import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Wire

/// Passes the events of one stream from its replica to its client, each when it arrives.
///
/// The loop calls it for both sockets, synchronously; the request's task sleeps until the stream has ended one way or
/// the other. What the events say and become is ``AnswerStream``'s. A slow client stops the reading, so its replica
/// waits and not our memory.
///
///     replica ──► payload (framing off) ──► answer: events ──► out (chunked anew) ──► client
///
/// - Isolation: its loop.
/// - Owns: an unfinished event, and the answer, each bounded.
package final class StreamRelay: ReadinessHandler {
    /// Reads in one turn, so that a fast stream leaves others theirs.
    private static let readsPerTurn = 4

    let client: ServerConnection
    let buffers: RelayBuffers
    /// While it relays: it keeps itself alive by this until ``stop()``. A weak reference would make every count slow.
    private var call: UpstreamCall?
    private var upstream: ClientConnection?
    private var limits = ChunkedDecoder.Limits(extensionBytes: 0, trailerBytes: 0, trailerFields: 0)

    /// What the bytes say, over all replicas.
    package var answer = AnswerStream()
    private(set) var isClientGone = false
    /// `[DONE]`, or the error instead, went to the client.
    var isEndSent = false
    private(set) var lastEventAt = Moment.zero
    /// The beginning of an event whose rest has not come; empty mostly.
    private var tail = ByteWriter()

    init(client: ServerConnection, buffers: RelayBuffers) {
        self.client = client
        self.buffers = buffers
    }

    func reset() {
        if upstream != nil || !tail.isEmpty { stop() }
        isClientGone = false
        isEndSent = false
        if answer.isUsed { answer.reset() }
    }

    /// A request is forwarded: nothing of its answer is there yet.
    func begin(_ call: UpstreamCall) {
        var request = AnswerStream.Request()
        if let asked = call.requestAgain {
            request.kind = asked.kind
            request.includesUsage = asked.includesUsage
            request.choices = asked.choices
            request.showsTokenIDs = asked.returnsTokenIDs
        }
        request.keepsText = call.keepsText || call.mayResume
        if call.renamesModel { request.model = BodyEdits.quoted(call.modelName) }
        answer.reset(request)
    }

    var end: StreamEnd? { answer.end }
    package var hasContent: Bool { answer.hasContent }
    package var deltas: Int { answer.deltas }
    package var isTextWhole: Bool { answer.isTextWhole }
    package var hasToolsOrReasoning: Bool { answer.hasToolsOrReasoning }

    /// The answer's text, escaped, without quotes.
    package func withText<Result>(_ read: (Span<UInt8>) -> Result) -> Result { answer.text.withBytes(nil, read) }

    // MARK: Life

    /// Begins to relay what ``answer`` was opened for; both sockets' changes come here until ``stop()``.
    func start(_ call: UpstreamCall, from upstream: ClientConnection, now: Moment) {
        self.call = call
        self.upstream = upstream
        limits = call.pool?.settings.replyChunks ?? limits
        lastEventAt = now
        upstream.forgetHead()
        upstream.stream.handler = self
        client.stream.handler = self
        pump()
    }

    /// Hands both sockets back to the task.
    func stop() {
        if let upstream, !upstream.stream.isClosed { upstream.stream.handler = client.parking }
        if !client.stream.isClosed { client.stream.handler = client.parking }
        upstream = nil
        call = nil
        tail.release()
    }

    package func becameReady(_ stream: Stream) { pump() }

    // MARK: Moving bytes

    private func pump() {
        buffers.payload.removeAll()
        tail.withBytes { buffers.payload.append($0) }
        readAndPass()
        // What every stream would keep for itself is one buffer of the loop's, but for the part of an event.
        if tail.isEmpty, buffers.payload.isEmpty { return }
        tail.release()
        buffers.payload.withBytes { tail.append($0) }
    }

    private func readAndPass() {
        guard end == nil, !isClientGone, let upstream, let call else { return }
        if client.isClientGone {
            isClientGone = true
            return client.parking.wake()
        }
        if client.hasUnsent {
            guard client.sendUnsent() else { return }
            lastEventAt = client.loop.now  // The replica was not looked at meanwhile: its silence counts from here.
        }
        for _ in 0..<Self.readsPerTurn {
            let read: ClientConnection.BodyRead
            do throws(HTTPViolation) {
                read = try upstream.readBody(into: &buffers.payload, limits: limits)
            } catch {
                // What came before the violation was right, whichever read it came with.
                passEvents(call)
                return wasCut(call, hasContent ? .cut : .malformedReply)
            }
            if read == .wouldBlock { return }
            passEvents(call)
            if end != nil { return }
            switch read {
            case .ended: return wasCut(call, .missingEnd)
            case .cut: return wasCut(call, .cut)
            case .bytes, .wouldBlock: break
            }
            if client.hasUnsent { return }
        }
        upstream.loop.revisit(upstream.stream)
    }

    /// The body is over and no `[DONE]` came: an answer that is finished gets its end from us.
    func wasCut(_ call: UpstreamCall, _ failure: UpstreamFailure) {
        guard end == nil else { return }
        answer.wasCut(failure)
        if end == .complete, endsHere(call) { sendEnd(call) }
        client.parking.wake()
    }

    /// Whether the end goes out with the last event: nothing has to be known or stored first.
    private func endsHere(_ call: UpstreamCall) -> Bool {
        !call.holdsEnd && !answer.owesUsage && !call.asksUsageOnly
    }

    /// Takes every whole event out of the payload and sends what the client is to see of them, in one write.
    private func passEvents(_ call: UpstreamCall) {
        buffers.out.removeAll()
        let start = buffers.out.openChunk()
        let hadContent = hasContent
        let used = buffers.payload.withBytes { answer.pass($0, into: &buffers.out) }
        buffers.payload.removeFirst(used)
        if answer.sawEvent {
            answer.sawEvent = false
            lastEventAt = client.loop.now
            if let usage = answer.usage { call.usage = usage }
            if !hadContent, hasContent { call.firstContentAt = lastEventAt }
        }
        let isComplete = end == .complete
        let closes = isComplete && endsHere(call)
        if closes {
            appendEnd(call)
            isEndSent = true
        }
        sendOut(from: start, call, closes: closes)
        if end != nil {
            if !answer.inBandError.isEmpty { call.keep(inBandError: answer.inBandError.span) }
            client.parking.wake()
        }
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
            call.forgetRequest()
            buffers.out.withUnsafeBytes { head.append(UnsafeRawBufferPointer(rebasing: $0[start...])) }
            head.withUnsafeBytes { client.send($0) }
        } else {
            buffers.out.withUnsafeBytes { client.send(UnsafeRawBufferPointer(rebasing: $0[start...])) }
        }
    }
}
