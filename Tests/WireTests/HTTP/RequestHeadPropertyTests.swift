import TestSupport
import Testing
import Wire

/// Heads that the properties begin from: usual ones, odd but legal ones, and every refused one.
enum RequestSamples {
    static let legal: [String] = [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: OpenAI/Python 1.99.0\r\n"
            + "Authorization: Bearer sk-weir-0123456789\r\nContent-Type: application/json\r\nContent-Length: 123\r\n"
            + "X-Stainless-Retry-Count: 0\r\nAccept: application/json\r\nConnection: keep-alive\r\n\r\n",
        "\r\nPOST /a?b=%20c HTTP/1.0\r\nTE: trailers\r\nContent-Length:007\r\nConnection: TE , close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: [2001:db8::1]:443\r\nX-Empty:\r\nOrigin: https://a\r\n\r\n",
        "PUT http://Other.example:80/x/y?z HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
            + "Expect: 100-continue\r\nx-a: \t\u{FF} \r\nConnection: x-a,, upgrade\r\nUpgrade: h2c\r\n"
            + "X-RateLimit-Foo: 1\r\n\r\n",
    ]

    static var all: [[UInt8]] {
        typealias Tables = RequestHeadRefusalTests
        let lines = Tables.requestLines + Tables.targets + Tables.lineEnds
        let fields = Tables.fieldLines + Tables.framing + Tables.meaning
        return (legal + (lines + fields).map(\.text)).map { [UInt8](latin: $0) }
    }
}

/// A reader as lenient as the most careless server: whatever it makes of accepted bytes, it must agree with ours.
///
/// Ends lines at LF, trims every kind of white space, reads `_` as `-`, believes the first of several lengths and any
/// coding that mentions chunked.
struct CarelessReader: Equatable {
    var requestLine: [String]
    var names: [String]
    var framing: BodyFraming
    var length: Int

    init?(_ bytes: [UInt8]) {
        var lines: [[UInt8]] = [[]]
        var at = 0
        while at < bytes.count {
            if bytes[at] == 0x0A {
                while lines[lines.count - 1].last == 0x0D { lines[lines.count - 1].removeLast() }
                if lines.last!.isEmpty, lines.count > 1 { break }
                if !lines.last!.isEmpty { lines.append([]) }
            } else {
                lines[lines.count - 1].append(bytes[at])
            }
            at += 1
        }
        guard at < bytes.count, lines.count > 1 else { return nil }
        length = at + 1
        requestLine = Self.words(lines[0])
        names = []
        framing = .none
        for line in lines.dropFirst().dropLast() {
            let name = Self.words(Array(line.prefix { $0 != 0x3A })).joined(separator: " ")
            let value = Self.words(Array(line.drop { $0 != 0x3A }.dropFirst())).joined(separator: " ").lowercased()
            names.append(name)
            let folded = name.lowercased().replacing("_", with: "-")
            if folded == "transfer-encoding", value.contains("chunked") { framing = .chunked }
            if folded == "content-length", framing == .none {
                framing = Int(value.prefix { $0.isNumber || $0 == "+" }).map { .length($0) } ?? .none
            }
        }
    }

    private static func words(_ bytes: [UInt8]) -> [String] {
        bytes.split { $0 <= 0x20 || $0 == 0x7F || $0 == 0x85 }.map { word in
            String(String.UnicodeScalarView(word.map { Unicode.Scalar($0) }))
        }
    }
}

@Suite struct RequestHeadPropertyTests {
    @Test func `a head means the same however it is split`() {
        for sample in RequestSamples.all {
            let whole = readRequest(sample)
            #expect(readRequest(sample, cuts: Array(0..<sample.count)) == whole)
            for cut in 0..<sample.count {
                #expect(readRequest(sample, cuts: [cut]) == whole, "\(sample) cut at \(cut)")
            }
        }
    }

    @Test func `a head means the same however it is split where limits are tight`() {
        for sample in RequestSamples.all {
            for size in [1, 2, 3, 15, 16, 17, 40, 41, 42, 60] {
                let limits = HeadLimits(headBytes: size, requestLineBytes: max(1, size / 2), fields: 1)
                let whole = readRequest(sample, limits: limits)
                #expect(readRequest(sample, cuts: Array(0..<sample.count), limits: limits) == whole)
            }
        }
    }

    @Test func `no part of a legal head is taken for all of it`() {
        for sample in RequestSamples.legal.map({ [UInt8](latin: $0) }) {
            for count in 0..<sample.count {
                #expect(readRequest(Array(sample[..<count])) == .incomplete)
            }
        }
    }

    @Test func `a head means the same wherever it lies and whatever follows`() {
        for sample in RequestSamples.all {
            let whole = readRequest(sample)
            for padding in [1, 7, 64] { #expect(readRequest(sample, padding: padding) == whole) }
            if whole.head != nil {
                for tail in [[0], [0x0D, 0x0A, 0x0D, 0x0A], [UInt8](repeating: 0x61, count: 9)] as [[UInt8]] {
                    #expect(readRequest(sample + tail) == whole)
                }
            }
        }
    }

    @Test func `one parser for many heads reads each as a new one would`() {
        var generator = SplitMix64(seed: 10)
        let legal = RequestSamples.legal.map { [UInt8](latin: $0) }
        let samples = RequestSamples.all + Array(repeating: legal, count: 40).joined()
        let parser = RequestHead()
        for sample in (samples + samples).shuffled(using: &generator) {
            let cut = Int.random(in: 0..<sample.count, using: &generator)
            #expect(readRequest(sample, cuts: [cut], with: parser) == readRequest(sample))
            // Half of a head is given up: by a reset, as the next one begins elsewhere, or as its bytes are gone.
            let other = samples.randomElement(using: &generator)!
            let way = Int.random(in: 0..<3, using: &generator)
            _ = readRequest(Array(other.prefix(cut)), padding: way == 0 ? 1 : 0, with: parser)
            if way == 1 { parser.reset() }
            if way == 2, cut > 0 { _ = readRequest([], with: parser) }
        }
    }

    @Test func `what is accepted reads the same to a careless server and after being written again`() {
        var generator = SplitMix64(seed: 11)
        let samples = RequestSamples.all
        var accepted = 0
        for round in 0..<40_000 {
            let legal = [UInt8](latin: RequestSamples.legal[round % RequestSamples.legal.count])
            let bytes = mutated(round % 4 == 0 ? samples[round / 4 % samples.count] : legal, &generator)
            let reading = readRequest(bytes)
            guard let head = reading.head else { continue }
            accepted += 1
            guard let careless = CarelessReader(bytes) else {
                Issue.record("the careless reader sees no end in \(head)")
                continue
            }
            #expect(careless.framing == head.framing && careless.length == head.length, "\(head)")
            #expect(careless.names == head.fields.map(\.name), "\(head)")
            #expect(careless.requestLine.count == 3 && careless.requestLine[0] == head.methodText, "\(head)")
            expectSameAfterWriting(head)
        }
        #expect(accepted > 2_000)
    }

    /// Writes `head` as a gateway forwards it and reads that: nothing may appear, vanish or change.
    private func expectSameAfterWriting(_ head: ReadRequest) {
        let forwarded = head.fields.filter { !$0.isNamedByConnection && $0.id != .host && $0.id != .connection }
        let target = head.isAsteriskTarget ? "*" : head.target
        var text = "\(head.methodText) \(target) HTTP/1.1\r\nHost: \(head.host ?? "nobody")\r\n"
        for field in forwarded { text += "\(field.name): \(field.value)\r\n" }
        let roomy = HeadLimits(headBytes: 9999, requestLineBytes: 9999, fields: 99)
        guard let again = readRequest(text + "\r\n", limits: roomy).head else {
            Issue.record("refused once written: \(head)")
            return
        }
        #expect(again.framing == head.framing)
        #expect(again.method == head.method && again.path == target.prefix { $0 != "?" } && again.query == head.query)
        #expect(again.fields.dropFirst().map(\.name) == forwarded.map(\.name))
        #expect(again.fields.dropFirst().map(\.value) == forwarded.map(\.value))
    }

    @Test func `noise is never a head and never stops the parser`() {
        var generator = SplitMix64(seed: 12)
        for _ in 0..<4_000 {
            let count = Int.random(in: 0...200, using: &generator)
            let bytes = (0..<count).map { _ in
                let any = UInt8.random(in: 0...255, using: &generator)
                return Bool.random(using: &generator) ? spicyBytes.randomElement(using: &generator)! : any
            }
            let whole = readRequest(bytes)
            #expect(whole.head == nil)
            #expect(readRequest(bytes, cuts: Array(0..<count)) == whole)
        }
    }
}
