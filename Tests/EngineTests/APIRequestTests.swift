import Engine
import Testing

@testable import weir_replica

@Suite struct APIRequestTests {
    private func read(_ json: String, _ kind: APIRequest.Kind = .chat) throws(APIError) -> APIRequest {
        try APIRequest.read(Array(json.utf8).span, kind: kind)
    }

    private func problem(_ json: String, _ kind: APIRequest.Kind = .chat) -> APIError? {
        do {
            _ = try read(json, kind)
            return nil
        } catch {
            return error
        }
    }

    @Test func `the smallest chat request means what OpenAI's defaults say`() throws {
        let request = try read(#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#)
        #expect(request.generation.prompt == .chat([ChatTurn(role: "user", content: "Hi")], ending: .newAnswer))
        #expect(request.generation.sampling == Sampling(temperature: 1, topP: 1, seed: nil))
        #expect(request.generation.tokensMax == nil && request.generation.stops.isEmpty)
        #expect(!request.isStream && !request.returnsTokenIDs)
    }

    @Test func `every member that matters is read`() throws {
        let request = try read(
            #"""
            {"model":"m","stream":true,"stream_options":{"include_usage":true},"return_token_ids":true,
             "max_tokens":5,"max_completion_tokens":7,"temperature":0,"top_p":0.5,"seed":-1,"stop":["a","b"],
             "messages":[{"role":"developer","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]},
                         {"role":"user","content":"Hi"}]}
            """#)
        #expect(request.isStream && request.includesUsage && request.returnsTokenIDs)
        #expect(request.generation.tokensMax == 7)
        #expect(request.generation.sampling == Sampling(temperature: 0, topP: 0.5, seed: .max))
        #expect(request.generation.stops == ["a", "b"])
        let turns = [ChatTurn(role: "system", content: "xy"), ChatTurn(role: "user", content: "Hi")]
        #expect(request.generation.prompt == .chat(turns, ending: .newAnswer))
    }

    @Test func `null is as good as absent, and offered tools are no obstacle`() throws {
        let request = try read(
            #"""
            {"model":"m","messages":[{"role":"user","content":"Hi"}],"stop":null,"temperature":null,"max_tokens":null,
             "stream_options":null,"n":1,"tools":[{"type":"function"}],"tool_choice":"auto","presence_penalty":0,
             "logprobs":false,"response_format":{"type":"text"},"user":"u","parallel_tool_calls":true}
            """#)
        #expect(request.generation.sampling.temperature == 1)
    }

    @Test func `a partial answer is continued when both members say so`() throws {
        let messages = #""messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"He"}]"#
        let turns = [ChatTurn(role: "user", content: "Hi"), ChatTurn(role: "assistant", content: "He")]
        let both = #"{"model":"m",\#(messages),"continue_final_message":true,"add_generation_prompt":false}"#
        #expect(try read(both).generation.prompt == .chat(turns, ending: .continuation))
        #expect(
            problem(#"{"model":"m",\#(messages),"continue_final_message":true,"add_generation_prompt":true}"#)?.param
                == "continue_final_message")
        #expect(
            problem(#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"continue_final_message":true}"#)?.param
                == "continue_final_message")
    }

    @Test func `a completion takes text, token ids, or a list of one of them`() throws {
        func prompt(_ json: String) throws -> GenerationRequest.Prompt {
            try read(#"{"model":"m","prompt":\#(json)}"#, .completion).generation.prompt
        }
        #expect(try prompt(#""abc""#) == .text("abc"))
        #expect(try prompt(#"["abc"]"#) == .text("abc"))
        #expect(try prompt("[1,2,3]") == .tokens([1, 2, 3]))
        #expect(try prompt("[[1,2,3]]") == .tokens([1, 2, 3]))
        #expect(try prompt("[7]") == .tokens([7]))
        #expect(problem(#"{"model":"m","prompt":["a","b"]}"#, .completion)?.param == "prompt")
        #expect(problem(#"{"model":"m"}"#, .completion)?.param == "prompt")
    }

    @Test(arguments: [
        ("{", nil), ("[]", nil), (#"{"messages":[{"role":"user","content":"Hi"}]}"#, "model"),
        (#"{"model":"m"}"#, "messages"), (#"{"model":"m","messages":[]}"#, "messages"),
        (#"{"model":"m","messages":[{"role":"user","content":5}]}"#, "messages[0].content"),
        (#"{"model":"m","messages":[{"role":"king","content":""}]}"#, "messages[0].role"),
        (#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#, "messages[0].content"),
        (#"{"model":"m","messages":[{"role":"user"}],"max_tokens":0}"#, "max_tokens"),
        (#"{"model":"m","messages":[{"role":"user"}],"temperature":3}"#, "temperature"),
        (#"{"model":"m","messages":[{"role":"user"}],"stream":"yes"}"#, "stream"),
        (#"{"model":"m","messages":[{"role":"user"}],"stop":[""]}"#, "stop"),
        (#"{"model":"m","messages":[{"role":"user"}],"n":2}"#, "n"),
        (#"{"model":"m","messages":[{"role":"user"}],"frequency_penalty":1}"#, "frequency_penalty"),
        (#"{"model":"m","messages":[{"role":"user"}],"logprobs":true}"#, "logprobs"),
        (#"{"model":"m","messages":[{"role":"user"}],"tool_choice":"required"}"#, "tool_choice"),
        (#"{"model":"m","messages":[{"role":"user"}],"response_format":{"type":"json_object"}}"#, "response_format"),
    ]) func `what can't be honoured is a 400 that names the member`(body: String, param: String?) {
        let found = problem(body)
        #expect(found?.status == 400)
        #expect(found?.type == "invalid_request_error")
        #expect(found?.param == param)
    }
}
