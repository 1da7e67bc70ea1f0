#if Engine
import Engine
import GatewayCore
import HTTPConnections
import Reactor
import Wire

/// One answer from submission to its last byte: takes the engine's events and writes what they mean.
///
/// The head is sent with the first event, so that a prompt that does not fit is a 400 and not a broken stream.
/// Whoever leaves early takes the generation along: the slot is free before the next token.
struct AnswerRun {
    private let handler: RequestHandler
    private let reply: APIReply
    private var whole = APIReply.Whole()
    /// Set once the head of a stream is sent.
    private var isChunked: Bool?
    private var isOver = false

    private var connection: ServerConnection { handler.connection }

    init(handler: RequestHandler, reply: APIReply) {
        self.handler = handler
        self.reply = reply
    }

    /// - Throws: ``APIError`` while nothing of the reply is sent.
    mutating func perform() async throws(APIError) {
        let mailbox = Mailbox(handler.doorbell)
        let engine = handler.server.engine
        let id: GenerationID
        do throws(EngineRefusal) {
            id = try engine.submit(reply.request.generation) { mailbox.put($0) }
        } catch {
            throw APIError(error)
        }
        // Of a request that is over the engine knows nothing any more.
        defer { if !isOver { engine.cancel(id) } }
        while true {
            for event in mailbox.take() { try handle(event) }
            if isOver { return }
            let isStalled = await waitForMore()
            if isStalled || connection.isClientGone {
                connection.closesAfterReply = true
                return
            }
        }
    }

    /// - Out: whether the client took nothing for too long.
    private func waitForMore() async -> Bool {
        _ = connection.sendUnsent()
        if connection.isClientGone { return false }
        let isWriting = connection.hasUnsent
        let deadline = isWriting ? connection.loop.now + connection.settings.writeStall : .never
        return await connection.parking.park(until: deadline) == .deadline
    }

    private mutating func handle(_ event: GenerationEvent) throws(APIError) {
        switch event {
        case .started(let promptTokens, let cachedTokens):
            whole.promptTokens = promptTokens
            whole.cachedTokens = cachedTokens
            guard reply.request.isStream else { return }
            isChunked = handler.sendStreamHead()
            sendEvents { reply.writeStart(promptTokens: promptTokens, into: &$0) }
        case .text(let text, let tokens):
            if reply.request.isStream {
                sendEvents { reply.writeText(text, tokens: tokens, into: &$0) }
            } else {
                whole.text += text
                whole.tokens += tokens
            }
        case .finished(let reason, let text, let tokens, let usage):
            isOver = true
            if reply.request.isStream {
                sendEvents {
                    reply.writeEnd(
                        reason, text: text, tokens: tokens, usage: usage, cachedTokens: whole.cachedTokens, into: &$0)
                }
                endStream()
            } else {
                whole.text += text
                whole.tokens += tokens
                whole.reason = reason
                whole.usage = usage
                handler.sendJSON { reply.write(whole, into: &$0) }
            }
        case .failed(let failure):
            isOver = true
            let error = APIError(failure, promptName: reply.request.kind.promptName)
            guard isChunked != nil else { throw error }
            sendEvents { APIReply.writeFailure(error, into: &$0) }
            connection.closesAfterReply = true
            endStream()
        }
    }

    private func sendEvents(_ write: (inout ByteWriter) -> Void) {
        var events = ByteWriter(capacity: 512)
        write(&events)
        guard !events.isEmpty else { return }
        guard isChunked == true else { return handler.send(events) }
        var chunk = ByteWriter(capacity: events.count + 16)
        chunk.appendChunkStart(events.count)
        chunk.append(events.bytes)
        chunk.appendChunkEnd()
        handler.send(chunk)
    }

    private func endStream() {
        guard isChunked == true else { return }
        var end = ByteWriter()
        end.appendLastChunk()
        handler.send(end)
    }
}
#endif
