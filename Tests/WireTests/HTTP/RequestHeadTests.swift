import Testing
import Wire

@Suite struct RequestHeadTests {
    @Test func `a usual request is read into ranges of its buffer`() throws {
        let text = "POST /v1/chat/completions?a=1&b=%2F HTTP/1.1\r\nHost: weir.example:8080\r\nContent-Length: 12\r\n"
            + "Authorization:  Bearer abc \t\r\nX-Custom: \r\n\r\nbody"
        let head = try #require(readRequest(text).head)
        #expect(head.method == .post)
        #expect(head.methodText == "POST")
        #expect(head.target == "/v1/chat/completions?a=1&b=%2F")
        #expect(head.path == "/v1/chat/completions")
        #expect(head.query == "a=1&b=%2F")
        #expect(head.minorVersion == 1)
        #expect(head.framing == .length(12))
        #expect(head.keepsAlive)
        #expect(!head.expectsContinue)
        #expect(head.host == "weir.example:8080")
        #expect(!head.isAsteriskTarget)
        #expect(head.fields.map(\.name) == ["Host", "Content-Length", "Authorization", "X-Custom"])
        #expect(head.fields.map(\.value) == ["weir.example:8080", "12", "Bearer abc", ""])
        #expect(head.fields.map(\.id) == [.host, .contentLength, .authorization, .other])
        #expect(head.length == text.utf8.count - 4)
    }

    @Test func `every method has its name and all others are other`() {
        for method in HTTPMethod.allCases where method != .other {
            #expect(readRequest("\(method.text) /a HTTP/1.1\r\nHost: h\r\n\r\n").head?.method == method)
        }
        for text in ["get", "Post", "TRACE", "PURGE", "G", "OPTIONSX", "PUTT", "PATCG", "!#$%&'*+-.^_`|~"] {
            let head = readRequest("\(text) /a HTTP/1.1\r\nHost: h\r\n\r\n").head
            #expect(head?.method == .other)
            #expect(head?.methodText == text)
        }
    }

    @Test(arguments: [
        // target, path, query, host
        ("/", "/", nil, "h"),
        ("//two/slashes", "//two/slashes", nil, "h"),
        ("/a?", "/a", "", "h"),
        ("/a?b?c/d", "/a", "b?c/d", "h"),
        ("/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@", nil, "h"),
        ("/%00%7e%C3%A9", "/%00%7e%C3%A9", nil, "h"),
        ("/a/../b", "/a/../b", nil, "h"),
        ("http://other:81/a?b", "/a", "b", "other:81"),
        ("HTTPS://other/a", "/a", nil, "other"),
        ("http://other", "/", nil, "other"),
        ("http://[::1]:80/", "/", nil, "[::1]:80"),
    ] as [(String, String, String?, String)])
    func `a legal target is taken apart, and an absolute one brings its host`(
        target: String, path: String, query: String?, host: String
    ) throws {
        let head = try #require(readRequest("GET \(target) HTTP/1.1\r\nHost: h\r\n\r\n").head)
        #expect(head.path == path)
        #expect(head.query == query)
        #expect(head.host == host)
        #expect(head.target == path + (query.map { "?\($0)" } ?? ""))
    }

    @Test func `OPTIONS may ask about the server as a whole in either form`() throws {
        for target in ["*", "http://h"] {
            let head = try #require(readRequest("OPTIONS \(target) HTTP/1.1\r\nHost: h\r\n\r\n").head)
            #expect(head.isAsteriskTarget)
        }
        #expect(readRequest("OPTIONS /* HTTP/1.1\r\nHost: h\r\n\r\n").head?.isAsteriskTarget == false)
        #expect(readRequest("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n").head?.isAsteriskTarget == false)
    }

    @Test func `an absolute target's authority replaces Host, which must still be there and be valid`() {
        #expect(readRequest("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n").head?.host == "a")
        #expect(readRequest("GET http://a/ HTTP/1.0\r\n\r\n").head?.host == "a")
        #expect(readRequest("GET http://a/ HTTP/1.1\r\n\r\n").violation == .missingHost)
        #expect(readRequest("GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n").violation == .host)
    }

    @Test func `HTTP 1_0 needs no Host and closes unless it asks not to`() throws {
        let bare = try #require(readRequest("GET / HTTP/1.0\r\n\r\n").head)
        #expect(bare.minorVersion == 0)
        #expect(bare.host == nil)
        #expect(!bare.keepsAlive)
        #expect(readRequest("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").head?.keepsAlive == true)
        #expect(readRequest("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").head?.keepsAlive == false)
    }

    @Test func `HTTP 1_1 stays open unless close is among the options`() {
        let closing = ["close", "CLOSE", "foo, close", ",,close,", "keep-alive,\tclose", "te\r\nConnection: close"]
        for value in closing {
            #expect(readRequest(request("Connection: \(value)\r\n")).head?.keepsAlive == false, "\(value)")
        }
        for value in ["", "keep-alive", "closed", "clos", "x-close", "upgrade, http2-settings", " , ,"] {
            #expect(readRequest(request("Connection: \(value)\r\n")).head?.keepsAlive == true, "\(value)")
        }
    }

    @Test func `fields that Connection lists are marked, whatever their case and place`() throws {
        let lines = "x-one: 1\r\nConnection: X-One, Upgrade , te\r\nTE: trailers\r\nUpgrade: h2c\r\n"
            + "X-Two: 2\r\nX-ONE: 3\r\n"
        let head = try #require(readRequest(request(lines)).head)
        #expect(head.fields.filter(\.isNamedByConnection).map(\.name) == ["x-one", "TE", "Upgrade", "X-ONE"])
    }

    @Test func `a body is framed by exactly one field`() {
        #expect(readRequest(request("")).head?.framing == BodyFraming.none)
        #expect(readRequest(request("Content-Length: 0\r\n")).head?.framing == .length(0))
        #expect(readRequest(request("Content-Length: 0012\r\n")).head?.framing == .length(12))
        #expect(readRequest(request("content-length:\t9007199254740992 \r\n")).head?.framing == .length(1 << 53))
        #expect(readRequest(request("Transfer-Encoding: chunked\r\n")).head?.framing == .chunked)
        #expect(readRequest(request("TRANSFER-ENCODING:Chunked\r\n")).head?.framing == .chunked)
    }

    @Test func `100-continue counts only where a body follows and the version knows it`() {
        let expect = "Expect: 100-Continue\r\n"
        #expect(readRequest(request(expect + "Content-Length: 3\r\n")).head?.expectsContinue == true)
        #expect(readRequest(request(expect + "Transfer-Encoding: chunked\r\n")).head?.expectsContinue == true)
        #expect(readRequest(request(expect + "Content-Length: 0\r\n")).head?.expectsContinue == false)
        #expect(readRequest(request(expect)).head?.expectsContinue == false)
        let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        #expect(readRequest(old).head?.expectsContinue == false)
    }

    @Test(arguments: [
        "weir", "WEIR.example", "a_b-c.d", "10.0.0.1:80", "h:", "h:0", "h:65535", "xn--bcher-kva.example", "1.2.3.400",
        "[::]", "[::1]:8080", "[2001:db8::8a2e:370:7334]", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7::]",
        "[::2:3:4:5:6:7:8]",
        "[::ffff:192.0.2.1]", "[1:2:3:4:5:6:1.2.3.4]", "[FE80::A]",
    ])
    func `a name or an address with or without a port may be the Host`(host: String) {
        #expect(readRequest("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n").head?.host == host)
    }

    @Test func `values may hold tabs and opaque bytes but lose white space at their ends`() {
        let head = readRequest(request("X-Opaque: \t \u{80}\u{FF}\ta  b!~\t\r\n")).head
        #expect(head?.fields.last?.value == "\u{80}\u{FF}\ta  b!~")
    }

    @Test func `two empty lines before the request line are passed over`() {
        let text = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
        #expect(readRequest("\r\n" + text).head?.length == text.utf8.count + 2)
        #expect(readRequest("\r\n\r\n" + text).head?.length == text.utf8.count + 4)
        #expect(readRequest("\r\n\r\n\r\n" + text).violation == .emptyLines)
    }

    @Test func `one parser reads pipelined requests and forgets the one before`() throws {
        let first = "POST /a?b HTTP/1.1\r\nHost: one\r\nExpect: 100-continue\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n"
        let second = "GET /c HTTP/1.0\r\n\r\n"
        let bytes = [UInt8](latin: first + second)
        let head = RequestHead()
        guard case .complete(let end) = try head.parse(bytes.span, from: 0, limits: .usual) else {
            Issue.record("the first request is complete")
            return
        }
        #expect(end == first.utf8.count)
        #expect(try head.parse(bytes.span, from: end, limits: .usual) == .complete(end: bytes.count))
        #expect(ReadRequest(head, bytes, length: second.utf8.count) == readRequest(second).head)
    }

    @Test func `a head that was begun elsewhere or refused does not leak into the next`() throws {
        let head = RequestHead()
        let begun = [UInt8](latin: "POST /a HTTP/1.1\r\nHost: one\r\nContent-Length: 5\r\nX-")
        #expect(try head.parse(begun.span, from: 0, limits: .usual) == .incomplete)
        head.reset()
        let clean = readRequest("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        let bytes = [UInt8](latin: "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(readRequest(bytes, with: head) == clean)

        let bad = [UInt8](latin: "POST /a HTTP/1.1\r\nHost: one\r\nHost: two\r\n\r\n")
        #expect(throws: HTTPViolation.duplicateField) { try head.parse(bad.span, from: 0, limits: .usual) }
        #expect(readRequest(bytes, with: head) == clean)
        head.release()
        #expect(readRequest(bytes, with: head) == clean)
    }

    @Test func `look-ups find the first of several and count them all`() throws {
        let bytes = [UInt8](latin: request("Accept: a\r\nX-Other: 1\r\nACCEPT: b\r\n"))
        let head = RequestHead()
        _ = try head.parse(bytes.span, from: 0, limits: .usual)
        #expect(head.first(.accept).map { bytes.text($0) } == "a")
        #expect(head.first(.other).map { bytes.text($0) } == "1")
        #expect(head.count(of: .accept) == 2)
        #expect(head.count(of: .other) == 1)
        #expect(head.first(.cookie) == nil)
        #expect(head.count(of: .cookie) == 0)
    }

    @Test func `without its fields a head still says how its body is framed, and the next is read as ever`() throws {
        let text = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-A: 1\r\n\r\n"
        let bytes = [UInt8](text.utf8)
        let head = RequestHead()
        for _ in 0..<2 {
            #expect(try head.parse(bytes.span, from: 0, limits: .usual) == .complete(end: bytes.count))
            #expect(head.fieldCount == 3 && head.first(.host) != nil)
            head.releaseFields()
            #expect(head.fieldCount == 0 && head.first(.host) == nil)
            #expect(head.method == .post && head.framing == .length(5) && head.keepsAlive && head.minorVersion == 1)
        }
    }
}
