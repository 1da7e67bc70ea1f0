import Balancing
import GatewayCore
import TestSupport
import Testing
import Upstreams
import Wire

/// A replica's stream of one known answer, from any of its tokens on.
private struct ToldAnswer {
    static let tokens = ["Gr", "ü", #"ße \"q\""#, " 🌍", #"\n\u65e5"#, "本", " and", " so", " on."]
    static var text: String { tokens.joined() }
    static let prompt = 5

    var isChat = true
    var hasIDs = false
    var lineEnd = "\n"
    var id = "one"

    func bytes(from first: Int = 0, showsPrompt: Bool = true) -> [UInt8] {
        var events: [String] = []
        let head = #""id":"\#(id)","object":"\#(isChat ? "chat.completion.chunk" : "text_completion")","model":"m""#
        func ids(_ ids: [Int]) -> String { hasIDs ? #","token_ids":\#(ids)"# : "" }
        let prompt = hasIDs && showsPrompt ? #","prompt_token_ids":\#(Array(1...(Self.prompt + first)))"# : ""
        if isChat {
            let delta = #""delta":{"role":"assistant","content":""}"#
            events.append(#"{\#(head),"choices":[{"index":0,\#(delta),"finish_reason":null}]\#(prompt)}"#)
        }
        for index in first..<Self.tokens.count {
            let text = Self.tokens[index]
            let said = isChat ? #""delta":{"content":"\#(text)"}"# : #""text":"\#(text)""#
            events.append(#"{\#(head),"choices":[{"index":0,\#(said),"finish_reason":null\#(ids([100 + index]))}]}"#)
        }
        let said = isChat ? #""delta":{}"# : #""text":"""#
        events.append(#"{\#(head),"choices":[{"index":0,\#(said),"finish_reason":"stop"\#(ids([2]))}]}"#)
        let (asked, made) = (Self.prompt + first, Self.tokens.count - first + (hasIDs ? 1 : 0))
        events.append(
            #"{\#(head),"choices":[],"usage":{"prompt_tokens":\#(asked),"completion_tokens":\#(made),"#
                + #""total_tokens":\#(asked + made)}}"#)
        events.append("[DONE]")
        return events.flatMap { Array(": kept\(lineEnd)data: \($0)\(lineEnd)\(lineEnd)".utf8) }
    }
}

/// A client: reads what an ``AnswerStream`` sends.
private struct Heard {
    var text = ""
    var roles = 0
    var finishes = 0
    var ids: Set<String> = []
    var usages: [Usage] = []

    init(_ bytes: [UInt8]) {
        for line in bytes.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D }) {
            guard line.starts(with: "data: ".utf8) else { continue }
            let chunk = Array(line.dropFirst(6))
            guard let read = try? ChatChunk.read(chunk.span) else { continue }
            text += JSONText.text(chunk.span.extracting(read.choice.content.raw))
            roles += read.choice.hasRole ? 1 : 0
            finishes += read.choice.finish == .none ? 0 : 1
            ids.insert(chunk.span.extracting(read.id).text)
            if let usage = read.usage { usages.append(usage) }
        }
    }
}

@Suite struct AnswerStreamTests {
    private static var plain: String {
        let raw = Array(ToldAnswer.text.utf8)
        return JSONText.text(raw.span)
    }

    /// Reads `bytes` in pieces, as they may come.
    private func read(
        _ bytes: ArraySlice<UInt8>, _ answer: inout AnswerStream, into out: inout ByteWriter,
        _ generator: inout SplitMix64
    ) {
        var pending: [UInt8] = []
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, Int(generator.next() % 300) + 1)
            pending += rest.prefix(count)
            rest = rest.dropFirst(count)
            let used = answer.pass(pending.span, into: &out)
            pending.removeFirst(used)
        }
        answer.wasCut(.cut)
    }

    /// Where an answer of this text goes on.
    private func tokens(in text: String) -> Int {
        var (count, length) = (0, 0)
        while length < text.utf8.count {
            length += ToldAnswer.tokens[count].utf8.count
            count += 1
        }
        #expect(length == text.utf8.count)
        return count
    }

    @Test(arguments: [ResumeWay.tokenIDs, .prefill, .replay], ["\n", "\r\n", "\r"])
    func `wherever a stream is cut, its continuation makes it whole`(_ way: ResumeWay, _ lineEnd: String) {
        let hasIDs = way == .tokenIDs
        let first = ToldAnswer(hasIDs: hasIDs, lineEnd: lineEnd, id: "one").bytes()
        var generator = SplitMix64(seed: 11)
        var answer = AnswerStream()
        var request = AnswerStream.Request()
        request.includesUsage = true
        for cut in 0...first.count {
            var out = ByteWriter()
            answer.reset(request)
            answer.open(nil, ids: hasIDs ? .singleID : .none)
            read(first[..<cut], &answer, into: &out, &generator)
            if answer.end != .complete {
                #expect(answer.end == .failed(.cut))
                var second = ToldAnswer(lineEnd: lineEnd, id: "two")
                second.hasIDs = hasIDs
                var from = 0
                if answer.hasContent {
                    let isExact = answer.hasExactIDs
                    #expect(isExact == hasIDs)
                    if way != .replay { from = tokens(in: answer.text.bytes.text) }
                    second.isChat = way != .tokenIDs
                    #expect(answer.tokensSent == tokens(in: answer.text.bytes.text))
                    answer.open(way, ids: hasIDs ? .singleID : .none)
                } else {
                    out.removeAll()
                    answer.open(nil, ids: hasIDs ? .singleID : .none)
                }
                read(second.bytes(from: from)[...], &answer, into: &out, &generator)
            }
            #expect(answer.end == .complete, "cut at \(cut)")
            let heard = Heard(out.withUnsafeBytes { Array($0) })
            #expect(heard.text == Self.plain, "cut at \(cut)")
            #expect(heard.roles == 1 && heard.finishes == 1 && heard.ids.count == 1, "cut at \(cut)")
            let usage = heard.usages.first ?? answer.bestUsage
            let isKnown = hasIDs || answer.isUsageSent
            let expected = Usage(
                promptTokens: isKnown ? ToldAnswer.prompt : 0,
                completionTokens: ToldAnswer.tokens.count + (hasIDs ? 1 : 0))
            #expect(usage == expected, "cut at \(cut)")
            #expect(heard.usages.count == (answer.isUsageSent ? 1 : 0))
            let owesUsage = answer.owesUsage
            #expect(owesUsage == !isKnown)
        }
    }

    @Test func `after a cut behind the finish reason the usage is asked for, and nothing else is said`() {
        let bytes = ToldAnswer().bytes()
        var answer = AnswerStream()
        var request = AnswerStream.Request()
        request.includesUsage = true
        answer.reset(request)
        answer.open(nil)
        var generator = SplitMix64(seed: 3)
        var out = ByteWriter()
        read(bytes[..<(bytes.count - 150)], &answer, into: &out, &generator)
        #expect(answer.end == .complete && answer.owesUsage)
        out.removeAll()
        answer.openToCount()
        read(bytes[...], &answer, into: &out, &generator)
        #expect(out.isEmpty && answer.end == .complete && !answer.owesUsage)
        #expect(answer.bestUsage == Usage(promptTokens: 5, completionTokens: 9))
    }

    @Test func `ids that run ahead of the text are dropped, and several of one event are not believed`() {
        func event(_ text: String, _ ids: [Int], _ more: String = "") -> [UInt8] {
            Array(#"data: {"choices":[{"delta":{"content":"\#(text)"},"token_ids":\#(ids)}]\#(more)}\#n\#n"#.utf8)
        }
        var answer = AnswerStream()
        answer.open(nil, ids: .singleID)
        var out = ByteWriter()
        func tell(_ bytes: [UInt8]) { _ = answer.pass(bytes.span, into: &out) }
        tell(event("", [], #","prompt_token_ids":[1,2,3]"#))
        tell(event("a", [10]))
        let isExact = answer.hasExactIDs
        #expect(isExact)
        tell(event("", [11]))
        #expect(answer.hasExactIDs && answer.idsAsPrompt == Array("[1,2,3,10]".utf8))
        tell(event("ü", [12]))
        #expect(answer.hasExactIDs && answer.idsAsPrompt == Array("[1,2,3,10,11,12]".utf8))
        tell(event("bc", [13, 14]))
        #expect(!answer.hasExactIDs && answer.tokensSent == 5)
        tell(event("d", [15]))
        #expect(answer.hasExactIDs && answer.tokensSent == 6)
        #expect(!out.bytes.text.contains("token_ids\":[1"))
    }

    @Test func `a replica that tells no prompt ids is not asked again`() {
        var answer = AnswerStream()
        answer.open(nil, ids: .everyEvent)
        var out = ByteWriter()
        let event = Array("data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"token_ids\":[1]}]}\n\n".utf8)
        _ = answer.pass(event.span, into: &out)
        #expect(!answer.hasExactIDs && answer.tokensSent == 1)
    }
}
