import GatewayCore
import HTTPConnections
import Wire

/// What the gateway itself says in a stream: its early head, its end, its failure, and a turn answered again.
extension StreamRelay {
    /// Sends the head and a ping: the first content is late, and the client should know that somebody is there.
    func sendHeadEarly(_ call: UpstreamCall) {
        guard !call.isHeadSent, end == nil, !isClientGone else { return }
        buffers.out.removeAll()
        let start = buffers.out.openChunk()
        buffers.out.append(": ping\n\n")
        sendOut(from: start, call, closes: false)
    }

    /// What the replica left out: the usage, if the client asked for it; then the end.
    func appendEnd(_ call: UpstreamCall) {
        if answer.request.includesUsage, !answer.isUsageSent {
            let usage = answer.bestUsage
            call.usage = usage
            answer.writer.append(usage: usage, into: &buffers.out)
        }
        ChatStreamWriter.appendDone(into: &buffers.out)
    }

    /// Ends a complete stream whose end was held, or that a replica left without an end.
    ///
    /// - Parameter comment: a line for the client before `[DONE]`, such as that its session is degraded.
    package func sendEnd(_ call: UpstreamCall, comment: StaticString? = nil) {
        buffers.out.removeAll()
        let start = buffers.out.openChunk()
        if let comment {
            buffers.out.append(": ")
            buffers.out.append(comment)
            buffers.out.append("\n\n")
        }
        if let reason = answer.owedFinish { answer.writer.append(finish: reason, into: &buffers.out) }
        appendEnd(call)
        isEndSent = true
        sendOut(from: start, call, closes: true)
    }

    /// Ends a stream that could not be saved: an error event, no `[DONE]`, and a body that is over.
    package func sendFailure(_ call: UpstreamCall, _ error: GatewayError) {
        buffers.out.removeAll()
        let start = buffers.out.openChunk()
        buffers.out.append(errorEvent: error.answer)
        sendOut(from: start, call, closes: true)
    }

    /// The same with a replica's refusal of the request, where the head went out before it came.
    package func sendFailure(_ call: UpstreamCall, _ refusal: UpstreamError) {
        buffers.out.removeAll()
        let start = buffers.out.openChunk()
        buffers.out.append(errorEvent: refusal)
        sendOut(from: start, call, closes: true)
    }

    /// The stream that was relayed, as a whole reply: what a repetition of its turn is answered with.
    package func appendWholeReply(_ call: UpstreamCall, message: Span<UInt8>, to writer: inout ByteWriter) {
        let stream = answer.writer
        writer.append("{\"id\":")
        writer.append(stream.id)
        writer.append(",\"object\":\"chat.completion\",\"created\":")
        writer.append(stream.created)
        writer.append(",\"model\":")
        writer.append(stream.model)
        writer.append(",\"choices\":[{\"index\":0,\"message\":")
        writer.append(message)
        writer.append(",\"finish_reason\":\"")
        writer.append(answer.finish.name)
        writer.append("\"}],\"usage\":")
        writer.append(usage: answer.bestUsage)
        writer.append("}")
    }

    /// Sends a whole reply, kept from before, as a stream.
    package func replay(_ reply: Span<UInt8>, of chunk: ChatChunk, _ call: UpstreamCall) {
        func value(_ range: ByteRange) -> [UInt8] { reply.extracting(range).withUnsafeBufferPointer { Array($0) } }
        let stream = ChatStreamWriter(
            kind: .chat, id: value(chunk.id), created: value(chunk.created), model: value(chunk.model))
        buffers.out.removeAll()
        let start = buffers.out.openChunk()
        stream.appendRole(into: &buffers.out)
        stream.append(content: reply.extracting(chunk.choice.content.raw), into: &buffers.out)
        stream.append(finish: chunk.choice.finish, into: &buffers.out)
        if let usage = chunk.usage, call.requestAgain?.includesUsage == true {
            stream.append(usage: usage, into: &buffers.out)
        }
        ChatStreamWriter.appendDone(into: &buffers.out)
        sendOut(from: start, call, closes: true)
    }
}
