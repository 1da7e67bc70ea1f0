import GatewayCore
import TestSupport
import Testing

@testable import Wire

/// The fast readers against a plain one (``PlainJSON``), over documents of chance and over spoiled ones.
@Suite struct JSONReadersTests {
    @Test func `the scanner accepts what the grammar accepts, and nothing else`() {
        var generator = SplitMix64(seed: 3)
        var accepted = 0
        for round in 0..<12_000 {
            let bytes = round % 3 == 0 ? document(&generator) : spoiled(document(&generator), &generator)
            let isAccepted = PlainJSON.read(bytes) != nil
            #expect(JSONScannerTests.accepts(bytes) == isAccepted, "\(String(decoding: bytes, as: UTF8.self))")
            if isAccepted { accepted += 1 }
        }
        #expect(accepted > 4_500 && accepted < 10_000)
    }

    @Test func `a document that ends early is refused at every length`() {
        var generator = SplitMix64(seed: 4)
        for _ in 0..<60 {
            let bytes = [0x7B, 0x22, 0x61, 0x22, 0x3A] + document(&generator) + [0x7D]
            for length in bytes.indices { #expect(!JSONScannerTests.accepts(Array(bytes[..<length]))) }
            #expect(JSONScannerTests.accepts(bytes))
        }
    }

    @Test func `a chunk says what a plain reader finds in it`() throws {
        var generator = SplitMix64(seed: 5)
        var refused = 0
        for round in 0..<8_000 {
            var bytes = chunk(&generator)
            if round % 2 == 1 { bytes = spoiled(bytes, &generator) }
            let text = String(decoding: bytes, as: UTF8.self)
            guard let plain = PlainJSON.read(bytes, allowsLoneSurrogates: true), plain.members != nil else {
                #expect(throws: JSONProblem.self, "\(text)") { try ChatChunk.read(bytes.span) }
                refused += 1
                continue
            }
            compare(try ChatChunk.read(bytes.span), bytes, with: plain)
        }
        #expect(refused > 1_000 && refused < 4_000)
    }

    @Test func `a request says what a plain reader finds in it`() {
        var generator = SplitMix64(seed: 6)
        var read = 0
        for round in 0..<8_000 {
            var bytes = request(&generator)
            if round % 2 == 1 { bytes = spoiled(bytes, &generator) }
            let plain = PlainJSON.read(bytes)
            do throws(BodyProblem) {
                let request = try ChatRequest.read(bytes.span, kind: .chat)
                compare(request, bytes, with: plain)
                read += 1
            } catch {
                if case .malformed = error {
                    #expect(plain == nil, "\(String(decoding: bytes, as: UTF8.self))")
                } else {
                    #expect(round % 2 == 1, "\(error): \(String(decoding: bytes, as: UTF8.self))")
                }
            }
        }
        #expect(read > 4_000)
    }

    @Test func `a usual chunk says the same with white space in it, and is refused where it is spoiled`() throws {
        let text = #"Hello, \"wörld\", and a good deal more than one look can see 😀"#
        let beginning = #"{"id":"chatcmpl-0123456789abcdef0123456789","object":"chat.completion"#
        let usual = [
            #".chunk","created":1700000000,"model":"m-1","choices":[{"index":0,"delta":{"content":""# + text
                + #""},"finish_reason":null}]}"#,
            #".chunk","created":1700000000,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","#
                + #""content":""},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":7,"#
                + #""total_tokens":7}}"#,
            #".chunk","created":7,"model":"a model with a long name","choices":[{"index":0,"delta":{"content":"x"},"#
                + #""logprobs":null,"finish_reason":null,"token_ids":[1,2]}],"usage":{"prompt_tokens":12,"#
                + #""total_tokens":1234567,"completion_tokens":9}}"#,
            #".chunk","created":1700000000,"model":"m","choices":[],"usage":{"prompt_tokens":12345678,"#
                + #""completion_tokens":64,"total_tokens":0}}"#,
            #"","created":1700000000,"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","#
                + #""content":""# + text + #""},"logprobs":null,"finish_reason":"stop"}],"#
                + #""usage":{"prompt_tokens":200,"completion_tokens":64,"#
                + #""total_tokens":264,"prompt_tokens_details":{"cached_tokens":3,"audio_tokens":0}},"x":"b1"}"#,
            #"","created":1700000000,"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":null,"#
                + #""tool_calls":[{"id":"a"}]},"finish_reason":"stop"}],"system_fingerprint":"b1"}"#,
        ].map { Array((beginning + $0).utf8) }
        for bytes in usual {
            let plain = try #require(PlainJSON.read(bytes))
            let chunk = try ChatChunk.read(bytes.span)
            compare(chunk, bytes, with: plain)
            let spaced = Array(
                String(decoding: bytes, as: UTF8.self).replacing(#"":"#, with: #"" : "#)
                    .replacing(#",""#, with: #", ""#).utf8)
            let other = try ChatChunk.read(spaced.span)
            compare(other, spaced, with: plain)
            #expect(other.usage == chunk.usage && other.isAborted == chunk.isAborted)
            #expect(other.finished == chunk.finished && other.unfinished == chunk.unfinished)
            #expect(other.hasContent == chunk.hasContent && other.hasTokenIDs == chunk.hasTokenIDs)
            for (chunk, bytes) in [(chunk, bytes), (other, spaced)] where chunk.choiceCount > 0 {
                #expect(PlainJSON.read(Array(bytes[chunk.choice.delta.range]))?["content"] != nil)
                #expect(bytes[chunk.object.range] == bytes[...])
            }
            for place in bytes.indices {
                for byte in Array(#""\{}[],:0x "#.utf8) + [0x1F, 0x80] where bytes[place] != byte {
                    var bad = bytes
                    bad[place] = byte
                    guard let meant = PlainJSON.read(bad, allowsLoneSurrogates: true) else {
                        #expect(throws: JSONProblem.self, "\(String(decoding: bad, as: UTF8.self))") {
                            try ChatChunk.read(bad.span)
                        }
                        continue
                    }
                    compare(try ChatChunk.read(bad.span), bad, with: meant)
                }
            }
        }
    }

    // MARK: Comparing

    private func compare(_ chunk: ChatChunk, _ bytes: [UInt8], with plain: PlainJSON) {
        let shown = "\(String(decoding: bytes, as: UTF8.self))"
        func says(_ range: ByteRange) -> PlainJSON? {
            range.isEmpty ? nil : PlainJSON.read(Array(bytes[range.range]), allowsLoneSurrogates: true)
        }
        #expect(says(chunk.id)?.text == plain["id"]?.text, "\(shown)")
        #expect(says(chunk.model)?.text == plain["model"]?.text, "\(shown)")
        #expect(says(chunk.created)?.int == plain["created"]?.int, "\(shown)")
        let choices = (plain["choices"]?.elements ?? []).filter { $0.members != nil }
        // Only where `choices` stands once: the reader counts the elements of all of them.
        guard plain.members?.filter({ $0.name == "choices" }).count ?? 0 <= 1 else { return }
        #expect(chunk.choiceCount == choices.count, "\(shown)")
        let finish = choices.first?["finish_reason"]?.text
        #expect((chunk.choice.finish == .none) == (finish == nil || finish == ""), "\(shown)")
        #expect(chunk.choice.index == choices.first?["index"]?.int ?? 0, "\(shown)")
        let delta = choices.first?["delta"] ?? choices.first?["message"]
        #expect(chunk.choice.content.text(in: bytes.span) == delta?["content"]?.text ?? "", "\(shown)")
        #expect(chunk.choice.role.text(in: bytes.span) == delta?["role"]?.text ?? "", "\(shown)")
        let usage = plain["usage"]
        if usage?.members != nil {
            func count(_ name: String) -> Int { min(max(0, usage?[name]?.int ?? 0), Int(Int32.max)) }
            #expect(chunk.usage?.promptTokens == count("prompt_tokens"), "\(shown)")
            #expect(chunk.usage?.completionTokens == count("completion_tokens"), "\(shown)")
        } else {
            #expect(chunk.usage == nil, "\(shown)")
        }
    }

    private func compare(_ request: ChatRequest, _ bytes: [UInt8], with plain: PlainJSON?) {
        let shown = "\(String(decoding: bytes, as: UTF8.self))"
        guard let plain else {
            Issue.record("accepted: \(shown)")
            return
        }
        #expect(request.modelName(in: bytes.span) == plain["model"]?.text, "\(shown)")
        #expect(request.maxTokens == plain["max_tokens"]?.int, "\(shown)")
        if case .word("true") = plain["stream"] { #expect(request.isStream) } else { #expect(!request.isStream) }
        for member in ChatMember.allCases where member != .grammar {
            #expect(request.has(member) == (plain["\(member.name)"] != nil), "\(member.name) \(shown)")
        }
        let messages = plain["messages"]?.elements ?? []
        #expect(request.messages.count == messages.count, "\(shown)")
        for (index, message) in messages.enumerated() where index < request.messages.count {
            let read = request.messages[index]
            #expect((read.role == .user) == (message["role"]?.text == "user"), "\(shown)")
            let content = PlainJSON.read(Array(bytes[read.content.range]))
            #expect(content?.text == message["content"]?.text, "\(shown)")
        }
    }

    // MARK: Documents of chance

    private func spoiled(_ bytes: [UInt8], _ generator: inout SplitMix64) -> [UInt8] {
        var bytes = bytes
        let place = Int.random(in: 0..<bytes.count, using: &generator)
        let known = Array("\"\\{}[]:, \n019-.eEtfn/u\u{80}".utf8) + [0, 0x1F, 0x7F, 0x80, 0xC0, 0xED, 0xFF]
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: bytes[place] = known.randomElement(using: &generator)!
        case 1: bytes.remove(at: place)
        case 2: bytes.insert(known.randomElement(using: &generator)!, at: place)
        default: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        }
        return bytes
    }

    private func document(_ generator: inout SplitMix64) -> [UInt8] { Array(value(&generator, depth: 0).utf8) }

    private func chunk(_ generator: inout SplitMix64) -> [UInt8] {
        func members(_ known: [(String, String)], _ generator: inout SplitMix64) -> String {
            var all = known.filter { _ in Int.random(in: 0..<5, using: &generator) > 0 }
            if Int.random(in: 0..<3, using: &generator) == 0 { all.append(("x", value(&generator, depth: 2))) }
            if Int.random(in: 0..<3, using: &generator) == 0 { all.shuffle(using: &generator) }
            return object(all.map { (quoted($0.0, &generator), $0.1) }, &generator)
        }
        let delta = members([("role", "\"assistant\""), ("content", string(&generator))], &generator)
        let reason = ["null", "\"stop\"", "\"length\"", "\"abort\"", "\"\""].randomElement(using: &generator)!
        let choice = members(
            [("index", "0"), ("delta", delta), ("logprobs", "null"), ("finish_reason", reason)], &generator)
        let usage = members(
            [
                ("prompt_tokens", number(&generator)), ("completion_tokens", number(&generator)),
                ("total_tokens", number(&generator)), ("prompt_tokens_details", value(&generator, depth: 3)),
            ], &generator)
        let choices = Array(repeating: choice, count: Int.random(in: 0..<3, using: &generator)).joined(separator: ",")
        return Array(
            members(
                [
                    ("id", string(&generator)), ("object", "\"chat.completion.chunk\""),
                    ("created", number(&generator)), ("model", string(&generator)), ("choices", "[\(choices)]"),
                    ("usage", usage),
                ], &generator
            ).utf8)
    }

    private func request(_ generator: inout SplitMix64) -> [UInt8] {
        let messages = (0..<Int.random(in: 1..<11, using: &generator)).map { _ in
            let role = ["\"user\"", "\"system\"", "\"us\\u0065r\""].randomElement(using: &generator)!
            return object(
                [(quoted("role", &generator), role), (quoted("content", &generator), string(&generator))], &generator)
        }
        var all = [
            ("model", "\"m-\(Int.random(in: 0..<99, using: &generator))\""),
            ("messages", "[\(messages.joined(separator: [",", " , "].randomElement(using: &generator)!))]"),
        ]
        let others = [
            ("temperature", "0.7"), ("max_tokens", "\(Int.random(in: 1..<99_999, using: &generator))"),
            ("stream", "true"), ("stream_options", "{\"include_usage\": true}"), ("user", string(&generator)),
            ("stop", "[\"a\"]"),
            ("tools", "[]"), ("seed", number(&generator)), ("metadata", value(&generator, depth: 2)), ("n", "1"),
            ("presence_penalty", "0"), ("parallel_tool_calls", "false"), ("response_format", "{\"type\":\"text\"}"),
        ]
        all += others.filter { _ in Int.random(in: 0..<3, using: &generator) == 0 }
        if Int.random(in: 0..<3, using: &generator) == 0 { all.shuffle(using: &generator) }
        return Array(object(all.map { (quoted($0.0, &generator), $0.1) }, &generator).utf8)
    }

    private func object(_ members: [(String, String)], _ generator: inout SplitMix64) -> String {
        let (comma, colon) = [(",", ":"), (",", ":"), (", ", ": "), (" ,\n", "\t:")].randomElement(using: &generator)!
        return "{" + members.map { $0.0 + colon + $0.1 }.joined(separator: comma) + "}"
    }

    /// A name, with one of its letters escaped now and then.
    private func quoted(_ name: String, _ generator: inout SplitMix64) -> String {
        guard Int.random(in: 0..<12, using: &generator) == 0, let first = name.utf8.first else { return "\"\(name)\"" }
        return "\"\\u00" + String(first, radix: 16) + name.dropFirst() + "\""
    }

    private func number(_ generator: inout SplitMix64) -> String {
        let digits = String(generator.next() >> UInt64.random(in: 2..<64, using: &generator))
        let forms = [digits, digits, digits, "-\(digits)", "\(digits).25", "\(digits)e3", "0"]
        return forms.randomElement(using: &generator)!
    }

    private func string(_ generator: inout SplitMix64) -> String {
        let pieces = [
            "a", "b c", "é", "€", "😀", "\\n", "\\\"", "\\\\", "\\u00e9", "\\ud83d\\ude00", "{", "]", "0123456789abcdef",
        ]
        let count = [0, 1, 2, 3, 9, 40].randomElement(using: &generator)!
        return "\"" + (0..<count).map { _ in pieces.randomElement(using: &generator)! }.joined() + "\""
    }

    private func value(_ generator: inout SplitMix64, depth: Int) -> String {
        switch Int.random(in: 0..<(depth < 4 ? 9 : 6), using: &generator) {
        case 0: return "null"
        case 1: return Bool.random(using: &generator) ? "true" : "false"
        case 2, 3: return number(&generator)
        case 4, 5: return string(&generator)
        case 6:
            let count = Int.random(in: 0..<4, using: &generator)
            return "[" + (0..<count).map { _ in value(&generator, depth: depth + 1) }.joined(separator: ", ") + "]"
        default:
            let members = (0..<Int.random(in: 0..<5, using: &generator)).map { _ in
                (string(&generator), value(&generator, depth: depth + 1))
            }
            return object(members, &generator)
        }
    }
}
