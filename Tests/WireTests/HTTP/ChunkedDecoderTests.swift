import TestSupport
import Testing
import Wire

/// What a decoder made of its input.
private enum Decoded: Equatable {
    case body([UInt8], used: Int)
    case unfinished([UInt8])
    case refused(HTTPViolation)

    var violation: HTTPViolation? { if case .refused(let violation) = self { violation } else { nil } }
}

extension ChunkedDecoder.Limits {
    fileprivate static let usual = ChunkedDecoder.Limits(extensionBytes: 64, trailerBytes: 64, trailerFields: 4)
}

@Suite struct ChunkedDecoderTests {
    /// Gives `bytes` to a decoder in parts that end at `cuts`.
    private func decode(
        _ bytes: [UInt8], cuts: [Int] = [], limits: ChunkedDecoder.Limits = .usual
    ) -> Decoded {
        var decoder = ChunkedDecoder(limits: limits)
        var body: [UInt8] = []
        var offset = 0
        for cut in cuts + [bytes.count] {
            do throws(HTTPViolation) {
                reading: while true {
                    switch try decoder.next(bytes.span.extracting(0..<cut), at: &offset) {
                    case .data(let range):
                        #expect(!range.isEmpty && range.upperBound == offset)
                        body += bytes[range]
                    case .needMore:
                        #expect(offset == cut && !decoder.isAtEnd)
                        break reading
                    case .end:
                        #expect(decoder.isAtEnd)
                        return .body(body, used: offset)
                    }
                }
            } catch {
                return .refused(error)
            }
        }
        return .unfinished(body)
    }

    private func decode(_ text: String, limits: ChunkedDecoder.Limits = .usual) -> Decoded {
        decode([UInt8](latin: text), limits: limits)
    }

    private static let legal: [(text: String, body: String)] = [
        ("0\r\n\r\n", ""), ("5\r\nhello\r\n0\r\n\r\n", "hello"), ("5\r\nhello\r\n1\r\n!\r\n00\r\n\r\n", "hello!"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"), ("a\r\n0123456789\r\n000\r\n\r\n", "0123456789"),
        ("0000000000000001\r\nx\r\n0\r\n\r\n", "x"), ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("1;a\r\nx\r\n0;b=c\r\n\r\n", "x"), ("1;a=\"q \\\" ;\r\u{80}\"\r\nx\r\n0\r\n\r\n".replacing("\r\u{80}",
        with: "\u{80}"), "x"),
        ("1;a;b=c;d=\"\"\r\nx\r\n0\r\n\r\n", "x"), ("0\r\nA: b\r\n\r\n", ""), ("0\r\nA:\r\nB-c: \t\u{FF} d\r\n\r\n",
        ""),
        ("1\r\n0\r\n0\r\nContent-Length: 5\r\n\r\n", "0"),
    ]

    @Test func `a chunked body is its chunks' data and ends behind its trailers`() {
        for (text, body) in Self.legal {
            let bytes = [UInt8](latin: text)
            #expect(decode(bytes) == .body([UInt8](latin: body), used: bytes.count), "\(text.debugDescription)")
            #expect(decode(bytes + [0x30, 0x0D]) == .body([UInt8](latin: body), used: bytes.count))
        }
    }

    static let refused: [Refusal] = [
        Refusal("\r\n", .chunkSize), Refusal("g\r\n", .chunkSize), Refusal(" 1\r\nx\r\n", .chunkSize),
        Refusal("1 \r\nx\r\n", .chunkSize), Refusal("1\t\r\nx\r\n", .chunkSize), Refusal("+1\r\nx\r\n", .chunkSize),
        Refusal("-1\r\nx\r\n", .chunkSize), Refusal("0x1\r\nx\r\n", .chunkSize), Refusal("1h\r\nx\r\n", .chunkSize),
        Refusal("1_0\r\n", .chunkSize), Refusal("1\nx\r\n", .chunkSize), Refusal("1\r\rx", .chunkSize),
        Refusal("1\rx", .chunkSize), Refusal("\u{B2}\r\n", .chunkSize), Refusal("1,\r\n", .chunkSize),
        Refusal("20000000000001\r\n", .chunkSize), Refusal("ffffffffffffffff\r\n", .chunkSize),
        Refusal("10000000000000001\r\n", .chunkSize), Refusal("00000000000000001\r\n", .chunkSize),
        Refusal("1;\r\nx\r\n", .chunkExtension), Refusal("1 ;a\r\nx\r\n", .chunkSize),
        Refusal("1; a\r\nx\r\n", .chunkExtension),
        Refusal("1;a \r\nx\r\n", .chunkExtension), Refusal("1;a=\r\nx\r\n", .chunkExtension),
        Refusal("1;=b\r\nx\r\n", .chunkExtension), Refusal("1;a\nx\r\n", .chunkExtension),
        Refusal("1;a=b c\r\nx\r\n", .chunkExtension), Refusal("1;a=\"b\r\nx\r\n", .chunkExtension),
        Refusal("1;a=\"b\"c\r\nx\r\n", .chunkExtension), Refusal("1;a=\"\\\r\n", .chunkExtension),
        Refusal("1;a=\"\n\"\r\n", .chunkExtension), Refusal("1;a=\"\u{0}\"\r\n", .chunkExtension),
        Refusal("1;\u{E9}\r\n", .chunkExtension), Refusal("1;a;\r\n", .chunkExtension),
        Refusal("1;a\r\r\n", .chunkSize),
        Refusal("1\r\nxy\r\n", .chunkEnd), Refusal("1\r\nx\n", .chunkEnd), Refusal("1\r\nx\r\r\n", .chunkEnd),
        Refusal("1\r\nx0\r\n\r\n", .chunkEnd), Refusal("1\r\nx\r\n\r\n", .chunkSize),
        Refusal("0\r\n\n", .trailer), Refusal("0\r\n\rx", .trailer), Refusal("0\r\n a: b\r\n", .trailer),
        Refusal("0\r\na\r\n", .trailer), Refusal("0\r\n: b\r\n", .trailer), Refusal("0\r\na : b\r\n", .trailer),
        Refusal("0\r\na: b\n", .trailer), Refusal("0\r\na: b\rc", .trailer), Refusal("0\r\na: \u{0}\r\n", .trailer),
        Refusal("0\r\na: b\r\n c\r\n", .trailer), Refusal("0\r\n\u{E9}: b\r\n", .trailer),
        Refusal("0\r\nGET / HTTP/1.1\r\n", .trailer),
    ]

    @Test(arguments: refused)
    func `a chunk that is not exactly the grammar is refused, however it is split`(refusal: Refusal) {
        let bytes = [UInt8](latin: refusal.text)
        #expect(decode(bytes) == .refused(refusal.violation))
        #expect(decode(bytes, cuts: Array(0..<bytes.count)) == .refused(refusal.violation))
    }

    @Test func `the largest size is 2^53`() {
        #expect(decode("20000000000000\r\nxyz") == .unfinished([UInt8](latin: "xyz")))
        #expect(decode("0020000000000000\r\nxyz") == .unfinished([UInt8](latin: "xyz")))
    }

    @Test func `extensions are bounded over the whole body`() {
        let chunk = "1;abcdefg=12345\r\nx\r\n"
        #expect(decode(String(repeating: chunk, count: 3) + "0\r\n\r\n") == .body([UInt8](latin: "xxx"), used: 65))
        var limits = ChunkedDecoder.Limits(extensionBytes: 42, trailerBytes: 0, trailerFields: 0)
        let three = String(repeating: chunk, count: 3)
        #expect(decode(three, limits: limits) == .unfinished([UInt8](latin: "xxx")))
        #expect(decode(three + "0;a", limits: limits).violation == .chunkExtensionsTooLong)
        limits.extensionBytes = 41
        #expect(decode(three, limits: limits).violation == .chunkExtensionsTooLong)
    }

    @Test func `trailers are bounded in bytes and in number`() {
        let fields = ChunkedDecoder.Limits(extensionBytes: 0, trailerBytes: 64, trailerFields: 2)
        #expect(decode("0\r\na: 1\r\nb: 2\r\n\r\n", limits: fields) == .body([], used: 17))
        #expect(decode("0\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n", limits: fields).violation == .trailersTooLarge)
        let endless = "0\r\na: " + String(repeating: "b", count: 64)
        #expect(decode(endless).violation == .trailersTooLarge)
        let none = ChunkedDecoder.Limits(extensionBytes: 0, trailerBytes: 0, trailerFields: 0)
        #expect(decode("1\r\nx\r\n0\r\n\r\n", limits: none) == .body([0x78], used: 11))
    }

    @Test func `a chunked body means the same wherever it is split`() {
        for (text, _) in Self.legal {
            let bytes = [UInt8](latin: text)
            let whole = decode(bytes)
            #expect(decode(bytes, cuts: Array(0..<bytes.count)) == whole)
            for first in 0..<bytes.count {
                if case .body = decode(Array(bytes[..<first])) { Issue.record("ended early: \(text)") }
                for second in first..<bytes.count { #expect(decode(bytes, cuts: [first, second]) == whole) }
            }
        }
    }

    @Test func `what the writer writes the decoder reads`() {
        var generator = SplitMix64(seed: 14)
        for _ in 0..<300 {
            var writer = ByteWriter()
            var body: [UInt8] = []
            for _ in 0..<Int.random(in: 0...6, using: &generator) {
                let count = Int.random(in: 1...400, using: &generator)
                let chunk = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
                body += chunk
                writer.appendChunkStart(chunk.count)
                writer.append(chunk)
                writer.appendChunkEnd()
            }
            writer.appendLastChunk()
            let bytes = writer.withUnsafeBytes { Array($0) }
            let cuts = (0..<4).map { _ in Int.random(in: 0..<bytes.count, using: &generator) }.sorted()
            #expect(decode(bytes, cuts: cuts) == .body(body, used: bytes.count))
        }
    }

    @Test func `a mutated body is refused or its framing adds up`() {
        var generator = SplitMix64(seed: 15)
        var accepted = 0
        for round in 0..<20_000 {
            let bytes = mutated([UInt8](latin: Self.legal[round % Self.legal.count].text), &generator)
            let whole = decode(bytes)
            #expect(decode(bytes, cuts: [bytes.count / 3, bytes.count / 2]) == whole)
            guard case .body(let body, let used) = whole else { continue }
            accepted += 1
            #expect(carelessBody(Array(bytes[..<used])) == body, "\(bytes)")
        }
        #expect(accepted > 1_000)
    }

    /// The body as a server reads it that takes whatever `strtol` takes and skips to the next line feed.
    private func carelessBody(_ bytes: [UInt8]) -> [UInt8]? {
        var body: [UInt8] = []
        var at = 0
        while let lineFeed = bytes[at...].firstIndex(of: 0x0A) {
            let line = bytes[at..<lineFeed].drop { $0 == 0x20 || $0 == 0x09 }
            let digits = line.prefix { Character(Unicode.Scalar($0)).isHexDigit && $0 < 0x80 }
            guard let size = Int(String(decoding: digits, as: UTF8.self), radix: 16) else { return nil }
            if size == 0 { return body }
            guard lineFeed + 1 + size <= bytes.count else { return nil }
            body += bytes[lineFeed + 1..<lineFeed + 1 + size]
            guard let next = bytes[(lineFeed + 1 + size)...].firstIndex(of: 0x0A) else { return nil }
            at = next + 1
        }
        return nil
    }
}
