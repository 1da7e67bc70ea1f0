import TestSupport
import Testing

@testable import Wire

@Suite struct SSEScannerTests {
    /// What a client would see of a stream: the data of each event; `nil` for comments and other events without data.
    static func events(_ pieces: [[UInt8]], limit: Int = 1 << 20) -> [String?] {
        var scanner = SSEScanner(limit: limit)
        var buffer: [UInt8] = []
        var found: [String?] = []
        for piece in pieces {
            buffer += piece
            var at = 0
            scanning: while true {
                switch scanner.next(buffer.span, at: &at) {
                case .event(let event):
                    var data = ByteWriter()
                    SSEScanner.appendData(of: event, in: buffer.span, into: &data)
                    found.append(event.dataLines > 0 ? data.bytes.text : nil)
                    if event.dataLines == 1 { #expect(text(event.data, buffer) == data.bytes.text) }
                case .needMore(let keepFrom):
                    buffer.removeFirst(keepFrom)
                    break scanning
                case .oversized:
                    return found + ["oversized"]
                }
            }
        }
        return found
    }

    static let streams: [(stream: String, events: [String?])] = [
        ("", []), ("data: a\n\n", ["a"]), ("data:a\n\n", ["a"]), ("data:  a\n\n", [" a"]), ("data\n\n", [""]),
        ("data:\n\n", [""]), ("data: a", []), ("data: a\n", []), ("data: a\n\ndata: b\n\n", ["a", "b"]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]), ("data: a\r\rdata: b\r\r", ["a", "b"]),
        ("data: a\r\n\rdata: b\n\r\n", ["a", "b"]), ("data: a\ndata: b\n\n", ["a\nb"]),
        ("data: a\r\ndata:b\rdata:  c\n\n", ["a\nb\n c"]), ("data\ndata\n\n", ["\n"]),
        ("\u{FEFF}data: a\n\n", ["a"]), ("\u{FEFF}\u{FEFF}data: a\n\n", [nil]), ("data: \u{FEFF}\n\n", ["\u{FEFF}"]),
        (": ping\n\ndata: a\n\n", [nil, "a"]), (":\n\n", [nil]), (": c\ndata: a\n: d\n\n", ["a"]),
        ("event: x\ndata: a\nid: 1\nretry: 5\n\n", ["a"]), ("event: x\n\n", [nil]), ("dat: a\n\n", [nil]),
        ("databases: a\n\n", [nil]), ("data : a\n\n", [nil]), (" data: a\n\n", [nil]),
        ("\n\n\ndata: a\n\n\n\n\ndata: b\n\n", ["a", "b"]), ("\r\n\r\ndata: a\r\n\r\n\r\n", ["a"]),
        ("data: {\"é€😀\":1}\n\ndata: [DONE]\n\n", ["{\"é€😀\":1}", "[DONE]"]),
        (
            "data: a long line that is longer than sixteen and longer than thirty-two bytes\n\n",
            [
                "a long line that is longer than sixteen and longer than thirty-two bytes"
            ]
        ),
        ("data: a\n\ndata: b\n", ["a"]), ("data: : \n\n", [": "]), ("DATA: a\n\n", [nil]),
    ]

    @Test(arguments: 0..<streams.count) func `events are found as the living standard says`(_ index: Int) {
        let (stream, events) = Self.streams[index]
        #expect(Self.events([Array(stream.utf8)]) == events)
    }

    @Test func `however a stream is cut, its events are the same`() {
        for (stream, events) in Self.streams {
            let bytes = Array(stream.utf8)
            for cut in 0...bytes.count {
                #expect(
                    Self.events([Array(bytes[..<cut]), Array(bytes[cut...])]) == events,
                    "\(stream.debugDescription) at \(cut)")
                for other in cut...bytes.count where bytes.count < 40 {
                    let pieces = [bytes[..<cut], bytes[cut..<other], bytes[other...]].map { Array($0) }
                    #expect(Self.events(pieces) == events)
                }
            }
            #expect(Self.events(bytes.map { [$0] }) == events)
        }
    }

    @Test func `random streams give the same events whole and in random pieces`() {
        var generator = SplitMix64(seed: 31)
        let parts = ["data: x", "data:y y", ":c", "event: e", "\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "é", "data", "z"]
        var count = 0
        for _ in 0..<3_000 {
            let stream = (0..<Int.random(in: 0...20, using: &generator)).map { _ in
                parts.randomElement(using: &generator)!
            }
            var rest = Array(stream.joined().utf8)[...]
            let whole = Self.events([Array(rest)])
            var pieces: [[UInt8]] = []
            while !rest.isEmpty {
                let length = Int.random(in: 1...min(rest.count, 9), using: &generator)
                pieces.append(Array(rest.prefix(length)))
                rest = rest.dropFirst(length)
            }
            #expect(Self.events(pieces) == whole)
            count += whole.count
        }
        #expect(count > 3_000)
    }

    @Test func `the ranges of events cover the stream without gaps, so that they can be passed on`() {
        let bytes = Array("data: a\n\n: ping\n\nevent: e\ndata: b\r\n\r\ndata: c\n\nrest".utf8)
        var scanner = SSEScanner(limit: 100)
        var at = 0
        var end = 0
        var names: [String] = []
        while case .event(let event) = scanner.next(bytes.span, at: &at) {
            #expect(Int(event.range.start) == end)
            end = event.range.end
            #expect(at == end)
            names.append(text(event.name, bytes))
        }
        #expect(end == bytes.count - 4)
        #expect(names == ["", "", "e", ""])
        #expect(scanner.next(bytes.span, at: &at) == .needMore(keepFrom: bytes.count - 4))
    }

    @Test func `an unfinished event longer than the limit is reported`() {
        let long = "data: " + String(repeating: "x", count: 200)
        #expect(Self.events([Array((long + "\n\n").utf8)], limit: 100) == [String(long.dropFirst(6))])
        #expect(Self.events([Array(long.utf8)], limit: 100) == ["oversized"])
        #expect(Self.events(Array(long.utf8).map { [$0] }, limit: 100) == ["oversized"])
        let many = String(repeating: ": c\n", count: 50)
        #expect(Self.events([Array(many.utf8)], limit: 100) == ["oversized"])
    }

    @Test func `the end of OpenAI's streams is recognised by its beginning`() {
        func isDone(_ text: String) -> Bool { SSEScanner.isDone(Array(text.utf8).span) }
        #expect(isDone("[DONE]"))
        #expect(isDone("[DONE] "))
        #expect(!isDone("[DONE"))
        #expect(!isDone("{\"a\":\"[DONE]\"}"))
        #expect(!isDone(""))
    }
}
