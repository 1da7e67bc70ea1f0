import TestSupport
import Testing
import Wire

/// Heads as senders vary them: the same lines again with other values, and now and then something else in them.
private struct Variations {
    private static let values = [
        "", "x", "0", "12", "007", "9007199254740992", "9007199254740993", "99999999999999999999", "-1", "1 2", "5, 5",
        " x", "x ", "x\t", "\tx", "a\tb", "\u{FF}", "a\u{7F}", "\u{0}", "a\rb", "a\nb", "a\r\nb", "a\r\n b", "close",
        "keep-alive, x-a", "chunked", "gzip", "100-continue", "h:1", "h h", String(repeating: "s", count: 31),
        String(repeating: "s", count: 32), String(repeating: "s", count: 33), String(repeating: "t", count: 300),
    ]
    private static let names = [
        "Authorization", "authorization", "Content-Length", "Transfer-Encoding", "Host", "Expect", "X-A", "X_A",
        "Content_Length", "Connection", "Date", "X-Weir-A", "Bad Name", "",
    ]
    let samples: [[UInt8]]
    var generator: SplitMix64

    /// A sample, mostly with one change.
    mutating func next() -> [UInt8] {
        let sample = samples.randomElement(using: &generator)!
        if Int.random(in: 0..<8, using: &generator) == 0 { return mutated(sample, &generator) }
        var lines = sample.split(separator: [0x0D, 0x0A], omittingEmptySubsequences: false).map { Array($0) }
        for _ in 0..<Int.random(in: 0...2, using: &generator) { vary(&lines) }
        return Array(lines.joined(separator: [0x0D, 0x0A]))
    }

    private mutating func vary(_ lines: inout [[UInt8]]) {
        let line = Int.random(in: 1..<lines.count, using: &generator)
        let value = [UInt8](latin: Self.values.randomElement(using: &generator)!)
        switch Int.random(in: 0..<12, using: &generator) {
        case 0: lines.insert(lines[line], at: line)
        case 1: lines.remove(at: line)
        case 2: lines.swapAt(line, Int.random(in: 0..<lines.count, using: &generator))
        case 3:
            let name = [UInt8](latin: Self.names.randomElement(using: &generator)!)
            lines.insert(name + [0x3A, 0x20] + value, at: line)
        case 4: lines[line] = lines[line].map { $0 | 0x20 }
        case 5: lines[0] = mutated(lines[0], &generator)
        case 6: lines[line] += [0x20]
        default: lines[line] = Array(lines[line].prefix { $0 != 0x3A }) + [0x3A, 0x20] + value
        }
    }

    mutating func limits() -> HeadLimits {
        guard Int.random(in: 0..<8, using: &generator) == 0 else { return .usual }
        return HeadLimits(
            headBytes: Int.random(in: 40...400, using: &generator),
            requestLineBytes: Int.random(in: 10...40, using: &generator),
            fields: Int.random(in: 1...8, using: &generator))
    }
}

@Suite struct RecentHeadsTests {
    private static let usual = "POST /v1/chat/completions HTTP/1.1\r\nHost: weir:8080\r\n"
        + "Authorization: Bearer secret-one\r\nX-API-Key: secret-two\r\nAccept: */*\r\n"
        + "Cookie: secret-three\r\nContent-Length: 12\r\n\r\n"
    private static let others = [
        usual,
        "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer secret\r\nhost: weir\r\nConnection: X-A, close\r\n"
            + "x-a: 1\r\n\r\n",
        "POST /v1/completions HTTP/1.0\r\nContent-Length: 3\r\nX-Empty:\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX-Request-ID: abc\r\nDate: now\r\n\r\n",
    ]
    private static let replies = [
        "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ndate: now\r\ncontent-type: application/json\r\n"
            + "content-length: 771\r\n\r\n",
        "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.0 503 Busy\r\nDate: then\r\nRetry-After: 2\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nX-Request-Id: a\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
    ]

    @Test func `a request like a recent one is not parsed, and reads as if it were`() {
        let recent = RequestHead.Recent()
        let text = Self.usual
        #expect(readRequest(text, recent).head?.framing == .length(12))
        #expect(recent.misses == 1)
        let next = text.replacing("secret-one", with: "another").replacing("h: 12", with: "h: 123456")
        let head = readRequest(next, recent).head
        #expect(head != nil && head == readRequest(next).head)
        #expect(recent.misses == 1)
    }

    @Test func `nothing that may be a credential is kept`() throws {
        let recent = RequestHead.Recent()
        for text in [Self.usual, Self.usual.replacing(": secret", with: ":secret")] {
            #expect(readRequest(text, recent).head != nil)
        }
        #expect(readRequest("GET /a?key=secret HTTP/1.1\r\nHost: h\r\n\r\n", recent).head != nil)
        #expect(readRequest("GET http://secret/ HTTP/1.1\r\nHost: h\r\n\r\n", recent).head != nil)
        let kept = String(decoding: recent.keptText, as: UTF8.self)
        #expect(kept.contains("X-API-Key: ") && !kept.contains("secret"))
        let secrets: [FieldID] = [.other, .authorization, .proxyAuthorization, .cookie, .setCookie, .xSessionID]
        for id in secrets { #expect(!id.isKept) }
    }

    @Test func `what parsing looks into is compared, or read again`() {
        for id in [FieldID.host, .connection, .transferEncoding] { #expect(id.isKept) }
        let recent = RequestHead.Recent()
        let expecting = Self.usual.replacing("Accept: */*", with: "Expect: 100-continue")
        for count in 1...3 {
            #expect(readRequest(expecting, recent).head?.expectsContinue == true)
            #expect(readRequest(expecting, recent).violation == nil && recent.misses == 0, "\(count)")
        }
        #expect(readRequest(expecting.replacing("100-c", with: "200-c"), recent).violation == .expectation)
    }

    @Test func `limits count for a head like a recent one as for any other`() {
        let recent = RequestHead.Recent()
        #expect(readRequest(Self.usual, recent).head != nil)
        let count = Self.usual.utf8.count
        let roomy = HeadLimits(headBytes: count, requestLineBytes: 34, fields: 6)
        #expect(readRequest(Self.usual, recent, roomy).head != nil && recent.misses == 1)
        let tight: [(WritableKeyPath<HeadLimits, Int>, HTTPViolation)] = [
            (\.headBytes, .headTooLarge), (\.requestLineBytes, .requestLineTooLong), (\.fields, .tooManyFields),
        ]
        for (limit, violation) in tight {
            var limits = roomy
            limits[keyPath: limit] -= 1
            #expect(readRequest(Self.usual, recent, limits).violation == violation)
        }
    }

    @Test func `any one byte that differs from a recent head counts as much as in a head that is parsed`() throws {
        let (request, reply) = ([UInt8](latin: Self.usual), [UInt8](latin: Self.replies[0]))
        for edited in oneByteEdits(of: request) {
            let recent = RequestHead.Recent()
            _ = try RequestHead(recent: recent).parse(request.span, from: 0, limits: .usual)
            let compared = readRequest(edited, with: RequestHead(recent: recent))
            #expect(compared == readRequest(edited), "\(String(decoding: edited, as: UTF8.self))")
        }
        for edited in oneByteEdits(of: reply) {
            let recent = ReplyHead.Recent()
            _ = try ReplyHead(recent: recent).parse(reply.span, from: 0, limits: .usual, requestMethod: .post)
            let compared = readReply(edited, with: ReplyHead(recent: recent))
            #expect(compared == readReply(edited), "\(String(decoding: edited, as: UTF8.self))")
        }
    }

    /// At each place: the byte taken out, and one of a few put there instead of it or before it.
    private func oneByteEdits(of bytes: [UInt8]) -> [[UInt8]] {
        bytes.indices.flatMap { place in
            let (before, behind) = (Array(bytes[..<place]), bytes[(place + 1)...])
            let edits = [0x0D, 0x20, 0x61, 0xFF].flatMap { byte in
                [before + [byte] + behind, before + [byte, bytes[place]] + behind]
            }
            return edits + [before + behind]
        }
    }

    @Test func `requests that vary read the same with recent ones and without`() {
        var variations = Variations(samples: Self.others.map { [UInt8](latin: $0) }, generator: SplitMix64(seed: 21))
        let recent = RequestHead.Recent()
        let parsers = (0..<3).map { _ in RequestHead(recent: recent) }
        var accepted = 0
        for round in 0..<60_000 {
            let head = variations.next()
            // The buffer ends with the head, or there is a body behind it.
            let bytes = round % 2 == 0 ? head : head + Array("{\"model\": \"a\", \"messages\": []}".utf8)
            let limits = variations.limits()
            let cuts = round % 16 == 0 ? [Int.random(in: 0..<bytes.count, using: &variations.generator)] : []
            let parser = parsers[round % 3]
            parser.reset()
            let reading = readRequest(bytes, cuts: cuts, limits: limits, with: parser)
            let fresh = readRequest(bytes, limits: limits)
            #expect(reading == fresh, "\(String(decoding: bytes, as: UTF8.self))")
            if fresh.head != nil { accepted += 1 }
        }
        // Both ways were gone often.
        let parsed = recent.misses
        #expect(parsed > 2_000 && accepted - parsed > 2_000, "\(accepted) accepted, \(parsed) parsed")
    }

    @Test func `replies that vary read the same with recent ones and without, to every method`() {
        var variations = Variations(samples: Self.replies.map { [UInt8](latin: $0) }, generator: SplitMix64(seed: 22))
        let recent = ReplyHead.Recent()
        let parsers = (0..<3).map { _ in ReplyHead(recent: recent) }
        var accepted = 0
        for round in 0..<60_000 {
            var bytes = variations.next()
            if round % 5 == 0 { bytes += variations.next() }
            if round % 2 == 0 { bytes += [0x7B, 0x7D] }
            let limits = variations.limits()
            let method: HTTPMethod = round % 7 == 0 ? .head : .post
            let parser = parsers[round % 3]
            parser.reset()
            let reading = readReply(bytes, to: method, limits: limits, with: parser)
            let fresh = readReply(bytes, to: method, limits: limits)
            #expect(reading == fresh, "\(String(decoding: bytes, as: UTF8.self))")
            if fresh.head != nil { accepted += 1 }
        }
        let parsed = recent.misses
        #expect(parsed > 2_000 && accepted - parsed > 2_000, "\(accepted) accepted, \(parsed) parsed")
    }

    @Test func `more kinds of heads than are kept still find a place, and heads that never come again take few`() {
        let recent = RequestHead.Recent()
        func parsed(_ path: String) -> Bool {
            let before = recent.misses
            #expect(readRequest("GET /\(path) HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\n\r\n", recent).head != nil)
            return recent.misses > before
        }
        for kind in 0..<8 { #expect(parsed("\(kind)")) }
        for kind in 0..<8 { #expect(!parsed("\(kind)")) }
        var replaced = 0
        for once in 0..<32 { _ = parsed("once-\(once)") }
        for kind in 0..<8 where parsed("\(kind)") { replaced += 1 }
        #expect((3...5).contains(replaced))
    }

    @Test func `a field can be moved as four numbers, with four bytes behind them`() {
        #expect(MemoryLayout<HTTPField>.stride == 20)
        #expect(MemoryLayout<HTTPField>.offset(of: \.name) == 0 && MemoryLayout<HTTPField>.offset(of: \.value) == 8)
        #expect(MemoryLayout<ByteRange>.offset(of: \.start) == 0 && MemoryLayout<ByteRange>.offset(of: \.count) == 4)
        #expect(MemoryLayout<HTTPField>.offset(of: \.id) == 16)
    }

    @Test func `a head that is too large to keep is parsed each time`() {
        let recent = RequestHead.Recent()
        let large = Self.usual.replacing("*/*", with: String(repeating: "a", count: 1_024))
        let many = Self.usual.replacing("Accept", with: String(repeating: "X-A: 1\r\n", count: 30) + "Accept")
        for text in [large, many, large, many] {
            let head = readRequest(text, recent).head
            #expect(head != nil && head == readRequest(text).head)
        }
        #expect(recent.misses == 4)
    }
}

private func readRequest(
    _ text: String, _ recent: RequestHead.Recent, _ limits: HeadLimits = .usual
) -> Reading<ReadRequest> {
    readRequest([UInt8](latin: text), limits: limits, with: RequestHead(recent: recent))
}
