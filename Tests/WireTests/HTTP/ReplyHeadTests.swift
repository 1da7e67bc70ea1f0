import TestSupport
import Testing
import Wire

@Suite struct ReplyHeadTests {
    private static func reply(_ status: String, _ lines: String = "") -> String { "HTTP/1.1 \(status)\r\n\(lines)\r\n" }

    @Test func `a usual reply is read`() throws {
        let text = Self.reply("200 OK", "Content-Length: 5\r\nContent-Type: application/json\r\n")
        let reply = try #require(readReply(text + "hello").head)
        #expect(reply.status == 200)
        #expect(reply.minorVersion == 1)
        #expect(reply.framing == .length(5))
        #expect(reply.keepsAlive)
        #expect(reply.fields.map(\.id) == [.contentLength, .contentType])
        #expect(reply.length == text.utf8.count)
    }

    @Test func `the reason may be empty, long or opaque`() {
        for reason in ["", "OK", "Not  Found\t!", "Gr\u{FC}n", " "] {
            #expect(readReply(Self.reply("299 \(reason)")).head?.status == 299)
        }
    }

    @Test func `a reply without framing ends with its connection`() {
        #expect(readReply(Self.reply("200 OK")).head?.framing == .untilClose)
        #expect(readReply(Self.reply("200 OK", "Connection: keep-alive\r\n")).head?.keepsAlive == false)
        #expect(readReply("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n").head?.keepsAlive == false)
    }

    @Test func `a reply to HEAD, 204 and 304 have no body whatever they announce`() {
        for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
            #expect(readReply(Self.reply("200 OK", lines), to: .head).head?.framing == BodyFraming.none)
            #expect(readReply(Self.reply("304 Not Modified", lines)).head?.framing == BodyFraming.none)
            #expect(readReply(Self.reply("404 Not Found", lines), to: .head).head?.keepsAlive == true)
        }
        #expect(readReply(Self.reply("204 No Content")).head?.framing == BodyFraming.none)
        #expect(readReply(Self.reply("204 No Content")).head?.keepsAlive == true)
    }

    @Test func `a connection is kept as the version and Connection say`() {
        let length = "Content-Length: 0\r\n"
        #expect(readReply(Self.reply("200 OK", length + "Connection: close\r\n")).head?.keepsAlive == false)
        #expect(readReply("HTTP/1.0 200 OK\r\n\(length)\r\n").head?.keepsAlive == false)
        #expect(readReply("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\(length)\r\n").head?.keepsAlive == true)
        let listing = "Keep-Alive: timeout=5\r\nConnection: Keep-Alive, X-A\r\nX-A: 1\r\n"
        let marked = readReply(Self.reply("200 OK", length + listing))
        #expect(marked.head?.keepsAlive == true)
        #expect(marked.head?.fields.filter(\.isNamedByConnection).map(\.name) == ["X-A"])
    }

    @Test func `interim replies are reported and passed over, at most eight`() {
        let interim = Self.reply("100 Continue") + Self.reply("103 Early Hints", "Link: a\r\n")
        let final = Self.reply("200 OK", "Content-Length: 1\r\n")
        let reply = readReply(interim + final).head
        #expect(reply?.interims == 2)
        #expect(reply?.status == 200)
        #expect(reply?.fields.count == 1)
        #expect(readReply(String(repeating: interim, count: 4) + final).head?.interims == 8)
        #expect(readReply(String(repeating: interim, count: 5) + final).violation == .interimReplies)
    }

    @Test func `an interim reply's bytes may be dropped before the next head is read at the same place`() throws {
        var bytes = [UInt8](latin: Self.reply("103 Early Hints", "Link: a\r\n") + Self.reply("204 No Content"))
        let head = ReplyHead()
        let first = try head.parse(bytes.span, from: 0, limits: .usual, requestMethod: .get)
        guard case .interim(let end) = first else {
            Issue.record("the first reply is an interim one")
            return
        }
        bytes.removeFirst(end)
        #expect(try head.parse(bytes.span, from: 0, limits: .usual, requestMethod: .get) == .complete(end: bytes.count))
        #expect(head.status == 204 && head.fields.isEmpty)
    }

    @Test func `the count of interim replies begins anew with each request`() throws {
        let text = String(repeating: Self.reply("100 Continue"), count: 5) + Self.reply("204 No Content")
        let bytes = [UInt8](latin: text + text)
        let head = ReplyHead()
        var from = 0
        var finals = 0
        while from < bytes.count {
            switch try head.parse(bytes.span, from: from, limits: .usual, requestMethod: .get) {
            case .incomplete:
                Issue.record("everything is there")
                return
            case .interim(let end): from = end
            case .complete(let end):
                from = end
                finals += 1
            }
        }
        #expect(finals == 2)
    }

    static let refused: [Refusal] = [
        Refusal("HTTP/1.1 200\r\n\r\n", .statusLine), Refusal("HTTP/1.1 20 OK\r\n\r\n", .statusLine),
        Refusal("HTTP/1.1  200 OK\r\n\r\n", .statusLine), Refusal("HTTP/1.1 2000 OK\r\n\r\n", .statusLine),
        Refusal("HTTP/1.1 +20 OK\r\n\r\n", .statusLine), Refusal("HTTP/1.1 2x0 OK\r\n\r\n", .statusLine),
        Refusal("HTTP/1.1\t200 OK\r\n\r\n", .statusLine), Refusal("HTTP/1.1 200\tOK\r\n\r\n", .statusLine),
        Refusal("HTTP/1.1\r\n\r\n", .statusLine), Refusal("HTTP\r\n\r\n", .statusLine),
        Refusal("\r\n\r\n", .statusLine),
        Refusal("ICY 200 OK\r\n\r\n", .version), Refusal(" HTTP/1.1 200 OK\r\n\r\n", .version),
        Refusal("http/1.1 200 OK\r\n\r\n", .version), Refusal("HTTP/2.0 200 OK\r\n\r\n", .unsupportedVersion),
        Refusal("HTTP/1.2 200 OK\r\n\r\n", .unsupportedVersion), Refusal("HTTP/1.1 099 x\r\n\r\n", .status),
        Refusal("HTTP/1.1 600 x\r\n\r\n", .status), Refusal("HTTP/1.1 000 x\r\n\r\n", .status),
        Refusal("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", .switchingProtocols),
        Refusal("HTTP/1.1 200 OK\n\n", .bareLineFeed), Refusal("HTTP/1.1 200 O\rK\r\n\r\n", .bareCarriageReturn),
        Refusal("HTTP/1.1 200 O\u{0}K\r\n\r\n", .controlByte),
        Refusal(reply("204 x", "Content-Length: 0\r\n"), .bodyOnBodilessStatus),
        Refusal(reply("204 x", "Transfer-Encoding: chunked\r\n"), .bodyOnBodilessStatus),
        Refusal(reply("100 x", "Content-Length: 0\r\n"), .bodyOnBodilessStatus),
        Refusal(reply("103 x", "Transfer-Encoding: chunked\r\n"), .bodyOnBodilessStatus),
        Refusal(reply("200 x", "Content-Length: 5\r\nContent-Length: 5\r\n"), .duplicateContentLength),
        Refusal(reply("200 x", "Content-Length: 5, 5\r\n"), .contentLength),
        Refusal(reply("304 x", "Content-Length: x\r\n"), .contentLength),
        Refusal(reply("200 x", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), .lengthAndTransferEncoding),
        Refusal(reply("200 x", "Transfer-Encoding: gzip, chunked\r\n"), .transferCoding),
        Refusal(reply("200 x", "Transfer-Encoding: identity\r\n"), .transferCoding),
        Refusal("HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncodingInHTTP10),
        Refusal(reply("200 x", "Content-Type: a/b\r\nContent-Type: c/d\r\n"), .duplicateField),
        Refusal(reply("200 x", "X: a\r\n b\r\n"), .foldedField), Refusal(reply("200 x",
        "X : a\r\n"), .spaceBeforeColon),
        Refusal(reply("200 x", "Content_Length: 5\r\n"), .underscoredFieldName),
        Refusal(reply("200 x", "Connection: content-length\r\n"), .protectedConnectionOption),
    ]

    @Test(arguments: refused)
    func `a reply that a client could read in two ways is refused`(refusal: Refusal) {
        let bytes = [UInt8](latin: refusal.text)
        #expect(readReply(bytes) == .refused(refusal.violation))
        #expect(readReply(bytes, cuts: Array(0..<bytes.count)) == .refused(refusal.violation))
    }

    @Test func `a reply means the same however it is split`() {
        let texts = [
            Self.reply("100 Continue") + Self.reply("200 OK", "Content-Length: 5\r\nServer: uvicorn\r\n"),
            Self.reply("200 ", "Transfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n"),
            "HTTP/1.0 503 Busy\r\nRetry-After: 1\r\n\r\n",
        ]
        for sample in texts.map({ [UInt8](latin: $0) }) {
            let whole = readReply(sample)
            #expect(whole.head != nil)
            for first in 0..<sample.count {
                #expect(readReply(Array(sample[..<first])) == .incomplete)
                for second in first..<sample.count { #expect(readReply(sample, cuts: [first, second]) == whole) }
            }
        }
    }

    @Test func `a mutated reply is refused or framed as its bytes say`() {
        var generator = SplitMix64(seed: 13)
        let sample = [UInt8](latin: Self.reply("200 OK", "Server: a\r\nContent-Length: 12\r\nContent-Type: a/b\r\n"))
        var accepted = 0
        for _ in 0..<10_000 {
            let bytes = mutated(sample, &generator)
            let reading = readReply(bytes)
            #expect(readReply(bytes, cuts: [bytes.count / 2]) == reading)
            guard let reply = reading.head, reply.interims == 0, let careless = CarelessReader(bytes) else { continue }
            accepted += 1
            if reply.status != 204, reply.status != 304 {
                #expect((careless.framing == .none ? .untilClose : careless.framing) == reply.framing)
            }
            #expect(careless.length == reply.length && careless.names == reply.fields.map(\.name))
        }
        #expect(accepted > 500)
    }

    @Test func `a status line and a head have limits`() {
        let text = [UInt8](latin: Self.reply("200 OK", "X: a\r\n"))
        let exact = HeadLimits(headBytes: text.count, requestLineBytes: 15, fields: 1)
        #expect(readReply(text, limits: exact).head != nil)
        var tight = exact
        tight.requestLineBytes = 14
        #expect(readReply(text, limits: tight).violation == .statusLineTooLong)
        tight = exact
        tight.headBytes -= 1
        #expect(readReply(text, limits: tight).violation == .headTooLarge)
        tight = exact
        tight.fields = 0
        #expect(readReply(text, limits: tight).violation == .tooManyFields)
    }
}
