import GatewayCore

/// Writes events of the gateway's own into a stream, in the name of the answer that is being streamed.
///
/// Needed where a replica left something out (usage, a finish reason after a resume) and where an answer comes from
/// another endpoint than the one that was asked.
package struct ChatStreamWriter: Sendable {
    package var kind: ChatRequest.Kind
    /// Complete JSON values, strings with their quotes.
    package var id: [UInt8]
    package var created: [UInt8]
    package var model: [UInt8]

    package init(kind: ChatRequest.Kind, id: [UInt8], created: [UInt8], model: [UInt8]) {
        self.kind = kind
        self.id = id
        self.created = created
        self.model = model
    }

    /// The first delta of a chat: a role without content. Nothing for a completion.
    package func appendRole(into writer: inout ByteWriter) {
        guard kind == .chat else { return }
        appendHead(&writer)
        writer.append("{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}")
        appendTail(usage: nil, &writer)
    }

    /// A piece of the answer. - In: `text` is escaped already, without quotes, as it stands in a replica's event.
    package func append(content text: Span<UInt8>, into writer: inout ByteWriter) {
        append(content: text, tokenIDs: Span(), into: &writer)
    }

    /// The same, with the array of its token ids unless that is empty.
    package func append(content text: Span<UInt8>, tokenIDs: Span<UInt8>, into writer: inout ByteWriter) {
        appendHead(&writer)
        writer.append(kind == .chat ? "{\"index\":0,\"delta\":{\"content\":\"" : "{\"index\":0,\"text\":\"")
        writer.append(text)
        writer.append(kind == .chat ? "\"},\"finish_reason\":null" : "\",\"finish_reason\":null")
        if !tokenIDs.isEmpty {
            writer.append(",\"token_ids\":")
            writer.append(tokenIDs)
        }
        writer.append("}")
        appendTail(usage: nil, &writer)
    }

    /// The end of the answer.
    package func append(finish reason: FinishReason, into writer: inout ByteWriter) {
        appendHead(&writer)
        writer.append(kind == .chat ? "{\"index\":0,\"delta\":{}" : "{\"index\":0,\"text\":\"\"")
        writer.append(",\"finish_reason\":\"")
        writer.append(reason.name)
        writer.append("\"}")
        appendTail(usage: nil, &writer)
    }

    /// The chunk that carries the usage.
    package func append(usage: Usage, into writer: inout ByteWriter) {
        appendHead(&writer)
        appendTail(usage: usage, &writer)
    }

    package static func appendDone(into writer: inout ByteWriter) { writer.append("data: [DONE]\n\n") }

    private func appendHead(_ writer: inout ByteWriter) {
        writer.append("data: {\"id\":")
        writer.append(id)
        writer.append(",\"object\":")
        writer.append(kind == .chat ? "\"chat.completion.chunk\"" : "\"text_completion\"")
        writer.append(",\"created\":")
        writer.append(created)
        writer.append(",\"model\":")
        writer.append(model)
        writer.append(",\"choices\":[")
    }

    private func appendTail(usage: Usage?, _ writer: inout ByteWriter) {
        writer.append("]")
        if let usage {
            writer.append(",\"usage\":")
            writer.append(usage: usage)
        }
        writer.append("}\n\n")
    }
}

extension FinishReason {
    /// OpenAI's word for it.
    package var name: StaticString {
        switch self {
        case .none, .stop, .other, .abort: "stop"
        case .length: "length"
        case .toolCalls: "tool_calls"
        case .contentFilter: "content_filter"
        case .functionCall: "function_call"
        }
    }
}

extension ByteWriter {
    /// The `usage` object.
    package mutating func append(usage: Usage) {
        append("{\"prompt_tokens\":")
        append(decimal: usage.promptTokens)
        append(",\"completion_tokens\":")
        append(decimal: usage.completionTokens)
        append(",\"total_tokens\":")
        append(decimal: usage.totalTokens)
        append("}")
    }
}
