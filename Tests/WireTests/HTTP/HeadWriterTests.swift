import GatewayCore
import Testing
import Wire

@Suite struct HeadWriterTests {
    private func written(_ body: (inout ByteWriter) -> Void) -> String {
        var writer = ByteWriter()
        body(&writer)
        return writer.bytes.text
    }

    @Test func `a reply head is a status line, fields and an empty line`() {
        let text = written { writer in
            writer.appendStatusLine(200)
            writer.appendField("content-type", "application/json")
            writer.appendField("x-request-id", String("abc"))
            writer.appendField("x-weir-attempts", decimal: 2)
            writer.appendField("x-raw", [0x61, 0x62].span)
            writer.appendContentLength(0)
            writer.appendHeadEnd()
        }
        #expect(
            text == "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: abc\r\nx-weir-attempts: 2\r\n"
                + "x-raw: ab\r\ncontent-length: 0\r\n\r\n")
    }

    @Test func `every status that the gateway answers has a reason, and every status can be written and read`() {
        for violation in HTTPViolation.allCases {
            #expect(!written { $0.appendStatusLine(violation.status) }.hasSuffix(" \r\n"))
        }
        for status in 200...599 {
            let text = written { $0.appendStatusLine(status) }
            #expect(readReply(text + "\r\n").head?.status == status)
        }
        #expect(written { $0.appendStatusLine(299) } == "HTTP/1.1 299 \r\n")
        #expect(written { $0.appendStatusLine(429) } == "HTTP/1.1 429 Too Many Requests\r\n")
    }

    @Test func `no value can end its line`() {
        for byte in UInt8.min...UInt8.max {
            let bytes = [0x61, byte, 0x0D, 0x0A, 0x62, byte]
            let field = written { $0.appendField("x", bytes.span) }.utf8.dropFirst(3).dropLast(2)
            #expect(!field.contains { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F })
        }
        #expect(written { $0.appendField("x", String("a\r\nb: \u{0}c\t\u{7F}")) } == "x: a  b:  c\t \r\n")
        #expect(written { $0.appendField("x", String("")) } == "x: \r\n")
        #expect(written { $0.appendField("x", String("é")) } == "x: é\r\n")
    }

    @Test func `a parsed field is written as it was sent`() throws {
        let bytes = [UInt8](latin: request("X-Custom-Thing:  a b \r\n"))
        let head = RequestHead()
        _ = try head.parse(bytes.span, from: 0, limits: .usual)
        let field = try #require(head.fields.last)
        #expect(written { $0.appendField(field, of: bytes.span) } == "X-Custom-Thing: a b\r\n")
    }
}

@Suite struct OpenChunkTests {
    @Test(arguments: [1, 9, 15, 16, 255, 256, 4_095, 65_535, 65_536])
    func `a chunk of unknown size is framed when it is closed`(size: Int) {
        var writer = ByteWriter()
        writer.append("head")
        let start = writer.openChunk()
        for _ in 0..<size { writer.append(0x61) }
        let begin = writer.closeChunk(start)
        let text = String(writer.bytes.text.dropFirst(begin))
        #expect(text == String(size, radix: 16) + "\r\n" + String(repeating: "a", count: size) + "\r\n")
        #expect(begin >= 4)
        #expect(writer.bytes.text.hasPrefix("head"))
    }
}

@Suite struct HTTPDateTests {
    private func date(_ seconds: Int64) -> String {
        var writer = ByteWriter()
        writer.append(httpDate: seconds)
        return writer.bytes.text
    }

    @Test(arguments: [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"), (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        (-1, "Wed, 31 Dec 1969 23:59:59 GMT"), (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (.max, "Fri, 31 Dec 9999 23:59:59 GMT"), (.min, "Mon, 01 Jan 0001 00:00:00 GMT"),
    ] as [(Int64, String)])
    func `a time is written as an HTTP date`(seconds: Int64, text: String) {
        #expect(date(seconds) == text)
    }

    @Test func `the field is written anew when the second changes and not before`() {
        var dates = HTTPDate()
        var writer = ByteWriter()
        dates.append(to: &writer, now: WallTime(nanosecondsSinceEpoch: 999_999_999))
        dates.append(to: &writer, now: WallTime(secondsSinceEpoch: 1))
        dates.append(to: &writer, now: WallTime(nanosecondsSinceEpoch: 1_999_999_999))
        let lines = writer.bytes.text.split(separator: "\r\n")
        #expect(lines == [
            "date: Thu, 01 Jan 1970 00:00:00 GMT", "date: Thu, 01 Jan 1970 00:00:01 GMT",
            "date: Thu, 01 Jan 1970 00:00:01 GMT",
        ])
    }
}
