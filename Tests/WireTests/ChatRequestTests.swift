import GatewayCore
import Testing

@testable import Wire

@Suite struct ChatRequestTests {
    @Test func `a usual chat request is read in one pass`() throws {
        let body = Array(
            #"""
            {"model":"tiny","messages":[{"role":"system","content":"Be kind."},
             {"content":[{"type":"text"}],"role":"user"}],
             "stream":true,"max_tokens":64,"temperature":0.7,"n":2,"stop":["\n\n","END"],"user":"u-1","x":{"model":1}}
            """#.utf8)
        let request = try ChatRequest.read(body.span, kind: .chat)
        #expect(request.modelName(in: body.span) == "tiny")
        #expect(!request.model.hasEscapes)
        #expect(request.messages.count == 2)
        #expect(request.messages[0].role == .system)
        #expect(text(request.messages[0].content, body) == #""Be kind.""#)
        #expect(text(request.messages[0].range, body) == #"{"role":"system","content":"Be kind."}"#)
        #expect(request.messages[1].role == .user)
        #expect(text(request.messages[1].content, body) == #"[{"type":"text"}]"#)
        #expect(request.isStream)
        #expect(request.maxTokensInForce == 64)
        #expect(request.choices == 2)
        #expect(request.stops.map { $0.text(in: body.span) } == ["\n\n", "END"])
        #expect(request.user?.text(in: body.span) == "u-1")
        #expect(request.sessionID == nil)
        #expect(!request.includesUsage && !request.hasGrammar && !request.hasPenalties && !request.hasLogprobs)
        let start = request.place(of: .maxTokens).map { Int($0.start) } ?? 0
        #expect(body[start...].starts(with: #""max_tokens""#.utf8))
        #expect(request.place(of: .maxTokens).map { text($0.value, body) } == "64")
        #expect(request.place(of: .temperature).map { text($0.value, body) } == "0.7")
        #expect(request.place(of: .seed) == nil)
        #expect(text(request.object, body) == String(decoding: body, as: UTF8.self))
    }

    @Test func `every member that we read is found under its name`() throws {
        for member in ChatMember.allCases where member != .model {
            let body = Array(#"{"model":"m","\#(member.name)":null}"#.utf8)
            let request = try ChatRequest.read(body.span, kind: .completion)
            #expect(request.has(member), "\(member)")
            #expect(request.place(of: member).map { text($0.value, body) } == "null")
        }
    }

    @Test func `a name with escapes is the same member`() throws {
        let body = Array(#"{"mo\u0064el":"a\u0062","messages":[{"r\u006fle":"us\u0065r"}]}"#.utf8)
        let request = try ChatRequest.read(body.span, kind: .chat)
        #expect(request.modelName(in: body.span) == "ab")
        #expect(request.model.hasEscapes)
        #expect(request.messages[0].role == .user)
    }

    @Test(arguments: [
        (#""model":"a","model":"b""#, "model"), (#""model":"a","\u006dodel":"b""#, "model"),
        (#""model":"a","stream":true,"stream":false"#, "stream"), (#""model":"a","n":null,"n":1"#, "n"),
        (#""model":"a","stream_options":{"include_usage":true,"include_usage":false}"#, "stream_options.include_usage"),
        (
            #""model":"a","stream_options":{"include_usage":null,"includ\u0065_usage":true}"#,
            "stream_options.include_usage"
        ),
        (#""model":"a","stream_options":{},"stream_options":{}"#, "stream_options"),
        (#""model":"a","messages":[{"role":"user"},{"role":"user","role":"tool"}]"#, "messages[1].role"),
        (#""model":"a","messages":[{"role":"user","content":"a","content":null}]"#, "messages[0].content"),
        (#""model":"a","max_tokens":1,"max_tokens":1"#, "max_tokens"),
        (#""model":"a","session_id":"a","session_id":"b""#, "session_id"),
        (#""model":"a","messages":[{"role":"user"}],"messages":[{"role":"user"}]"#, "messages"),
    ])
    func `a member that we read may not occur twice`(_ members: String, _ param: String) {
        let problem = self.problem("{\(members)}", .chat)
        #expect(problem?.param == param)
        #expect(problem?.message == "Duplicate parameter: '\(param)' occurs more than once.")
    }

    @Test func `members that we do not read may occur twice`() throws {
        let body = Array(#"{"model":"m","x":1,"x":2,"guided_json":{},"guided_regex":"a"}"#.utf8)
        #expect(throws: Never.self) { try ChatRequest.read(body.span, kind: .completion) }
    }

    @Test(
        arguments: [
            ("", nil, "could not parse"), ("{", nil, "could not parse"), ("[]", nil, "must be an object"),
            ("[1,]", nil, "could not parse"), ("\"a\"", nil, "must be an object"), ("{} {}", nil, "could not parse"),
            ("{}", "model", "Missing required parameter: 'model'"),
            (#"{"model":"m"}"#, "messages", "Missing required parameter: 'messages'"),
            (#"{"model":""}"#, "model", "empty string"),
            (#"{"model":7}"#, "model", "expected a string, but got an integer"),
            (#"{"model":null}"#, "model", "but got null"), (#"{"model":1.5}"#, "model", "but got a decimal"),
            (#"{"model":["m"]}"#, "model", "but got an array"), (#"{"model":{}}"#, "model", "but got an object"),
            (#"{"model":"m","messages":[]}"#, "messages", "empty array"),
            (#"{"model":"m","messages":"hi"}"#, "messages", "expected an array of objects, but got a string"),
            (#"{"model":"m","messages":[1]}"#, "messages[0]", "expected an object, but got an integer"),
            (#"{"model":"m","messages":[{"role":"user"},{"content":"x"}]}"#, "messages[1].role", "Missing"),
            (#"{"model":"m","messages":[{"role":1}]}"#, "messages[0].role", "expected a string"),
            (#"{"model":"m","messages":[{"role":""}]}"#, "messages[0].role", "empty string"),
            (#"{"model":"m","stream":"true"}"#, "stream", "expected a boolean, but got a string"),
            (#"{"model":"m","stream":1}"#, "stream", "expected a boolean"),
            (#"{"model":"m","stream_options":true}"#, "stream_options", "expected an object, but got a boolean"),
            (
                #"{"model":"m","stream_options":{"include_usage":1}}"#, "stream_options.include_usage",
                "expected a boolean"
            ),
            (#"{"model":"m","max_tokens":0}"#, "max_tokens", "Expected a value >= 1"),
            (#"{"model":"m","max_tokens":-1}"#, "max_tokens", "below minimum"),
            (#"{"model":"m","max_tokens":1.0}"#, "max_tokens", "expected an integer, but got a decimal"),
            (#"{"model":"m","max_tokens":1e3}"#, "max_tokens", "expected an integer, but got a decimal"),
            (#"{"model":"m","max_tokens":"5"}"#, "max_tokens", "but got a string"),
            (#"{"model":"m","max_tokens":99999999999999999999}"#, "max_tokens", "above maximum"),
            (#"{"model":"m","max_tokens":-99999999999999999999}"#, "max_tokens", "below minimum"),
            (#"{"model":"m","max_completion_tokens":0}"#, "max_completion_tokens", "below minimum"),
            (#"{"model":"m","n":0}"#, "n", "Expected a value >= 1"), (#"{"model":"m","n":129}"#, "n", "<= 128"),
            (#"{"model":"m","session_id":5}"#, "session_id", "expected a string"),
            (#"{"model":"m","stop":5}"#, "stop", "expected a string or an array of strings"),
            (#"{"model":"m","stop":["a",5]}"#, "stop[1]", "expected a string, but got an integer"),
            (#"{"model":"m","echo":"no"}"#, "echo", "expected a boolean"),
            (#"{"model":"m","store":[]}"#, "store", "expected a boolean, but got an array"),
        ] as [(String, String?, String)])
    func `a body that is not what the API accepts is refused by name`(_ body: String, _ param: String?, _ words: String)
    {
        let problem = self.problem(body, .chat)
        #expect(problem != nil)
        #expect(problem?.param == param)
        #expect(problem?.message.contains(words) == true, "\(problem?.message ?? "accepted")")
        #expect(problem?.error.answer.status == 400)
        #expect(problem?.error.answer.type == "invalid_request_error")
    }

    @Test func `other endpoints ask for other members`() throws {
        #expect(problem(#"{"model":"m"}"#, .embedding)?.message == "Missing required parameter: 'input'.")
        #expect(problem(#"{"model":"m","input":null}"#, .embedding)?.param == "input")
        #expect(problem(#"{"model":"m","input":[]}"#, .embedding)?.message.contains("empty array") == true)
        #expect(problem(#"{"model":"m","input":{}}"#, .embedding)?.message.contains("a string or an array") == true)
        #expect(problem(#"{"model":"m","prompt":true}"#, .completion)?.param == "prompt")
        #expect(problem(#"{"model":"m","max_tokens":0}"#, .completion) == nil)
        #expect(problem(#"{"model":"m","messages":7}"#, .completion) == nil)
    }

    @Test(
        arguments: [
            (#""a""#, .text, 1), (#"["a","b"]"#, .texts, 2), ("[1,2,3]", .tokens, 3), ("[[1],[2,3]]", .tokenLists, 2),
            (#"["a",1]"#, .other, 2), ("[null]", .other, 1), ("[1,\"a\",1]", .other, 3),
        ] as [(String, ChatRequest.PromptKind, Int)])
    func `a prompt is text, texts, tokens or lists of tokens`(
        _ value: String, _ kind: ChatRequest.PromptKind, _ count: Int
    ) throws {
        let completion = Array(#"{"model":"m","prompt":\#(value)}"#.utf8)
        let embedding = Array(#"{"model":"m","input":\#(value)}"#.utf8)
        for request in [
            try ChatRequest.read(completion.span, kind: .completion),
            try ChatRequest.read(embedding.span, kind: .embedding),
        ] {
            #expect(request.promptKind == kind)
            #expect(request.promptCount == count)
        }
    }

    @Test func `null means absent, for members that may be absent`() throws {
        let names = [
            "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "session_id", "stop", "user",
            "echo",
            "store", "min_tokens", "response_format", "tool_choice", "function_call", "logprobs", "top_logprobs",
            "presence_penalty", "frequency_penalty", "repetition_penalty", "guided_json", "tools", "functions",
        ]
        let members = names.map { #""\#($0)":null"# }.joined(separator: ",")
        let body = Array(#"{"model":"m","messages":[{"role":"user"}],\#(members)}"#.utf8)
        let request = try ChatRequest.read(body.span, kind: .chat)
        #expect(!request.isStream && !request.includesUsage && !request.echo && request.stores == nil)
        #expect(request.maxTokensInForce == nil && request.choices == 1 && request.minTokens == 0)
        #expect(request.sessionID == nil && request.user == nil && request.stops.isEmpty)
        #expect(!request.hasGrammar && !request.hasPenalties && !request.hasLogprobs && !request.hasTools)
    }

    @Test(arguments: [
        #""response_format":{"type":"json_object"}"#, #""response_format":{"type":"json_schema","json_schema":{}}"#,
        #""response_format":{}"#, #""response_format":{"type":1}"#, #""tool_choice":"required""#,
        #""tool_choice":{"type":"function"}"#, #""function_call":{"name":"f"}"#, #""guided_json":{}"#,
        #""guided_choice":["a"]"#, #""guided_whatever_comes":1"#, #""grammar":"root ::= a""#, #""json_schema":{}"#,
        #""regex":"a""#, #""ebnf":"a""#, #""structured_outputs":{"regex":"a"}"#, #""response_format":"json""#,
    ])
    func `what binds the output is a grammar`(_ member: String) throws {
        #expect(try read(#"{"model":"m",\#(member)}"#).hasGrammar)
    }

    @Test(arguments: [
        #""response_format":{"type":"text"}"#, #""response_format":{"t\u0079pe":"text"}"#, #""tool_choice":"auto""#,
        #""tool_choice":"none""#, #""function_call":"auto""#, #""tools":[{"type":"function"}]"#, #""grammar":null"#,
    ])
    func `what leaves the model its words is no grammar`(_ member: String) throws {
        #expect(try !read(#"{"model":"m",\#(member)}"#).hasGrammar)
    }

    @Test func `penalties and logprobs count only where they do something`() throws {
        #expect(
            try !read(#"{"model":"m","presence_penalty":0,"frequency_penalty":0.0,"repetition_penalty":1.0}"#)
                .hasPenalties)
        #expect(try read(#"{"model":"m","presence_penalty":0.1}"#).hasPenalties)
        #expect(try read(#"{"model":"m","frequency_penalty":-1}"#).hasPenalties)
        #expect(try read(#"{"model":"m","repetition_penalty":1.1}"#).hasPenalties)
        #expect(try read(#"{"model":"m","repetition_penalty":0}"#).hasPenalties)
        #expect(try !read(#"{"model":"m","logprobs":false,"top_logprobs":0}"#).hasLogprobs)
        #expect(try read(#"{"model":"m","logprobs":true}"#).hasLogprobs)
        #expect(try read(#"{"model":"m","logprobs":5}"#).hasLogprobs)
        #expect(try read(#"{"model":"m","top_logprobs":1}"#).hasLogprobs)
        #expect(try read(#"{"model":"m","tools":[{}]}"#).hasTools)
        #expect(try !read(#"{"model":"m","tools":[]}"#).hasTools)
        #expect(try read(#"{"model":"m","min_tokens":3}"#).minTokens == 3)
    }

    @Test func `the newer limit goes first`() throws {
        #expect(try read(#"{"model":"m","max_tokens":5,"max_completion_tokens":7}"#).maxTokensInForce == 7)
        #expect(try read(#"{"model":"m","max_tokens":5,"max_completion_tokens":null}"#).maxTokensInForce == 5)
        #expect(try read(#"{"model":"m","max_completion_tokens":7}"#).maxTokensInForce == 7)
    }

    @Test func `any number of messages keeps its order and ranges`() throws {
        for count in [1, 7, 8, 9, 30] {
            let roles = ["system", "developer", "user", "assistant", "tool", "function", "critic"]
            let messages = (0..<count).map { #"{"role":"\#(roles[$0 % 7])","content":"\#($0)"}"# }
            let body = Array(#"{"model":"m","messages":[\#(messages.joined(separator: " , "))]}"#.utf8)
            let list = try ChatRequest.read(body.span, kind: .chat).messages
            #expect(list.count == count)
            let expected: [ChatMessage.Role] = [.system, .developer, .user, .assistant, .tool, .function, .other]
            for index in 0..<count {
                #expect(text(list[index].range, body) == messages[index])
                #expect(text(list[index].content, body) == "\"\(index)\"")
                #expect(list[index].role == expected[index % 7])
            }
            #expect(list.last == list[count - 1])
        }
    }

    @Test func `cutting or corrupting a body never gets it read as another`() throws {
        let body = Array(
            #"{"model":"m","messages":[{"role":"user","content":"é"}],"stream_options":{"include_usage":true}}"#.utf8)
        for length in 0..<body.count {
            #expect(problem(String(decoding: body[..<length], as: UTF8.self), .chat) != nil)
        }
        for index in body.indices {
            var bad = body
            bad[index] = 0xFF
            let copy = bad
            #expect(throws: BodyProblem.self) { try ChatRequest.read(copy.span, kind: .chat) }
        }
    }

    private func read(_ text: String) throws(BodyProblem) -> ChatRequest {
        try ChatRequest.read(Array(text.utf8).span, kind: .completion)
    }

    private func problem(_ text: String, _ kind: ChatRequest.Kind) -> BodyProblem? {
        do throws(BodyProblem) {
            _ = try ChatRequest.read(Array(text.utf8).span, kind: kind)
            return nil
        } catch {
            return error
        }
    }

    @Test func `a request that is read into an old one says nothing of it`() throws {
        let shared =
            #""model":"much","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"user":"u","n":2,"#
            + #""max_completion_tokens":6,"min_tokens":2,"session_id":"s","stop":["a"],"store":true,"echo":true,"#
            + #""continue_final_message":true,"return_token_ids":true,"response_format":{"type":"json_object"},"#
            + #""presence_penalty":1,"logprobs":true,"tools":[{"a":1}]"#
        let messages = Array(repeating: #"{"role":"user","content":"c"}"#, count: 10).joined(separator: ",")
        let old: [(ChatRequest.Kind, String)] = [
            (.chat, #"{"messages":[\#(messages)],\#(shared)}"#), (.completion, #"{"prompt":["p","q"],\#(shared)}"#),
        ]
        let new: [(ChatRequest.Kind, String)] = [
            (.chat, #"{"model":"m","messages":[{"role":"user","content":"x"}]}"#), (.completion, #"{"model":"m"}"#),
            (.embedding, #"{"model":"m","input":"x"}"#),
        ]
        /// What a request says, by property; not what lies where nobody looks.
        func facts(_ request: ChatRequest) -> [String: String] {
            var facts: [String: String] = [:]
            for case (let name?, let value) in Mirror(reflecting: request).children where name != "places" {
                facts[name] = name == "messages" ? "" : "\(value)"
            }
            facts["messages"] = "\((0..<request.messages.count).map { request.messages[$0] })"
            facts["places"] = "\(ChatMember.allCases.map { request.place(of: $0) })"
            return facts
        }
        let first = facts(try ChatRequest.read(Array(new[0].1.utf8).span, kind: .chat))
        var unchanged = Set(first.keys)
        for (oldKind, oldText) in old {
            for (kind, text) in new {
                var held: ChatRequest? = try ChatRequest.read(Array(oldText.utf8).span, kind: oldKind)
                unchanged.subtract(facts(held!).filter { first[$0.key] != $0.value }.keys)
                let identity = ObjectIdentifier(held!)
                let read = try ChatRequest.read(Array(text.utf8).span, kind: kind, into: &held)
                #expect(ObjectIdentifier(read) == identity && held == nil)
                #expect(facts(read) == facts(try ChatRequest.read(Array(text.utf8).span, kind: kind)))
            }
        }
        #expect(unchanged.isEmpty, "the old requests must say something of everything")
    }

    @Test func `a request that somebody holds is not read into`() throws {
        let text = Array(#"{"model":"m","messages":[{"role":"user"}]}"#.utf8)
        let kept = try ChatRequest.read(text.span, kind: .chat)
        var old: ChatRequest? = kept
        let read = try ChatRequest.read(text.span, kind: .chat, into: &old)
        #expect(read !== kept && kept.messages.count == 1)
    }
}

/// The bytes of `range` as a string.
func text(_ range: ByteRange, _ bytes: [UInt8]) -> String { bytes.span.extracting(range).text }
