import GatewayCore
import Testing

@testable import Wire

@Suite struct ChatReplyTests {
    @Test func `a whole chat reply gives its message, usage and completeness`() throws {
        let bytes = Array(
            (#"{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"#
                + #""role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"#
                + #""completion_tokens":1,"total_tokens":4}}"#).utf8)
        let reply = try ChatChunk.read(bytes.span)
        #expect(reply.isCompleteReply && !reply.isError)
        #expect(text(reply.choice.delta, bytes) == #"{"role":"assistant","content":"Hi"}"#)
        #expect(reply.usage == Usage(promptTokens: 3, completionTokens: 1))
        var rewrite = ChatRewrite()
        rewrite.model = BodyEdits.quoted("public")
        var writer = ByteWriter()
        rewrite.write(bytes.span, of: reply, into: &writer)
        #expect(writer.bytes.text == String(decoding: bytes, as: UTF8.self).replacing("\"m\"", with: "\"public\""))
    }

    @Test(arguments: [
        (#"{"choices":[{"finish_reason":"stop","message":{"content":"a"}}]}"#, true),
        (#"{"choices":[{"finish_reason":"stop","text":"a"}]}"#, true),
        (#"{"choices":[{"finish_reason":"tool_calls","message":{"content":null,"tool_calls":[{}]}}]}"#, true),
        (#"{"choices":[{"finish_reason":"stop","message":{"content":""}}]}"#, true),
        (#"{"choices":[{"finish_reason":null,"message":{"content":"a"}}]}"#, false),
        (#"{"choices":[{"finish_reason":"stop","text":"a"},{"text":"b"}]}"#, false),
        (#"{"choices":[{"finish_reason":"abort","text":"a"}]}"#, false),
        (#"{"choices":[]}"#, false), ("{}", false),
        (#"{"object":"list","data":[{"embedding":[0.1]}]}"#, true),
        (#"{"object":"list","data":[]}"#, true),
        (#"{"error":{"message":"x"},"choices":[{"finish_reason":"stop","text":"a"}]}"#, false),
        (#"{"object":"error","message":"x"}"#, false),
    ])
    func `complete means a finish reason on every choice`(_ body: String, _ isComplete: Bool) throws {
        let reply = try read(body)
        #expect(reply.isCompleteReply == isComplete)
    }

    @Test func `a reply that is no JSON object is refused`() {
        for text in ["", "<html></html>", "[]", "null", "{\"choices\":[", "OK"] {
            #expect(throws: JSONProblem.self) { try read(text) }
        }
    }

    private func read(_ text: String) throws(JSONProblem) -> ChatChunk { try ChatChunk.read(Array(text.utf8).span) }
}

@Suite struct UpstreamErrorTests {
    private func normalise(_ status: Int, _ body: String) -> UpstreamError {
        UpstreamError.normalise(status: status, body: Array(body.utf8).span)
    }

    @Test func `vLLM's integer codes and class names become OpenAI's words`() {
        let error = normalise(
            404,
            #"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}"#)
        #expect(
            error
                == UpstreamError(
                    message: "The model `x` does not exist.", type: "invalid_request_error", param: "model",
                    code: "model_not_found"))
    }

    @Test(arguments: [
        #"{"error":{"message":"This model's maximum context length is 1024 tokens."#
            + #" However, you requested 2000 tokens.","type":"BadRequestError","param":null,"code":400}}"#,
        #"{"object":"error","message":"This model's maximum context length is 1024 tokens.","#
            + #""type":"BadRequestError","code":400}"#,
        #"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","#
            + #""type":"exceed_context_size_error","n_ctx":512}}"#,
        #"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","#
            + #""code":"context_length_exceeded"}}"#,
    ])
    func `a prompt that is too long is recognised from every engine`(_ body: String) {
        let error = normalise(400, body)
        #expect(error.code == "context_length_exceeded")
        #expect(error.param == "messages")
        #expect(error.type == "invalid_request_error")
    }

    @Test func `FastAPI's detail is understood`() {
        #expect(normalise(400, #"{"detail":"Bad thing"}"#).message == "Bad thing")
        let error = normalise(
            422, #"{"detail":[{"loc":["body","messages",0,"role"],"msg":"Field required","type":"missing"}]}"#)
        #expect(error.message == "Field required")
        #expect(error.param == "messages[0].role")
    }

    @Test(arguments: [
        "", "<html><body>nginx</body></html>", "Bad Request", "{", "null", "[]", #"{"error":{}}"#,
        #"{"error":{"message":""}}"#,
        #"{"error":"<b>no</b>"}"#, #"{"error":{"message":"connect to 10.0.0.12:8000 failed"}}"#,
        #"{"error":{"message":"see http://replica-1:8000/x"}}"#, #"{"error":{"message":"replica-1:8000 said no"}}"#,
        #"{"error":{"message":"Traceback (most recent call last)"}}"#, #"{"error":{"message":"at /home/llm/server"}}"#,
        #"{"error":{"message":"<object at 0x7f12>"}}"#, #"{"error":{"message":"object at 0x7f12"}}"#,
        #"{"error":{"message":"failed in engine.py line 7"}}"#, #"{"error":{"message":"[::1] refused"}}"#,
    ])
    func `garbage and internals are answered with a general sentence`(_ body: String) {
        let error = normalise(400, body)
        #expect(
            error
                == UpstreamError(
                    message: "The model refused the request.", type: "invalid_request_error", param: nil, code: nil))
    }

    @Test(arguments: [
        "0.25 is too low", "use version 1.2.3", "top_p must be in (0, 1], got 2.0.", "at most 4096 tokens: 5000 given",
    ])
    func `numbers in a message are no addresses`(_ message: String) {
        #expect(normalise(400, #"{"error":{"message":"\#(message)"}}"#).message == message)
    }

    @Test func `what a replica says about its own failures or its credential stays inside`() {
        for status in [401, 403, 500, 502, 503] {
            let error = normalise(status, #"{"error":{"message":"secret","type":"x","code":"y"}}"#)
            #expect(error.type == "server_error")
            #expect(!error.message.contains("secret"))
            #expect(error.code == (status == 503 ? "overloaded" : nil))
        }
        #expect(normalise(429, "").code == "rate_limit_exceeded")
    }

    @Test(arguments: [
        (#"{"error":{"message":"m","type":"BadRequestError","code":400}}"#, 400),
        (#"{"object":"error","message":"m","code":422}"#, 422),
        (#"{"error":{"message":"m","code":413}}"#, 413),
        (#"{"error":{"message":"m","code":"content_filter"}}"#, 400),
        (#"{"error":{"message":"m","code":"context_length_exceeded","type":"x"}}"#, 400),
        (#"{"error":{"message":"m","type":"exceed_context_size_error"}}"#, 400),
        (#"{"error":{"message":"engine died","type":"server_error","code":500}}"#, nil),
        (#"{"error":{"message":"m","code":429}}"#, nil), (#"{"error":{"message":"m","code":404}}"#, nil),
        (#"{"error":{"message":"content_filter"}}"#, nil), (#"{"error":"no"}"#, nil), ("x", nil), ("", nil),
    ] as [(String, Int?)])
    func `an error inside a 200 is the request's fault only if it says so`(_ text: String, _ status: Int?) {
        #expect(UpstreamError.statusOfRefusal(inBand: Array(text.utf8).span) == status)
    }
}

@Suite struct OpenAIWriterTests {
    @Test func `an error answer has all four keys, absent ones null`() throws {
        var writer = ByteWriter()
        writer.append(openAIError: GatewayError.modelNotFound(model: "a\"b").answer)
        #expect(
            writer.bytes.text
                == #"{"error":{"message":"The model `a\"b` does not exist.","type":"invalid_request_error","#
                + #""param":"model","code":"model_not_found"}}"#
        )
        writer.removeAll()
        let nothing: [UInt8] = []
        writer.append(openAIError: UpstreamError.normalise(status: 400, body: nothing.span))
        #expect(
            writer.bytes.text
                == #"{"error":{"message":"The model refused the request.","type":"invalid_request_error","#
                + #""param":null,"code":null}}"#
        )
    }

    @Test func `an error inside a stream is one event that readers see as an error`() throws {
        var writer = ByteWriter()
        writer.append(errorEvent: GatewayError.upstreamBroke(.cut).answer)
        writer.append(errorEvent: UpstreamError.generic(status: 500))
        let events = SSEScannerTests.events([writer.withUnsafeBytes { Array($0) }])
        #expect(events.count == 2)
        for event in events {
            let data = Array(event!.utf8)
            #expect(try ChatChunk.read(data.span).isError)
        }
    }

    @Test func `models are listed as OpenAI lists them`() throws {
        var writer = ByteWriter()
        let models = [
            ListedModel(id: "tiny", created: WallTime(secondsSinceEpoch: 5), owner: "weir"),
            ListedModel(id: "b\"", created: WallTime(secondsSinceEpoch: 6), owner: "x"),
        ]
        writer.append(modelList: models)
        #expect(
            writer.bytes.text
                == #"{"object":"list","data":[{"id":"tiny","object":"model","created":5,"owned_by":"weir"},{"#
                + #""id":"b\"","object":"model","created":6,"owned_by":"x"}]}"#
        )
        writer.removeAll()
        writer.append(modelList: [])
        #expect(writer.bytes.text == #"{"object":"list","data":[]}"#)
    }

    @Test func `events of our own read like a replica's`() throws {
        let chat = ChatStreamWriter(
            kind: .chat, id: Array(#""i""#.utf8), created: Array("7".utf8), model: Array(#""m""#.utf8))
        var writer = ByteWriter()
        chat.appendRole(into: &writer)
        chat.append(content: Array(#"a\n"#.utf8).span, into: &writer)
        chat.append(finish: .length, into: &writer)
        chat.append(usage: Usage(promptTokens: 1, completionTokens: 2), into: &writer)
        ChatStreamWriter.appendDone(into: &writer)
        let events = SSEScannerTests.events([writer.withUnsafeBytes { Array($0) }]).map { Array($0!.utf8) }
        #expect(events.count == 5)
        let chunks = try events.prefix(4).map { try ChatChunk.read($0.span) }
        for (chunk, event) in zip(chunks, events) {
            #expect(text(chunk.id, event) == #""i""#)
            #expect(text(chunk.created, event) == "7")
            #expect(text(chunk.model, event) == #""m""#)
        }
        #expect(chunks[0].choice.hasRole && !chunks[0].hasContent)
        #expect(text(chunks[1].choice.content.raw, events[1]) == #"a\n"#)
        #expect(chunks[2].choice.finish == .length && !chunks[2].hasContent)
        #expect(chunks[3].isUsageOnly && chunks[3].usage == Usage(promptTokens: 1, completionTokens: 2))
        #expect(events[4] == Array("[DONE]".utf8))
    }

    @Test func `a completion's own events have text instead of deltas`() throws {
        let completion = ChatStreamWriter(
            kind: .completion, id: Array("1".utf8), created: Array("7".utf8), model: Array("2".utf8))
        var writer = ByteWriter()
        completion.appendRole(into: &writer)
        #expect(writer.count == 0)
        completion.append(content: Array("x".utf8).span, into: &writer)
        completion.append(finish: .toolCalls, into: &writer)
        let events = SSEScannerTests.events([writer.withUnsafeBytes { Array($0) }]).map { Array($0!.utf8) }
        let chunks = try events.map { try ChatChunk.read($0.span) }
        #expect(chunks.count == 2)
        #expect(text(chunks[0].choice.text.raw, events[0]) == "x")
        #expect(chunks[1].choice.finish == .toolCalls && !chunks[1].hasContent)
    }

    @Test func `every finish reason that OpenAI knows is written as it is read`() throws {
        for reason in [FinishReason.stop, .length, .toolCalls, .contentFilter, .functionCall] {
            let chat = ChatStreamWriter(kind: .chat, id: [0x31], created: [0x31], model: [0x31])
            var writer = ByteWriter()
            chat.append(finish: reason, into: &writer)
            let event = SSEScannerTests.events([writer.withUnsafeBytes { Array($0) }]).map { Array($0!.utf8) }[0]
            #expect(try ChatChunk.read(event.span).choice.finish == reason)
        }
    }
}
