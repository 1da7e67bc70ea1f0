import GatewayCore
import TestSupport
import Testing
import Wire

@testable import Telemetry

@Suite struct AccessRecordTests {
    private func line(
        _ record: AccessRecord, id: String = "req-1", principal: String? = nil,
        model: (name: [UInt8], pool: String)? = nil,
        fallback: String? = nil, replica: String? = nil, client: String = "-"
    ) -> String {
        var out = ByteWriter()
        var timestamp = TimestampText()
        let shown = principal.map { LogText($0) } ?? .null
        record.append(
            to: &out, timestamp: &timestamp, requestID: id.utf8Span.span,
            principal: shown.json.bytes, request: LogText(method: "POST", path: "chat_completions", model: model),
            fallback: fallback.map { LogText($0) }, replica: replica.map { LogText($0) } ?? .null,
            client: LogText(client).json.bytes)
        return out.bytes.text
    }

    private func members(_ line: String) throws -> [String: JSONValue] {
        guard case .object(let members) = try JSONValue.read(line, refusingDuplicates: true) else { return [:] }
        return Dictionary(uniqueKeysWithValues: members.map { ($0.name, $0.value) })
    }

    @Test func `a full record is one line with every member in its place`() {
        let record = AccessRecord()
        record.time = WallTime(nanosecondsSinceEpoch: 1_789_372_987_042_000_000)
        record.hasSession = true
        record.isStream = true
        record.status = 200
        record.attempts = 2
        record.resumes = 1
        record.resumedBy = .prefill
        record.usage = Usage(promptTokens: 12, completionTokens: 345)
        (record.bytesIn, record.bytesOut) = (678, 91_011)
        record.timeToFirstToken = .microseconds(123_456)
        record.duration = .microseconds(2_000_007)
        record.queueWait = .microseconds(50)
        record.overhead = .microseconds(999)
        let expected = """
            {"time":"2026-09-14T08:03:07.042Z","id":"req-1","principal":"key_1","method":"POST",\
            "path":"chat_completions","model":"tiny","pool":"chat","fallback":"small","session":true,"stream":true,\
            "status":200,"outcome":"ok","replica":"gpu-a","attempts":2,"resumes":1,\
            "resumed_by":"prefill","prompt_tokens":12,\
            "completion_tokens":345,"bytes_in":678,"bytes_out":91011,"ttft_ms":123.456,"duration_ms":2000.007,\
            "queue_ms":0.050,"overhead_ms":0.999,"client":"192.0.2.7"}

            """
        let line = line(
            record, principal: "key_1", model: (Array("tiny".utf8), "chat"), fallback: "small",
            replica: "gpu-a", client: "192.0.2.7")
        #expect(line == expected)
    }

    @Test func `what is not known is null, and a refused credential says why`() throws {
        let record = AccessRecord()
        record.tokenProblem = .badSignature
        record.outcome = Outcome(.invalidAPIKey(.badSignature))
        let found = try members(line(record))
        let unknown = [
            "principal", "model", "pool", "fallback", "replica", "prompt_tokens", "completion_tokens", "ttft_ms",
        ]
        for name in unknown {
            #expect(found[name] == .null, "\(name)")
        }
        #expect(found["token_problem"] == .string("bad_signature"))
        #expect(found["outcome"] == .string("invalid_api_key"))
    }

    @Test func `whatever a client sends, the line is one line of valid JSON and bounded`() throws {
        var generator = SplitMix64(seed: 21)
        for _ in 0..<2000 {
            func bytes() -> [UInt8] {
                let isText = generator.next() % 2 == 0
                return (0..<Int(generator.next() % 400)).map { _ in
                    let byte = UInt8(truncatingIfNeeded: generator.next())
                    return isText ? [0x22, 0x5C, 0x0A, 0x61, 0x7F, 0xC3, 0xA9, 0x00][Int(byte % 8)] : byte
                }
            }
            let record = AccessRecord()
            record.time = WallTime(secondsSinceEpoch: Int64(generator.next() % 4_000_000_000))
            let principal = String(decoding: bytes(), as: UTF8.self)
            record.status = Int(generator.next() % 600)
            record.duration = Interval(nanoseconds: Int64(truncatingIfNeeded: generator.next()))
            record.usage = Usage(
                promptTokens: Int(truncatingIfNeeded: generator.next()), completionTokens: .max)
            (record.bytesIn, record.bytesOut, record.attempts, record.resumes) = (.max, .max, .max, .max)
            (record.timeToFirstToken, record.queueWait) = (.nanoseconds(.max), .nanoseconds(.max))
            record.overhead = .nanoseconds(.max)
            let model = bytes()
            let line = line(record, principal: principal, model: (model, "chat"))
            #expect(line.hasSuffix("}\n") && line.utf8.count { $0 == 0x0A } == 1)
            #expect(line.utf8.count < 4096)
            let found = try members(line)
            #expect(found["status"] == .integer(record.status))
            if model.count <= 128, let text = String(validating: model, as: UTF8.self) {
                #expect(found["model"] == .string(text))
            }
        }
    }

    @Test func `long text is cut between characters`() throws {
        let name = "a" + String(repeating: "é", count: 100)
        let found = try members(line(AccessRecord(), model: (Array(name.utf8), "chat")))
        #expect(found["model"] == .string("a" + String(repeating: "é", count: 63)))
    }
}
