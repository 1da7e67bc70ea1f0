import Engine
import GatewayCore
import Testing
import Wire

@testable import weir_replica

@Suite struct APIReplyTests {
    private func reply(_ kind: APIRequest.Kind, usage: Bool = false, ids: Bool = false) -> APIReply {
        let request = APIRequest(
            kind: kind, model: "tiny", isStream: true, includesUsage: usage, returnsTokenIDs: ids,
            generation: GenerationRequest(prompt: .text("")))
        return APIReply(request, randomness: 0xABC, created: 5)
    }

    private func text(_ write: (inout ByteWriter) -> Void) -> String {
        var writer = ByteWriter()
        write(&writer)
        return writer.bytes.text
    }

    private let head = #""id":"chatcmpl-0000000000000abc","object":"chat.completion.chunk","created":5,"model":"tiny""#

    @Test func `a stream is a role, texts, a finish reason, the usage and an end`() {
        let reply = reply(.chat, usage: true)
        #expect(
            text { reply.writeStart(promptTokens: [1, 2], into: &$0) } == #"data: {\#(head),"choices":[{"index":0,"#
                + #""delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#
                + "\n\n")
        #expect(
            text { reply.writeText("a\"b", tokens: [3], into: &$0) } == #"data: {\#(head),"choices":[{"index":0,"#
                + #""delta":{"content":"a\"b"},"logprobs":null,"finish_reason":null}],"usage":null}"# + "\n\n")
        let usage = Usage(promptTokens: 2, completionTokens: 3)
        #expect(
            text { reply.writeEnd(.stop, text: "", tokens: [4], usage: usage, cachedTokens: 1, into: &$0) }
                == #"data: {\#(head),"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"#
                + #""usage":null}"# + "\n\n"
                + #"data: {\#(head),"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5,"#
                + #""prompt_tokens_details":{"cached_tokens":1}}}"# + "\n\ndata: [DONE]\n\n")
    }

    @Test func `token ids stand where vLLM has them`() throws {
        let chat = reply(.chat, ids: true)
        let start = try json(text { chat.writeStart(promptTokens: [1, 2], into: &$0) })
        #expect(start["prompt_token_ids"] == .array([.integer(1), .integer(2)]))
        #expect(start["usage"] == nil)
        let more = try json(text { chat.writeText("a", tokens: [3, 4], into: &$0) })
        #expect(more["choices"]?.array?[0]["token_ids"] == .array([.integer(3), .integer(4)]))

        let completion = reply(.completion, ids: true)
        let first = try json(text { completion.writeStart(promptTokens: [1], into: &$0) })
        #expect(first["choices"]?.array?[0]["prompt_token_ids"] == .array([.integer(1)]))
        #expect(first["object"]?.string == "text_completion")
    }

    @Test func `a completion says nothing before its text`() {
        #expect(text { reply(.completion).writeStart(promptTokens: [1], into: &$0) } == "")
    }

    @Test func `a plain reply has the message, the reason and the usage`() throws {
        var whole = APIReply.Whole()
        whole.text = "Hello"
        whole.reason = .length
        whole.usage = Usage(promptTokens: 2, completionTokens: 3)
        let chat = try JSONValue.read(text { reply(.chat).write(whole, into: &$0) })
        #expect(chat["object"]?.string == "chat.completion")
        #expect(chat["choices"]?.array?[0]["message"]?["content"]?.string == "Hello")
        #expect(chat["choices"]?.array?[0]["finish_reason"]?.string == "length")
        #expect(chat["usage"]?["total_tokens"]?.int == 5)
        let completion = try JSONValue.read(text { reply(.completion).write(whole, into: &$0) })
        #expect(completion["choices"]?.array?[0]["text"]?.string == "Hello")
    }

    @Test func `errors have all four members of OpenAI's object`() throws {
        let error = APIError(.contextTooLong(promptTokens: 9, contextTokens: 8), promptName: "messages")
        #expect(error.status == 400)
        #expect(
            text { error.write(into: &$0) } == #"{"error":{"message":"This model's maximum context length is 8 "#
                + #"tokens. However, your messages resulted in 9 tokens.","type":"invalid_request_error","#
                + #""param":"messages","code":"context_length_exceeded"}}"#)
        #expect(text { APIError.loading.write(into: &$0) }.contains(#""type":"unavailable_error""#))
        #expect(text { APIError.loading.write(into: &$0) }.contains(#""code":503"#))
    }

    private func json(_ event: String) throws -> JSONValue {
        #expect(event.hasPrefix("data: ") && event.hasSuffix("\n\n"))
        return try JSONValue.read(String(event.dropFirst(6)))
    }
}
