#if Engine
import Glibc
import Testing
import Wire

/// The real executable over real sockets.
@Suite(.enabled(if: TinyModel.isThere, "Models/tiny/weir-tiny.gguf is missing"))
struct ReplicaTests {
    private let long = #""messages":[{"role":"user","content":"Write a long text about rivers."}],"temperature":0"#
    /// The second token of that text.
    private let riverCame = #""content":" river""#

    @Test func `health and models say what is served`() throws {
        let replica = try ReplicaProcess(["--alias", "tiny"]).ready()
        #expect(try replica.get("/health").body == #"{"status":"ok"}"#)
        let models = try replica.get("/v1/models").json
        #expect(models["object"]?.string == "list")
        #expect(models["data"]?.array?.map { $0["id"]?.string } == ["tiny"])
        #expect(try replica.get("/v1/models/tiny").json["object"]?.string == "model")
        #expect(try replica.get("/v1/models/other").status == 404)
    }

    @Test func `while the model loads, health is 503 and a signal still ends the process`() throws {
        // Opening a pipe that nobody writes to takes forever.
        let pipe = "/tmp/weir-replica-test-\(getpid()).gguf"
        mkfifo(pipe, 0o600)
        defer { unlink(pipe) }
        let replica = try ReplicaProcess(model: pipe)
        let health = try replica.get("/health")
        #expect(health.status == 503)
        let error = try health.json["error"]
        #expect(error?["code"] == .integer(503))
        #expect(error?["message"]?.string == "Loading model")
        #expect(error?["type"]?.string == "unavailable_error")
        #expect(try replica.post("/v1/completions", #"{"model":"m","prompt":"x"}"#).status == 503)
        replica.signal(SIGTERM)
        #expect(replica.waitForEnd() == 0)
    }

    @Test func `a stream and a plain reply say the same`() throws {
        let replica = try ReplicaProcess().ready()
        let plain = try replica.post("/v1/chat/completions", #"{"model":"weir-tiny",\#(long)}"#).json
        let text = plain["choices"]?.array?[0]["message"]?["content"]?.string
        let body = #"{"model":"weir-tiny","stream":true,"stream_options":{"include_usage":true},\#(long)}"#
        let stream = try replica.post("/v1/chat/completions", body)
        #expect(stream.head.contains("content-type: text/event-stream"))
        #expect(stream.events.last == "[DONE]")
        let chunks = try stream.events.dropLast().map { try JSONValue.read($0) }
        #expect(chunks.first?["choices"]?.array?[0]["delta"]?["role"]?.string == "assistant")
        let deltas = chunks.compactMap { $0["choices"]?.array?.first?["delta"]?["content"]?.string }
        #expect(deltas.joined() == text)
        #expect(chunks.last?["usage"]?["completion_tokens"] == plain["usage"]?["completion_tokens"])
        #expect(Set(chunks.map { $0["id"]?.string }).count == 1)
    }

    @Test func `an answer that broke off goes on elsewhere from its token ids`() throws {
        let first = try ReplicaProcess().ready()
        let second = try ReplicaProcess().ready()
        let body = #"{"model":"weir-tiny","stream":true,"return_token_ids":true,\#(long)}"#
        let whole = try first.post("/v1/chat/completions", body).events.dropLast().map { try JSONValue.read($0) }
        var ids = whole[0]["prompt_token_ids"]?.array ?? []
        var sent = ""
        for chunk in whole[1..<40] {
            sent += chunk["choices"]?.array?[0]["delta"]?["content"]?.string ?? ""
            ids += chunk["choices"]?.array?[0]["token_ids"]?.array ?? []
        }
        let list = ids.map { "\($0.int ?? -1)" }.joined(separator: ",")
        let rest = try second.post("/v1/completions", #"{"model":"weir-tiny","temperature":0,"prompt":[\#(list)]}"#)
        let expected = whole.compactMap { $0["choices"]?.array?.first?["delta"]?["content"]?.string }.joined()
        #expect(sent + (try rest.json["choices"]?.array?[0]["text"]?.string ?? "") == expected)
    }

    @Test func `a client that leaves frees its slot`() throws {
        let replica = try ReplicaProcess(["--slots", "1"]).ready()
        do {
            let leaving = try replica.begin("/v1/chat/completions", #"{"model":"weir-tiny","stream":true,\#(long)}"#)
            #expect(leaving.wait(for: riverCame))
        }
        let hello = #"{"model":"weir-tiny","temperature":0,"messages":[{"role":"user","content":"Hello"}]}"#
        #expect(try replica.post("/v1/chat/completions", hello).status == 200)
    }

    @Test func `what can't be answered is an OpenAI error`() throws {
        let replica = try ReplicaProcess(["--context", "64"]).ready()
        func error(_ body: String, _ status: Int) throws -> JSONValue? {
            let reply = try replica.post("/v1/chat/completions", body)
            #expect(reply.status == status)
            return try reply.json["error"]
        }
        #expect(try error("{", 400)?["type"]?.string == "invalid_request_error")
        let unknown = #"{"model":"gpt-9","messages":[{"role":"user","content":"Hi"}]}"#
        #expect(try error(unknown, 404)?["code"]?.string == "model_not_found")
        let words = String(repeating: "river ", count: 100)
        let tooLong = #"{"model":"weir-tiny","stream":true,"messages":[{"role":"user","content":"\#(words)"}]}"#
        let exceeded = try error(tooLong, 400)
        #expect(exceeded?["code"]?.string == "context_length_exceeded")
        #expect(exceeded?["param"]?.string == "messages")
        #expect(try replica.get("/nowhere").status == 404)
        let wrongMethod = try replica.get("/v1/chat/completions")
        #expect(wrongMethod.status == 405 && wrongMethod.head.contains("allow: POST"))
    }

    @Test func `SIGTERM lets a running answer finish and refuses new connections`() throws {
        let replica = try ReplicaProcess().ready()
        let running = try replica.begin("/v1/chat/completions", #"{"model":"weir-tiny","stream":true,\#(long)}"#)
        #expect(running.wait(for: riverCame))
        replica.signal(SIGTERM)
        let reply = try running.reply()
        #expect(reply.events.last == "[DONE]")
        #expect(replica.waitForEnd() == 0)
        #expect(throws: ReplicaProcess.Problem.self) { try replica.get("/health") }
    }

    @Test func `an answer that is not done at the deadline ends with an error, without DONE`() throws {
        let replica = try ReplicaProcess(["--drain", "0", "--slots", "16"]).ready()
        // Company, so that the answer takes longer than the signal.
        let others = try (1..<16).map { _ in
            try replica.begin("/v1/chat/completions", #"{"model":"weir-tiny",\#(long)}"#)
        }
        let running = try replica.begin("/v1/chat/completions", #"{"model":"weir-tiny","stream":true,\#(long)}"#)
        #expect(running.wait(for: riverCame))
        replica.signal(SIGTERM)
        let events = try running.reply().events
        #expect(events.last?.contains(#""code":"shutting_down""#) == true)
        #expect(events.last != "[DONE]")
        #expect(replica.waitForEnd() == 0)
        #expect(try others.allSatisfy { [200, 503].contains(try $0.reply().status) })
    }

    @Test func `a missing model and bad options end it with a status that says which`() throws {
        #expect(throws: ReplicaProcess.Problem.self) { try ReplicaProcess(["--slots", "0"]) }
        let replica = try ReplicaProcess(model: "/nowhere.gguf")
        #expect(replica.waitForEnd() == 1)
    }
}
#endif
