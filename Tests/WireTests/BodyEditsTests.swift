import TestSupport
import Testing

@testable import Wire

@Suite struct BodyEditsTests {
    @Test(arguments: [
        (#"{"model":"a"}"#, #"{"model":"up"}"#),
        (#"{"x":1, "model" : "a" ,"y":2}"#, #"{"x":1, "model" : "up" ,"y":2}"#),
        (#"{"model":"up"}"#, #"{"model":"up"}"#), (#"{"model":"u\u0070"}"#, #"{"model":"up"}"#),
    ])
    func `the model is renamed and nothing else`(_ body: String, _ expected: String) throws {
        var edits = BodyEdits()
        edits.model = BodyEdits.quoted("up")
        #expect(try edited(body, edits, .completion) == expected)
    }

    @Test(arguments: [
        (#"{"model":"a","stream":true}"#, #"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#),
        (
            #"{"model":"a","stream":true,"stream_options":null}"#,
            #"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#
        ),
        (
            #"{"model":"a","stream":true,"stream_options":{ }}"#,
            #"{"model":"a","stream":true,"stream_options":{"include_usage":true }}"#
        ),
        (
            #"{"stream_options":{"x":1},"model":"a","stream":true}"#,
            #"{"stream_options":{"include_usage":true,"x":1},"model":"a","stream":true}"#
        ),
        (
            #"{"stream_options":{"x":1,"include_usage": false},"model":"a","stream":true}"#,
            #"{"stream_options":{"x":1,"include_usage": true},"model":"a","stream":true}"#
        ),
        (
            #"{"stream_options":{"include_usage":null},"model":"a","stream":true}"#,
            #"{"stream_options":{"include_usage":true},"model":"a","stream":true}"#
        ),
        (
            #"{"stream_options":{"include_usage":true},"model":"a","stream":true}"#,
            #"{"stream_options":{"include_usage":true},"model":"a","stream":true}"#
        ),
        (#"{"model":"a"}"#, #"{"model":"a"}"#), (#"{"model":"a","stream":false}"#, #"{"model":"a","stream":false}"#),
    ])
    func `usage is asked for on streams, whatever the options were`(_ body: String, _ expected: String) throws {
        var edits = BodyEdits()
        edits.forcesUsage = true
        #expect(try edited(body, edits, .completion) == expected)
    }

    @Test(arguments: [
        (#"{"session_id":"s","model":"a"}"#, #"{"model":"a"}"#),
        (#"{"model":"a","session_id":"s"}"#, #"{"model":"a"}"#),
        (#"{"model":"a" , "session_id" : "s" , "x":1}"#, #"{"model":"a" ,  "x":1}"#),
        (#"{"model":"a" , "session_id" : "s" }"#, #"{"model":"a"  }"#), (#"{"model":"a"}"#, #"{"model":"a"}"#),
    ])
    func `the session id leaves with one comma`(_ body: String, _ expected: String) throws {
        var edits = BodyEdits()
        edits.removesSessionID = true
        #expect(try edited(body, edits, .completion) == expected)
    }

    @Test(arguments: [
        (#"{"model":"a"}"#, #"{"model":"a","max_tokens":9}"#),
        (#"{"model":"a","max_tokens":5}"#, #"{"model":"a","max_tokens":9}"#),
        (#"{"model":"a","max_tokens":null}"#, #"{"model":"a","max_tokens":9}"#),
        (#"{"max_completion_tokens":5,"model":"a"}"#, #"{"max_completion_tokens":9,"model":"a"}"#),
        (#"{"max_completion_tokens":null,"model":"a"}"#, #"{"max_completion_tokens":null,"model":"a","max_tokens":9}"#),
        (
            #"{"max_completion_tokens":5,"model":"a","max_tokens":6}"#,
            #"{"max_completion_tokens":9,"model":"a","max_tokens":9}"#
        ),
        (
            #"{"max_completion_tokens":5,"model":"a","max_tokens":null}"#,
            #"{"max_completion_tokens":9,"model":"a","max_tokens":null}"#
        ),
        (#"{"model":"a","max_tokens":9}"#, #"{"model":"a","max_tokens":9}"#),
    ])
    func `the token limit in force is set`(_ body: String, _ expected: String) throws {
        var edits = BodyEdits()
        edits.maxTokens = 9
        #expect(try edited(body, edits, .completion) == expected)
    }

    @Test func `history goes in front of the client's messages, or takes their place`() throws {
        let body = #"{"messages":[ {"role":"user","content":"c"} ],"model":"a"}"#
        var edits = BodyEdits()
        edits.messages = .prepend(Array(#"{"role":"user","content":"a"},{"role":"assistant","content":"b"}"#.utf8))
        #expect(
            try edited(body, edits)
                == #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}, {"#
                + #""role":"user","content":"c"} ],"model":"a"}"#
        )
        edits.messages = .replace(Array(#"{"role":"user"}"#.utf8))
        #expect(try edited(body, edits) == #"{"messages":[{"role":"user"}],"model":"a"}"#)
        edits.messages = .prepend([])
        #expect(try edited(body, edits) == body)
    }

    @Test func `a continuation is a partial assistant message that the engine is told to go on with`() throws {
        let tail = #","continue_final_message":true,"add_generation_prompt":false}"#
        var edits = BodyEdits()
        edits.continuation = Array(#"Once \"upon\" "#.utf8)
        #expect(
            try edited(#"{"model":"a","messages":[{"role":"user"}]}"#, edits)
                == #"{"model":"a","messages":[{"role":"user"},{"role":"assistant","content":"Once \"upon\" "}]"# + tail)
        #expect(
            try edited(
                #"{"add_generation_prompt":true,"continue_final_message":null,"model":"a","messages":[{"#
                    + #""role":"user"}]}"#,
                edits)
                == #"{"add_generation_prompt":false,"continue_final_message":true,"model":"a","#
                + #""messages":[{"role":"user"},{"role":"assistant","content":"Once \"upon\" "}]}"#)
        edits.messages = .prepend(Array(#"{"role":"system"}"#.utf8))
        #expect(
            try edited(#"{"model":"a","messages":[{"role":"user"}]}"#, edits)
                == #"{"model":"a","messages":[{"role":"system"},{"role":"user"},{"role":"assistant","#
                + #""content":"Once \"upon\" "}]"#
                + tail)
        edits.messages = .replace(Array(#"{"role":"tool"}"#.utf8))
        #expect(
            try edited(#"{"model":"a","messages":[{"role":"user"}]}"#, edits)
                == #"{"model":"a","messages":[{"role":"tool"},{"role":"assistant","content":"Once \"upon\" "}]"# + tail)
    }

    @Test func `a message that the client itself wanted continued gets longer`() throws {
        var edits = BodyEdits()
        edits.continuation = Array(" time".utf8)
        #expect(
            try edited(
                #"{"model":"a","messages":[{"role":"assistant","content":"Once upon a"}],"#
                    + #""continue_final_message":true,"add_generation_prompt":false}"#,
                edits)
                == #"{"model":"a","messages":[{"role":"assistant","content":"Once upon a time"}],"#
                + #""continue_final_message":true,"add_generation_prompt":false}"#
        )
        #expect(
            try edited(#"{"model":"a","prompt":"Once upon a"}"#, edits, .completion)
                == #"{"model":"a","prompt":"Once upon a time"}"#)
    }

    @Test func `a chat becomes a completion by its token ids`() throws {
        var edits = BodyEdits()
        edits.prompt = Array("[1,2,3]".utf8)
        edits.removed = [.messages, .tools, .toolChoice, .addGenerationPrompt]
        edits.returnsTokenIDs = true
        #expect(
            try edited(
                #"{"messages":[{"role":"user"}],"tools":[{}],"model":"a","seed":1,"#
                    + #""tool_choice":"auto", "add_generation_prompt":true}"#,
                edits) == #"{"model":"a","seed":1,"prompt":[1,2,3],"return_token_ids":true}"#)
    }

    @Test func `no edits, or edits that are true already, leave the body alone`() throws {
        let body = Array(
            (#"{"model":"a","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"#
                + #""return_token_ids":true,"messages":[{"role":"user"}]}"#).utf8)
        let request = try ChatRequest.read(body.span, kind: .chat)
        var edits = BodyEdits()
        edits.model = BodyEdits.quoted("a")
        edits.forcesUsage = true
        edits.maxTokens = 9
        edits.returnsTokenIDs = true
        edits.removesSessionID = true
        for edits in [BodyEdits(), edits] {
            var added = ByteWriter()
            let spliced = edits.splice(body.span, of: request, added: &added)
            #expect(spliced.isUnchanged)
            #expect(spliced.pieceCount == 1)
            #expect(spliced.piece(0) == SplicedBody.Piece(isAdded: false, range: ByteRange(0..<body.count)))
            #expect(spliced.length == body.count)
            #expect(added.count == 0)
        }
    }

    /// Members of a random body: some known, some not, in random order, with random white space between them.
    private func randomMembers(_ generator: inout SplitMix64) -> [(name: String, value: String)] {
        let optional: [(String, [String])] = [
            ("stream", ["true", "true", "false", "null"]),
            (
                "stream_options",
                ["null", "{}", "{ }", #"{"a":[1]}"#, #"{"include_usage":false}"#, #"{"b":2 ,"include_usage" : true}"#]
            ),
            ("max_tokens", ["5", "null", "77"]), ("max_completion_tokens", ["6", "null"]),
            ("session_id", [#""s-1""#, "null"]), ("return_token_ids", ["false", "true", "null"]),
            ("add_generation_prompt", ["true", "false"]), ("continue_final_message", ["false", "null"]),
            ("temperature", ["0.5"]), ("x", [#"{"model":[1,{"session_id":"é"}]}"#]), ("y\\n", [#""😀 \u00e9 \\ ""#]),
            ("tools", ["[ ]", "[{}]"]), ("tool_choice", [#""auto""#]), ("prompt", [#""p""#]), ("user", [#""u""#]),
        ]
        var members = [
            (name: "model", value: [#""m""#, #""public-\u0061""#].randomElement(using: &generator)!),
            (
                name: "messages",
                value: [
                    #"[{"role":"user","content":"q"}]"#, #"[ {"role":"system"} , {"content":"q" ,"role":"user"} ]"#,
                ]
                .randomElement(using: &generator)!
            ),
        ]
        for (name, values) in optional where Bool.random(using: &generator) {
            members.append((name, values.randomElement(using: &generator)!))
        }
        return members.shuffled(using: &generator)
    }

    @Test func `messages in the body of another endpoint stay as they are`() throws {
        var edits = BodyEdits()
        edits.continuation = Array(" time".utf8)
        edits.messages = .prepend(Array(#"{"role":"system"}"#.utf8))
        for messages in [#""text""#, #"[{"role":"user"}]"#, "null"] {
            #expect(
                try edited(#"{"model":"a","messages":\#(messages),"prompt":"Once upon a"}"#, edits, .completion)
                    == #"{"model":"a","messages":\#(messages),"prompt":"Once upon a time"}"#)
        }
    }

    @Test func `an edited body reads as the original with exactly the edits, its other bytes untouched`() throws {
        var generator = SplitMix64(seed: 21)
        for _ in 0..<3_000 {
            func space() -> String { ["", "", " ", "\n\t", "  "].randomElement(using: &generator)! }
            let members = randomMembers(&generator)
            let texts = members.map { "\"\($0.name)\"\(space()):\(space())\($0.value)" }
            let body = "\(space()){" + texts.map { space() + $0 + space() }.joined(separator: ",") + "}\(space())"
            var edits = BodyEdits()
            if Bool.random(using: &generator) { edits.model = BodyEdits.quoted("up\"stream") }
            edits.forcesUsage = Bool.random(using: &generator)
            edits.removesSessionID = Bool.random(using: &generator)
            if Bool.random(using: &generator) { edits.maxTokens = 42 }
            edits.returnsTokenIDs = Bool.random(using: &generator)
            if Bool.random(using: &generator) { edits.continuation = Array("so far\\n".utf8) }
            if Bool.random(using: &generator) { edits.removed = [.tools, .toolChoice, .user] }
            if Bool.random(using: &generator) {
                edits.messages = .prepend(Array(#"{"role":"user","content":"old"}"#.utf8))
            }

            let result = try edited(body, edits)
            #expect(
                try sorted(JSONValue.read(result, refusingDuplicates: true))
                    == sorted(ExpectedEdit.apply(edits, to: JSONValue.read(body))), "\(body) -> \(result)")
            for (member, text) in zip(members, texts) where ExpectedEdit.untouched.contains(member.name) {
                #expect(result.contains(text))
            }
            // A second time there is nothing left to do.
            edits.continuation = nil
            edits.messages = .keep
            #expect(try edited(result, edits) == result)
        }
    }

    private func sorted(_ value: JSONValue) -> JSONValue {
        .object(
            (value.object ?? []).sorted { $0.name < $1.name }.map { member in
                member.name == "stream_options" && member.value.object != nil
                    ? .init(name: member.name, value: .object(member.value.object!.sorted { $0.name < $1.name }))
                    : member
            })
    }

    private func edited(_ body: String, _ edits: BodyEdits, _ kind: ChatRequest.Kind = .chat) throws -> String {
        let body = Array(body.utf8)
        let request = try ChatRequest.read(body.span, kind: kind)
        var added = ByteWriter()
        let spliced = edits.splice(body.span, of: request, added: &added)
        var writer = ByteWriter()
        spliced.write(body.span, added: added.bytes, into: &writer)
        #expect(writer.count == spliced.length)
        return writer.bytes.text
    }
}

/// The same edits on a tree, the slow and obvious way.
enum ExpectedEdit {
    static let untouched: Set<String> = ["temperature", "x", "y\\n", "prompt", "stream"]

    static func apply(_ edits: BodyEdits, to body: JSONValue) -> JSONValue {
        var members = body.object!
        func set(_ name: String, _ value: JSONValue) {
            if let index = members.firstIndex(where: { $0.name == name }) {
                members[index].value = value
            } else {
                members.append(.init(name: name, value: value))
            }
        }
        if edits.model != nil { set("model", .string("up\"stream")) }
        if edits.forcesUsage, body["stream"]?.bool == true {
            var options = body["stream_options"]?.object ?? []
            options.removeAll { $0.name == "include_usage" }
            set("stream_options", .object(options + [.init(name: "include_usage", value: .bool(true))]))
        }
        if let maxTokens = edits.maxTokens {
            let newer = body["max_completion_tokens"]?.int != nil
            if newer { set("max_completion_tokens", .integer(maxTokens)) }
            if body["max_tokens"]?.int != nil || !newer { set("max_tokens", .integer(maxTokens)) }
        }
        if edits.returnsTokenIDs { set("return_token_ids", .bool(true)) }
        var messages = body["messages"]!.array!
        func message(_ role: String, _ content: String) -> JSONValue {
            .object([.init(name: "role", value: .string(role)), .init(name: "content", value: .string(content))])
        }
        if edits.messages != .keep { messages.insert(message("user", "old"), at: 0) }
        if edits.continuation != nil {
            messages.append(message("assistant", "so far\n"))
            set("continue_final_message", .bool(true))
            set("add_generation_prompt", .bool(false))
        }
        set("messages", .array(messages))
        members.removeAll { $0.name == "session_id" && edits.removesSessionID }
        members.removeAll { ["tools", "tool_choice", "user"].contains($0.name) && !edits.removed.isEmpty }
        return .object(members)
    }
}
