import Engine
import GatewayCore
import Wire

/// What the parts of one answer have in common, and how each of them is written.
///
/// Source: OpenAI API reference, "Create chat completion" and "Create completion"; token ids as vLLM has them
/// (`return_token_ids`).
struct APIReply {
    let request: APIRequest
    /// `chatcmpl-…` or `cmpl-…`, the same in every chunk.
    let id: String
    /// Seconds since 1970.
    let created: Int64

    init(_ request: APIRequest, randomness: UInt64, created: Int64) {
        self.request = request
        let digits = String(randomness, radix: 16)
        let padded = String(repeating: "0", count: 16 - digits.count) + digits
        id = (request.kind == .chat ? "chatcmpl-" : "cmpl-") + padded
        self.created = created
    }
}

// Streamed: one SSE event each.
extension APIReply {
    /// The first event: the role, before there is any content. A completion has none unless it says something.
    func writeStart(promptTokens: [Int32], into writer: inout ByteWriter) {
        let isChat = request.kind == .chat
        guard isChat || request.echo != nil || request.returnsTokenIDs else { return }
        event(into: &writer) { writer in
            choice(text: request.echo ?? "", isFirst: true, tokens: nil, prompt: promptTokens, into: &writer)
            if isChat, request.returnsTokenIDs {
                writer.member("prompt_token_ids")
                writer.append(tokens: promptTokens)
            }
        }
    }

    func writeText(_ text: String, tokens: [Int32], into writer: inout ByteWriter) {
        event(into: &writer) { writer in
            choice(text: text, tokens: tokens, into: &writer)
        }
    }

    /// The end: the finish reason, the usage if it was asked for, and `[DONE]`.
    func writeEnd(
        _ reason: EndReason, text: String, tokens: [Int32], usage: Usage, cachedTokens: Int,
        into writer: inout ByteWriter
    ) {
        event(into: &writer) { writer in
            choice(text: text, tokens: tokens, reason: reason, into: &writer)
        }
        if request.includesUsage {
            event(usage: (usage, cachedTokens), into: &writer) { writer in
                writer.member("choices")
                writer.append("[]")
            }
        }
        writer.append("data: [DONE]\n\n")
    }

    /// The honest end of a stream that broke; no `[DONE]` follows.
    static func writeFailure(_ error: APIError, into writer: inout ByteWriter) {
        writer.append("data: ")
        error.write(into: &writer)
        writer.append("\n\n")
    }

    private func event(
        usage: (Usage, cached: Int)? = nil, into writer: inout ByteWriter, _ body: (inout ByteWriter) -> Void
    ) {
        writer.append("data: ")
        writer.openObject()
        head(request.kind == .chat ? "chat.completion.chunk" : "text_completion", into: &writer)
        body(&writer)
        if let usage {
            writer.append(usage: usage.0, cachedTokens: usage.cached)
        } else if request.includesUsage {
            writer.member("usage", string: nil)
        }
        writer.closeObject()
        writer.append("\n\n")
    }

    private func choice(
        text: String, isFirst: Bool = false, tokens: [Int32]?, prompt: [Int32]? = nil, reason: EndReason? = nil,
        into writer: inout ByteWriter
    ) {
        writer.member("choices")
        writer.openArray()
        writer.openObject()
        writer.member("index", number: 0)
        if request.kind == .chat {
            writer.member("delta")
            writer.openObject()
            if isFirst { writer.member("role", string: "assistant") }
            if isFirst || !text.isEmpty { writer.member("content", string: text) }
            writer.closeObject()
        } else {
            writer.member("text", string: text)
        }
        writer.member("logprobs", string: nil)
        writer.member("finish_reason", string: reason?.rawValue)
        if request.returnsTokenIDs {
            if let prompt, request.kind == .completion {
                writer.member("prompt_token_ids")
                writer.append(tokens: prompt)
            }
            if let tokens {
                writer.member("token_ids")
                writer.append(tokens: tokens)
            }
        }
        writer.closeObject()
        writer.closeArray()
    }
}

// Whole.
extension APIReply {
    /// Everything that a plain reply is made of.
    struct Whole: Equatable, Sendable {
        var promptTokens: [Int32] = []
        var cachedTokens = 0
        var text = ""
        var tokens: [Int32] = []
        var reason = EndReason.stop
        var usage = Usage()
    }

    func write(_ whole: Whole, into writer: inout ByteWriter) {
        let isChat = request.kind == .chat
        writer.openObject()
        head(isChat ? "chat.completion" : "text_completion", into: &writer)
        writer.member("choices")
        writer.openArray()
        writer.openObject()
        writer.member("index", number: 0)
        if isChat {
            writer.member("message")
            writer.openObject()
            writer.member("role", string: "assistant")
            writer.member("content", string: whole.text)
            writer.member("refusal", string: nil)
            writer.closeObject()
        } else {
            writer.member("text", string: (request.echo ?? "") + whole.text)
        }
        writer.member("logprobs", string: nil)
        writer.member("finish_reason", string: whole.reason.rawValue)
        if request.returnsTokenIDs {
            if !isChat {
                writer.member("prompt_token_ids")
                writer.append(tokens: whole.promptTokens)
            }
            writer.member("token_ids")
            writer.append(tokens: whole.tokens)
        }
        writer.closeObject()
        writer.closeArray()
        if isChat, request.returnsTokenIDs {
            writer.member("prompt_token_ids")
            writer.append(tokens: whole.promptTokens)
        }
        writer.append(usage: whole.usage, cachedTokens: whole.cachedTokens)
        writer.closeObject()
    }

    private func head(_ object: String, into writer: inout ByteWriter) {
        writer.member("id", string: id)
        writer.member("object", string: object)
        writer.member("created", number: Int(created))
        writer.member("model", string: request.model)
    }
}

extension ByteWriter {
    fileprivate mutating func append(tokens: [Int32]) {
        openArray()
        for token in tokens {
            element()
            append(decimal: Int(token))
        }
        closeArray()
    }

    /// The member `usage`.
    fileprivate mutating func append(usage: Usage, cachedTokens: Int) {
        member("usage")
        openObject()
        member("prompt_tokens", number: usage.promptTokens)
        member("completion_tokens", number: usage.completionTokens)
        member("total_tokens", number: usage.totalTokens)
        member("prompt_tokens_details")
        openObject()
        member("cached_tokens", number: cachedTokens)
        closeObject()
        closeObject()
    }
}
