import GatewayCore
import TestSupport
import Testing

@testable import Wire

@Suite struct ChatChunkTests {
    static let usual =
        #"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"tiny","#
            + #""choices":[{"index":0,"delta":{"content":" h\u00e9"},"logprobs":null,"finish_reason":null}],"#
            + #""usage":null}"#

    @Test func `a content delta gives its parts where they lie`() throws {
        let bytes = Array(Self.usual.utf8)
        let chunk = try ChatChunk.read(bytes.span)
        #expect(text(chunk.id, bytes) == #""chatcmpl-1""#)
        #expect(text(chunk.created, bytes) == "1700000000")
        #expect(text(chunk.model, bytes) == #""tiny""#)
        #expect(text(chunk.object, bytes) == Self.usual)
        #expect(text(chunk.choice.content.raw, bytes) == #" h\u00e9"#)
        #expect(chunk.choice.content.text(in: bytes.span) == " hé")
        #expect(text(chunk.choice.delta, bytes) == #"{"content":" h\u00e9"}"#)
        #expect(text(chunk.usageValue, bytes) == "null")
        #expect(chunk.hasContent && chunk.choiceCount == 1 && chunk.unfinished == 1 && chunk.finished == 0)
        #expect(chunk.choice.finish == .none && !chunk.choice.hasRole && chunk.usage == nil)
        #expect(!chunk.isError && !chunk.isAborted && !chunk.isUsageOnly)
    }

    @Test(arguments: [
        #"{"content":"x"}"#, #"{"refusal":"x"}"#, #"{"reasoning_content":"x"}"#, #"{"reasoning":"x"}"#,
        #"{"reasoning":"x","reasoning_content":null}"#, #"{"reasoning_content":"x","reasoning":""}"#,
        #"{"tool_calls":[{"index":0}]}"#, #"{"function_call":{"name":"f"}}"#, #"{"content":[{"type":"text"}]}"#,
        #"{"c\u006fntent":"x"}"#, #"{"role":"assistant","content":"x"}"#, #"{"content":"\n"}"#,
    ])
    func `this delta is content`(_ delta: String) throws {
        #expect(try read(#"{"choices":[{"delta":\#(delta)}]}"#).hasContent)
        #expect(try read(#"{"choices":[{"delta":{}},{"delta":\#(delta)}]}"#).hasContent)
        #expect(try read(#"{"choices":[{"message":\#(delta)}]}"#).hasContent)
    }

    @Test(arguments: [
        "{}", "null", "[]", #"{"role":"assistant","content":""}"#, #"{"content":null}"#, #"{"content":[]}"#,
        #"{"tool_calls":[]}"#, #"{"tool_calls":[ ]}"#, #"{"tool_calls":null}"#, #"{"function_call":null}"#,
        #"{"reasoning":"","refusal":null}"#, #"{"x":{"content":"x"}}"#,
    ])
    func `this delta is no content`(_ delta: String) throws {
        #expect(try !read(#"{"choices":[{"delta":\#(delta)}]}"#).hasContent)
    }

    @Test(
        arguments: [
            ("null", .none), (#""""#, .none), (#""stop""#, .stop), (#""length""#, .length),
            (#""tool_calls""#, .toolCalls),
            (#""content_filter""#, .contentFilter), (#""function_call""#, .functionCall), (#""abort""#, .abort),
            (#""eos_token""#, .other), (#""stoq""#, .other), (#""tool_callz""#, .other), ("7", .none),
        ] as [(String, FinishReason)])
    func `finish reasons are told apart`(_ value: String, _ reason: FinishReason) throws {
        let bytes = Array(#"{"choices":[{"index":3,"finish_reason":\#(value),"stop_reason":null}]}"#.utf8)
        let chunk = try ChatChunk.read(bytes.span)
        #expect(chunk.choice.finish == reason)
        #expect(chunk.finished == (reason == .none ? 0 : 1 << 3))
        #expect(chunk.unfinished == (reason == .none ? 1 : 0))
        #expect(chunk.isAborted == (reason == .abort))
    }

    @Test func `each of several choices is counted`() throws {
        let chunk = try read(
            #"{"choices":[{"index":5,"delta":{}},{"index":127,"finish_reason":"stop"},{"index":0,"#
                + #""finish_reason":"abort"},{"index":128,"finish_reason":"stop"},7]}"#
        )
        #expect(chunk.choiceCount == 4)
        #expect(chunk.choice.index == 5)
        #expect(chunk.finished == UInt128(1) << 127 | 1)
        #expect(chunk.unfinished == 1)
        #expect(chunk.isAborted)
    }

    @Test func `the usage chunk carries usage and no choice`() throws {
        let chunk = try read(
            #"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,"#
                + #""prompt_tokens_details":{"cached_tokens":3}}}"#
        )
        #expect(chunk.usage == Usage(promptTokens: 7, completionTokens: 5))
        #expect(chunk.isUsageOnly)
        #expect(try !read(#"{"choices":[{}],"usage":{"prompt_tokens":1}}"#).isUsageOnly)
        #expect(try !read(#"{"choices":[],"usage":null}"#).isUsageOnly)
    }

    @Test func `absurd token counts become harmless`() throws {
        let usage = try read(
            #"{"usage":{"prompt_tokens":-5,"completion_tokens":99999999999999999999,"total_tokens":"many"}}"#
        ).usage
        #expect(usage == Usage(promptTokens: 0, completionTokens: 0))
        #expect(try read(#"{"usage":{"completion_tokens":9999999999}}"#).usage?.completionTokens == Int(Int32.max))
    }

    @Test func `errors inside a stream are seen in either form`() throws {
        #expect(try read(#"{"error":{"message":"x"}}"#).isError)
        #expect(try read(#"{"error":"x"}"#).isError)
        #expect(try read(#"{"object":"error","message":"x"}"#).isError)
        #expect(try !read(#"{"error":null,"choices":[]}"#).isError)
        #expect(try !read(#"{"object":"errors"}"#).isError)
        let bytes = Array(#"{"error": {"code":5} }"#.utf8)
        #expect(try text(ChatChunk.read(bytes.span).error, bytes) == #"{"code":5}"#)
    }

    @Test func `token ids are found where vLLM and our replicas put them`() throws {
        let bytes = Array(
            #"{"prompt_token_ids":[1,2],"choices":[{"token_ids":[3],"text":"x","prompt_token_ids":[4]}]}"#.utf8)
        let chunk = try ChatChunk.read(bytes.span)
        #expect(text(chunk.promptTokenIDs, bytes) == "[1,2]")
        #expect(text(chunk.choice.tokenIDs, bytes) == "[3]")
        #expect(text(chunk.choice.promptTokenIDs, bytes) == "[4]")
        #expect(text(chunk.choice.text.raw, bytes) == "x")
        let none = try read(#"{"prompt_token_ids":null,"choices":[{"token_ids":[]}]}"#)
        #expect(none.promptTokenIDs.isEmpty && none.choice.tokenIDs.isEmpty)
    }

    @Test(arguments: [
        "", "{", "[]", "null", "7", "<html>", #"{"choices":[{"delta":{"content":"a}]}"#,
        #"{"choices":[{"delta":{"content":"a"}]}"#,
        #"{"choices":[}"#, #"{"usage":{"prompt_tokens":}}"#, #"{"a":1} {"b":2}"#, "{\"a\":\"\u{1}\"}",
        #"{"choices":[{"index":01}]}"#,
    ])
    func `a malformed event is refused`(_ text: String) {
        #expect(throws: JSONProblem.self) { try read(text) }
    }

    @Test func `an event cut short anywhere is refused`() {
        let bytes = Array(Self.usual.utf8)
        for length in 0..<bytes.count {
            let part = Array(bytes[..<length])
            #expect(throws: JSONProblem.self) { try ChatChunk.read(part.span) }
        }
    }

    @Test func `half a surrogate pair, as some engines send it, is no reason to fail`() throws {
        #expect(try read(#"{"choices":[{"delta":{"content":"\ud83d"}}]}"#).hasContent)
    }

    @Test func `members of unexpected types are passed over`() throws {
        let chunk = try read(
            #"{"id":7,"model":null,"choices":{"a":1},"usage":5,"created":"now","object":{}}"#)
        #expect(chunk.choiceCount == 0 && chunk.usage == nil && !chunk.isError)
        #expect(try !read(#"{"choices":[{"text":5,"index":"a","delta":{"content":5,"role":5}}]}"#).hasContent)
    }

    private func read(_ text: String) throws(JSONProblem) -> ChatChunk { try ChatChunk.read(Array(text.utf8).span) }
}

@Suite struct ChatRewriteTests {
    private func rewritten(_ text: String, _ rewrite: ChatRewrite) throws -> String {
        let bytes = Array(text.utf8)
        var writer = ByteWriter()
        rewrite.write(bytes.span, of: try ChatChunk.read(bytes.span), into: &writer)
        return writer.bytes.text
    }

    private var identity: ChatRewrite {
        var rewrite = ChatRewrite()
        rewrite.id = Array(#""ours""#.utf8)
        rewrite.created = Array("5".utf8)
        rewrite.model = Array(#""public""#.utf8)
        return rewrite
    }

    @Test func `id, time and model change and all other bytes stay`() throws {
        #expect(
            try rewritten(ChatChunkTests.usual, identity)
                == ChatChunkTests.usual.replacing("\"chatcmpl-1\"", with: "\"ours\"").replacing("1700000000", with: "5")
                .replacing("\"tiny\"", with: "\"public\""))
        #expect(
            try rewritten(#"{ "model":"a", "x":{"id":1,"model":2} ,"created":null, "id" : "b" }"#, identity)
                == #"{ "model":"public", "x":{"id":1,"model":2} ,"created":5, "id" : "ours" }"#)
    }

    @Test func `what a replica left out is added`() throws {
        #expect(
            try rewritten(#"{"choices":[]}"#, identity) == #"{"id":"ours","created":5,"model":"public","choices":[]}"#)
        #expect(try JSONValue.read(rewritten("{}", identity), refusingDuplicates: true)["model"]?.string == "public")
        #expect(try rewritten("{ }", identity) == #"{"id":"ours","created":5,"model":"public" }"#)
        #expect(try rewritten(#"{"id":"x"}"#, identity) == #"{"created":5,"model":"public","id":"ours"}"#)
    }

    @Test func `without changes the bytes are the same`() throws {
        #expect(try rewritten(ChatChunkTests.usual, ChatRewrite()) == ChatChunkTests.usual)
    }

    @Test func `usage is hidden or summed up, its details stay`() throws {
        let text =
            #"{"usage":{"total_tokens":3,"prompt_tokens":1,"d":{"cached_tokens":1},"completion_tokens":2},"#
                + #""choices":[]}"#
        var rewrite = ChatRewrite()
        rewrite.usage = .null
        #expect(try rewritten(text, rewrite) == #"{"usage":null,"choices":[]}"#)
        #expect(try rewritten(#"{"choices":[]}"#, rewrite) == #"{"choices":[]}"#)
        rewrite.usage = .counts(Usage(promptTokens: 10, completionTokens: 20))
        #expect(
            try rewritten(text, rewrite)
                == #"{"usage":{"total_tokens":30,"prompt_tokens":10,"d":{"cached_tokens":1},"#
                + #""completion_tokens":20},"choices":[]}"#
        )
        #expect(try rewritten(#"{"usage":null}"#, rewrite) == #"{"usage":null}"#)
    }

    @Test func `a second role delta and ids nobody asked for are left out`() throws {
        var rewrite = ChatRewrite()
        rewrite.hidesRole = true
        rewrite.hidesTokenIDs = true
        #expect(
            try rewritten(
                #"{"choices":[{"token_ids":[1],"delta":{"role":"assistant","content":"a"}}],"prompt_token_ids":[1,2]}"#,
                rewrite)
                == #"{"choices":[{"delta":{"content":"a"}}]}"#)
    }

    @Test func `members are left out wherever they stand, with one comma each`() throws {
        var rewrite = ChatRewrite()
        rewrite.hidesTokenIDs = true
        let cases = [
            (#"{"choices":[{"token_ids":[1],"prompt_token_ids":[2]}]}"#, #"{"choices":[{}]}"#),
            (#"{"choices":[{"token_ids":[1],"prompt_token_ids":[2],"index":0}]}"#, #"{"choices":[{"index":0}]}"#),
            (#"{"choices":[{"index":0 , "token_ids" : [ 1 ] }]}"#, #"{"choices":[{"index":0  }]}"#),
            (#"{ "prompt_token_ids" : [1] , "choices":[]}"#, #"{  "choices":[]}"#),
            (#"{"choices":[{"a":1,"token_ids":[1],"b":2}],"prompt_token_ids":[3]}"#, #"{"choices":[{"a":1,"b":2}]}"#),
        ]
        for (text, expected) in cases { #expect(try rewritten(text, rewrite) == expected) }
    }

    @Test func `what the client has had of a chunk's text is cut off it`() throws {
        var rewrite = ChatRewrite()
        rewrite.contentCut = 6
        #expect(
            try rewritten(#"{"choices":[{"delta":{"content":"\u00fcber"}}]}"#, rewrite)
                == #"{"choices":[{"delta":{"content":"ber"}}]}"#)
        #expect(try rewritten(#"{"choices":[{"text":"abcdefg"}]}"#, rewrite) == #"{"choices":[{"text":"g"}]}"#)
        #expect(try rewritten(#"{"choices":[{"text":"abc"}]}"#, rewrite) == #"{"choices":[{"text":""}]}"#)
    }

    @Test func `a rewritten event is one event`() throws {
        let bytes = Array(ChatChunkTests.usual.utf8)
        var writer = ByteWriter()
        identity.writeEvent(bytes.span, of: try ChatChunk.read(bytes.span), into: &writer)
        let events = SSEScannerTests.events([writer.withUnsafeBytes { Array($0) }])
        #expect(events == [try rewritten(ChatChunkTests.usual, identity)])
    }

    @Test func `a rewritten chunk reads as the same chunk with another identity`() throws {
        var generator = SplitMix64(seed: 41)
        for _ in 0..<1_000 {
            var members = [
                #""id":"i""#, #""created":1"#, #""model":"m""#, #""object":"chat.completion.chunk""#, #""x":{"id":[]}"#,
                #""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#,
                #""choices":[{"index":0,"delta":{"role":"assistant","content":"é"},"token_ids":[1]}]"#,
            ].shuffled(using: &generator)
            members.removeLast(Int.random(in: 0...5, using: &generator))
            let text = "{" + members.joined(separator: [",", " , "].randomElement(using: &generator)!) + "}"
            let result = Array(try rewritten(text, identity).utf8)
            let chunk = try ChatChunk.read(result.span)
            #expect(WireTests.text(chunk.id, result) == "\"ours\"")
            #expect(WireTests.text(chunk.created, result) == "5")
            #expect(WireTests.text(chunk.model, result) == "\"public\"")
            let before = try ChatChunk.read(Array(text.utf8).span)
            #expect(chunk.hasContent == before.hasContent && chunk.usage == before.usage)
            let tree = try JSONValue.read(result.span, refusingDuplicates: true)
            #expect(tree["x"] == (try JSONValue.read(text))["x"])
        }
    }
}
