import GatewayCore
import Testing
import Wire

/// Bytes that must be refused, and as what.
struct Refusal: Sendable, CustomTestStringConvertible {
    let text: String
    let violation: HTTPViolation
    init(_ text: String, _ violation: HTTPViolation) {
        self.text = text
        self.violation = violation
    }
    var testDescription: String { "\(violation): \(text.debugDescription.prefix(70))" }
}

@Suite struct RequestHeadRefusalTests {
    private static func line(_ line: String, _ violation: HTTPViolation) -> Refusal {
        Refusal("\(line)\r\nHost: h\r\n\r\n", violation)
    }
    private static func target(_ target: String, _ violation: HTTPViolation = .target) -> Refusal {
        line("GET \(target) HTTP/1.1", violation)
    }
    private static func fields(_ lines: String, _ violation: HTTPViolation) -> Refusal {
        Refusal(request(lines), violation)
    }
    private static func host(_ host: String) -> Refusal {
        Refusal("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n", .host)
    }

    static let requestLines: [Refusal] = [
        line("GET", .requestLine), line("GET /", .requestLine), line("GET  / HTTP/1.1", .requestLine),
        line("GET /  HTTP/1.1", .requestLine), line("GET / HTTP/1.1 ", .requestLine),
        line("GET / x HTTP/1.1", .requestLine),
        line("GET HTTP/1.1", .requestLine), line("GET  HTTP/1.1", .requestLine), line("GET /\tHTTP/1.1", .requestLine),
        line(" GET / HTTP/1.1", .method), line("\tGET / HTTP/1.1", .method), line("G(T / HTTP/1.1", .method),
        line("GET\t/ HTTP/1.1", .method), line("G\u{E9}T / HTTP/1.1", .method), line("GET: / HTTP/1.1", .method),
        line("GET / HTTP/1.1x", .version), line("GET / http/1.1", .version), line("GET / HTTP/1.10", .version),
        line("GET / HTTP/01.1", .version), line("GET / HTTP/1,1", .version), line("GET / HTTP/1.", .version),
        line("GET / HTTP /1.1", .requestLine), line("GET / HTTPS/1.1", .version), line("GET / HTTP/1.a", .version),
        line("GET / HTTP/+.1", .version), line("GET / XTTP/1.1", .version),
        line("GET / HTTP/1.2", .unsupportedVersion), line("GET / HTTP/0.9", .unsupportedVersion),
        line("GET / HTTP/2.0", .unsupportedVersion), line("GET / HTTP/3.0", .unsupportedVersion),
        Refusal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .http2Preface),
        line("CONNECT h:443 HTTP/1.1", .connectMethod), line("CONNECT /a HTTP/1.1", .connectMethod),
        Refusal("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", .controlByte),
        Refusal("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", .emptyLines),
    ]

    static let targets: [Refusal] = [
        target("*", .asteriskTarget), target("h:443", .targetForm), target("a/b", .targetForm),
        target("?a", .targetForm),
        target("ftp://h/a", .targetForm), target("http:/h/a", .targetForm), target("http://h?a", .targetForm),
        target("**", .targetForm), target("http:", .targetForm), target("http://", .targetForm), target("http:///a"),
        target("https://", .targetForm),
        target("http://u@h/a", .userinfo), target("http://u:p@h/a", .userinfo), target("http://@h/a", .userinfo),
        target("http://h:99999/a"), target("http://h:a/"), target("http://[::1/a"), target("http://a,b/"),
        target("http://h#f"), target("http://h%41/"), target("http://h\\@evil/", .userinfo), target("http://h\\evil/"),
        target("/a#b"), target("/a\\b"), target("/a\"b"), target("/a<b"), target("/a>b"), target("/a^b"),
        target("/a`b"),
        target("/a{b"), target("/a|b"), target("/a}b"), target("/[a"), target("/a]"), target("/a?[b]"),
        target("/a?b#c"),
        target("/caf\u{E9}"), target("/a?\u{FF}"), target("/\t"), target("/%"), target("/%4"), target("/%4g"),
        target("/%g4"), target("/a?%"), target("/a?%2"), target("/%%41"), target("/%u0041"), target("/a\u{80}"),
        target("/a b", .requestLine),
    ]

    static let lineEnds: [Refusal] = [
        Refusal("GET / HTTP/1.1\nHost: h\n\n", .bareLineFeed), Refusal("\nGET / HTTP/1.1\r\n", .bareLineFeed),
        Refusal("GET / HTTP/1.1\rHost: h\r\r", .bareCarriageReturn),
        Refusal("GET / HTTP/1.1\r\nHost: h\n\r\n", .bareLineFeed),
        Refusal("GET / HTTP/1.1\r\nHost: h\r\n\n", .bareLineFeed),
        Refusal("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", .bareCarriageReturn),
        Refusal("\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", .bareCarriageReturn),
        fields("X: a\rb\r\n", .bareCarriageReturn), fields("X: a\nb: c\r\n", .bareLineFeed),
        fields("X: \r\r\n", .bareCarriageReturn), fields("\rX: a\r\n", .bareCarriageReturn),
        fields("X: a\u{0}b\r\n", .controlByte), fields("X\u{0}: a\r\n", .controlByte),
        fields("X: \u{7F}\r\n", .controlByte),
        fields("X: \u{1B}[0m\r\n", .controlByte), fields("X: \u{0B}\r\n", .controlByte),
        fields("X: \u{0C}a\r\n", .controlByte),
        fields("X: a\u{8}\r\n", .controlByte), line("GET /\u{0} HTTP/1.1", .controlByte),
        line("GET /\u{7F} HTTP/1.1", .controlByte),
    ]

    static let fieldLines: [Refusal] = [
        fields("X: a\r\n b\r\n", .foldedField), fields("X: a\r\n\tb: c\r\n", .foldedField),
        Refusal("GET / HTTP/1.1\r\n Host: h\r\n\r\n", .foldedField), fields(" \r\n", .foldedField),
        fields("X\r\n", .missingColon), fields("X a\r\n", .missingColon), fields(": a\r\n", .emptyFieldName),
        fields(":\r\n", .emptyFieldName), fields("X : a\r\n", .spaceBeforeColon),
        fields("X\t: a\r\n", .spaceBeforeColon),
        fields("Content-Length : 5\r\n", .spaceBeforeColon), fields("X Y: a\r\n", .fieldName),
        fields("X(: a\r\n", .fieldName),
        fields("X\u{E9}: a\r\n", .fieldName), fields("\"X\": a\r\n", .fieldName), fields("X@: a\r\n", .fieldName),
        fields("X-RateLimit-\u{80}: a\r\n", .fieldName), fields("x-weir-a b: a\r\n", .fieldName),
        fields("X[]: a\r\n", .fieldName), fields("\u{A0}Content-Length: 5\r\n", .fieldName),
        fields("Content_Length: 5\r\n", .underscoredFieldName),
        fields("transfer_Encoding: chunked\r\n", .underscoredFieldName),
        fields("X_Session-ID: a\r\n", .underscoredFieldName), fields("x_ratelimit_a: 1\r\n", .underscoredFieldName),
        fields("X-Weir_Replica: 1\r\n", .underscoredFieldName),
    ]

    static let framing: [Refusal] = [
        fields("Content-Length: 5\r\nContent-Length: 5\r\n", .duplicateContentLength),
        fields("Content-Length: 5\r\ncontent-length: 6\r\n", .duplicateContentLength),
        fields("Content-Length: 5, 5\r\n", .contentLength), fields("Content-Length: 5,\r\n", .contentLength),
        fields("Content-Length:\r\n", .contentLength), fields("Content-Length: +5\r\n", .contentLength),
        fields("Content-Length: -5\r\n", .contentLength), fields("Content-Length: 5 5\r\n", .contentLength),
        fields("Content-Length: 0x5\r\n", .contentLength), fields("Content-Length: 5;\r\n", .contentLength),
        fields("Content-Length: 5.0\r\n", .contentLength), fields("Content-Length: 1e3\r\n", .contentLength),
        fields("Content-Length: \"5\"\r\n", .contentLength), fields("Content-Length: 1_000\r\n", .contentLength),
        fields("Content-Length: \u{B2}\r\n", .contentLength),
        fields("Content-Length: 9007199254740993\r\n", .contentLength),
        fields("Content-Length: 18446744073709551621\r\n", .contentLength),
        fields("Content-Length: 99999999999999999999999999999999\r\n", .contentLength),
        fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", .lengthAndTransferEncoding),
        fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", .lengthAndTransferEncoding),
        fields("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", .lengthAndTransferEncoding),
        fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", .duplicateTransferEncoding),
        fields("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", .duplicateTransferEncoding),
        fields("Transfer-Encoding: gzip, chunked\r\n", .transferCoding),
        fields("Transfer-Encoding:\r\n", .transferCoding),
        fields("Transfer-Encoding: chunked, chunked\r\n", .transferCoding),
        fields("Transfer-Encoding: chunked,\r\n", .transferCoding),
        fields("Transfer-Encoding: ,chunked\r\n", .transferCoding),
        fields("Transfer-Encoding: chunked;a=b\r\n", .transferCoding),
        fields("Transfer-Encoding: chunked identity\r\n", .transferCoding),
        fields("Transfer-Encoding: identity\r\n", .transferCoding),
        fields("Transfer-Encoding: xchunked\r\n", .transferCoding),
        fields("Transfer-Encoding: \"chunked\"\r\n", .transferCoding),
        fields("Transfer-Encoding: chunke\u{E4}\r\n", .transferCoding),
        fields("Transfer-Encoding: \u{A0}chunked\r\n", .transferCoding),
        Refusal("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncodingInHTTP10),
    ]

    static let meaning: [Refusal] = [
        Refusal("GET / HTTP/1.1\r\n\r\n", .missingHost),
        Refusal("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", .duplicateField),
        Refusal("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", .duplicateField),
        host(""), host("a b"), host("a,b"), host("a;b"), host("a/b"), host("a@b"), host("u:p@b"), host("a?b"),
        host("a#b"),
        host("a\\b"), host("a%41"), host("\u{E9}"), host(":80"), host("a:80:80"), host("a:-1"), host("a:65536"),
        host("a:8o"), host("a:000080"), host("[::1"), host("::1"), host("[::1]a"), host("[]"), host("[:]"),
        host("[:::]"),
        host("[1:2:3:4:5:6:7]"), host("[1:2:3:4:5:6:7:8:9]"), host("[1::2::3]"), host("[1:2:3:4:5:6:7:8::]"),
        host("[12345::]"),
        host("[::g]"), host("[fe80::1%25eth0]"), host("[v1.a]"), host("[::1.2.3]"), host("[::1.2.3.256]"),
        host("[::01.2.3.4]"),
        host("[1:]"), host("[:1]"), host("[1.2.3.4]"), host("[::1.2.3.4.5]"), host("[::1.2.3.4:5]"), host("http://h"),
        host(String(repeating: "a", count: 256)),
        fields("Authorization: a\r\nAuthorization: b\r\n", .duplicateField),
        fields("Content-Type: a/b\r\ncontent-type: a/b\r\n", .duplicateField),
        fields("Content-Encoding: gzip\r\nContent-Encoding: br\r\n", .duplicateField),
        fields("Origin: a\r\nOrigin: b\r\n", .duplicateField),
        fields("X-Session-ID: a\r\nX-Session-Id: b\r\n", .duplicateField),
        fields("Idempotency-Key: a\r\nIdempotency-Key: b\r\n", .duplicateField),
        fields("Expect: 100-continue\r\nExpect: 100-continue\r\n", .duplicateField),
        fields("Expect: 100-continue, x\r\n", .expectation), fields("Expect: 200-ok\r\n", .expectation),
        fields("Expect:\r\n", .expectation),
        fields("Connection: close, Host\r\n", .protectedConnectionOption),
        fields("Connection: Content-Length\r\n", .protectedConnectionOption),
        fields("Connection: Transfer-Encoding\r\n", .protectedConnectionOption),
        fields("Connection: close,authorization\r\n", .protectedConnectionOption),
        fields("Connection: X-Forwarded-For\r\n", .protectedConnectionOption),
        fields("Connection: x-session-id\r\n", .protectedConnectionOption),
        fields("Connection: x-ratelimit-foo\r\n", .protectedConnectionOption),
        fields("Connection: close keep-alive\r\n", .connectionOptions),
        fields("Connection: \"close\"\r\n", .connectionOptions),
        fields("Connection: close;q=1\r\n", .connectionOptions), fields("Connection: \u{E9}\r\n", .connectionOptions),
        fields("Connection: \(Array(repeating: "a", count: 33).joined(separator: ","))\r\n", .connectionOptions),
    ]

    @Test(arguments: requestLines)
    func `a request line that is not exactly three words is refused`(refusal: Refusal) {
        #expect(readRequest(refusal.text).violation == refusal.violation)
    }

    @Test(arguments: targets)
    func `a target outside the grammar is refused`(refusal: Refusal) {
        #expect(readRequest(refusal.text).violation == refusal.violation)
    }

    @Test(arguments: lineEnds)
    func `a line ends with CRLF only and holds no control bytes`(refusal: Refusal) {
        #expect(readRequest(refusal.text).violation == refusal.violation)
    }

    @Test(arguments: fieldLines)
    func `a field line is a token, a colon and a value`(refusal: Refusal) {
        #expect(readRequest(refusal.text).violation == refusal.violation)
    }

    @Test(arguments: framing)
    func `a body that could be counted in two ways is refused`(refusal: Refusal) {
        #expect(readRequest(refusal.text).violation == refusal.violation)
    }

    @Test(arguments: meaning)
    func `a field that could mean two things is refused`(refusal: Refusal) {
        #expect(readRequest(refusal.text).violation == refusal.violation)
    }

    @Test func `every byte but the grammar's is refused in a name, and in a value`() {
        let token = Set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        for byte in UInt8.min...UInt8.max {
            let character = Character(Unicode.Scalar(byte))
            let inName = readRequest(request("A\(character)b: c\r\n"))
            #expect((inName.head != nil) == (token.contains(byte) || byte == 0x3A), "\(byte)")
            let inValue = readRequest(request("A: b\(character)c\r\n"))
            #expect((inValue.head != nil) == (byte == 0x09 || (byte >= 0x20 && byte != 0x7F)), "\(byte)")
            for padding in 0..<9 {
                let text = request("A: \(String(repeating: "b", count: padding))\(character)cdefghijklmnop\r\n")
                #expect((readRequest(text).head != nil) == (inValue.head != nil), "\(byte) behind \(padding)")
            }
        }
    }

    @Test func `a field that may stand once may stand once`() {
        for id in [FieldID.authorization, .contentType, .origin, .xSessionID, .idempotencyKey, .xStainlessRetryCount] {
            #expect(readRequest(request("\(id.name): a\r\n")).head?.value(id) == "a")
        }
        for id in [FieldID.accept, .cookie, .xForwardedFor, .via, .tracestate, .acceptEncoding] {
            #expect(readRequest(request("\(id.name): a\r\n\(id.name): b\r\n")).head?.fields.count == 3)
        }
    }

    @Test func `each violation has its answer`() {
        #expect(HTTPViolation.requestLineTooLong.gatewayError == .targetTooLong)
        #expect(HTTPViolation.headTooLarge.gatewayError == .headTooLarge)
        #expect(HTTPViolation.tooManyFields.gatewayError == .headTooLarge)
        #expect(HTTPViolation.missingHost.gatewayError == .malformedRequest(reason: "there is no Host"))
        let statuses: [HTTPViolation: Int] = [
            .requestLineTooLong: 414, .headTooLarge: 431, .tooManyFields: 431, .trailersTooLarge: 431,
            .expectation: 417, .connectMethod: 501, .transferCoding: 501, .unsupportedVersion: 505, .http2Preface: 505,
        ]
        var reasons: Set<String> = []
        for violation in HTTPViolation.allCases {
            #expect(violation.status == statuses[violation] ?? 400)
            #expect(violation.gatewayError.answer.status == violation.status)
            #expect(!violation.reason.hasSuffix(".") && violation.reason.count > 10)
            reasons.insert(violation.reason)
        }
        #expect(reasons.count == HTTPViolation.allCases.count)
    }
}

@Suite struct HeadLimitTests {
    @Test func `a head may be exactly as long as its limit`() {
        let text = request("X: abc\r\n")
        var limits = HeadLimits.usual
        limits.headBytes = text.utf8.count
        #expect(readRequest(text, limits: limits).head != nil)
        limits.headBytes -= 1
        #expect(readRequest(text, limits: limits).violation == .headTooLarge)
    }

    @Test func `an endless line is refused at the limit, not remembered`() {
        var limits = HeadLimits.usual
        limits.headBytes = 300
        limits.requestLineBytes = 100
        let endless = String(repeating: "a", count: 400)
        #expect(readRequest(Array([UInt8](latin: request("X: \(endless)")).prefix(299)), limits: limits) == .incomplete)
        #expect(readRequest(request("X: \(endless)"), limits: limits).violation == .headTooLarge)
        #expect(readRequest("GET /" + endless.prefix(96), limits: limits) == .incomplete)
        #expect(readRequest("GET /" + endless.prefix(97), limits: limits).violation == .requestLineTooLong)
        limits.headBytes = 90
        #expect(readRequest("GET /" + endless.prefix(97), limits: limits).violation == .headTooLarge)
    }

    @Test func `a request line may be exactly as long as its limit`() {
        let text = "GET /abc HTTP/1.1\r\nHost: h\r\n\r\n"
        var limits = HeadLimits.usual
        limits.requestLineBytes = 17
        #expect(readRequest(text, limits: limits).head != nil)
        limits.requestLineBytes = 16
        #expect(readRequest(text, limits: limits).violation == .requestLineTooLong)
    }

    @Test func `a head may have exactly as many fields as its limit`() {
        var limits = HeadLimits.usual
        limits.fields = 3
        #expect(readRequest(request("A: 1\r\nB: 2\r\n"), limits: limits).head?.fields.count == 3)
        #expect(readRequest(request("A: 1\r\nB: 2\r\nC: 3\r\n"), limits: limits).violation == .tooManyFields)
    }
}
