import TestSupport
import Testing

@testable import Wire

@Suite struct ByteCursorTests {
    private func written(_ write: (inout ByteCursor) -> Void) -> String {
        var writer = ByteWriter()
        writer.append(upTo: 4_096, write)
        return writer.bytes.text
    }

    @Test func `numbers are written as the standard library writes them`() {
        var generator = SplitMix64(seed: 2)
        let some = (0..<2_000).map { _ in UInt(generator.next() >> UInt64.random(in: 0..<64, using: &generator)) }
        let powers = (0..<20).reduce(into: [UInt(1)]) { powers, _ in powers.append(powers[powers.count - 1] &* 10) }
        for value in some + powers + powers.map({ $0 &- 1 }) + [100_000_000_000_000_001, .max] {
            let signed = Int(bitPattern: value)
            #expect(written { $0.put(decimal: signed) } == "\(max(0, signed))")
            var writer = ByteWriter()
            writer.append(decimal: signed)
            #expect(writer.bytes.text == "\(signed)")
            var hex = ByteWriter()
            hex.append(hex: UInt64(value))
            hex.append(hex: UInt64(value), digits: 16)
            let plain = String(value, radix: 16)
            let padded = String(repeating: "0", count: 16 - plain.count) + plain
            #expect(hex.bytes.text == plain + padded)
            #expect(written { $0.put(hex: UInt64(value)) } == padded)
        }
        #expect(written { $0.put(decimal: -1) } == "0")
    }

    @Test func `milliseconds have three decimals`() {
        #expect(written { $0.put(milliseconds: 0) } == "0.000")
        #expect(written { $0.put(milliseconds: 1_999) } == "0.001")
        #expect(written { $0.put(milliseconds: 123_456_789) } == "123.456")
        #expect(written { $0.put(milliseconds: 9_999_999_999) } == "9999.999")
        #expect(written { $0.put(milliseconds: 10_000_000_000) } == "10000.000")
        #expect(written { $0.put(milliseconds: .max) } == "9223372036854.775")
        #expect(written { $0.put(milliseconds: -5) } == "0.000")
    }

    @Test func `a number fits into exactly its digits`() {
        for (value, room) in [(7, 1), (42, 2), (123, 3), (1_234, 4), (12_345, 5), (12_345_678, 8), (123_456_789, 9)] {
            var writer = ByteWriter()
            writer.append(upTo: room) { $0.put(decimal: value) }
            #expect(writer.count == room)
        }
    }

    @Test func `a run writes as a cursor does`() {
        var writer = ByteWriter()
        writer.append(upTo: 40) { cursor in
            cursor.put(upTo: 30) { run in
                run.put("a: ")
                run.put(decimal: 1_234)
                run.put([0x20, 0x62] as InlineArray<2, UInt8>)
                run.put(milliseconds: 1_002_000_000)
                run.put(decimals: 42)
            }
            cursor.put("!")
        }
        #expect(writer.bytes.text == "a: 1234 b1002.000.042!")
    }

    @Test func `texts of every length are copied, whatever way`() {
        for length in 0..<150 {
            let bytes = (0..<length).map { UInt8(truncatingIfNeeded: 1 + $0) }
            let expected = String(decoding: bytes, as: UTF8.self)
            #expect(written { $0.put(bytes.span) } == expected)
            let ready = ReadyBytes(bytes.span)
            #expect(ready.count == length && ready.bytes.equals(bytes))
            // What a copy of whole words leaves behind its end is written over.
            #expect(written { cursor in
                cursor.put(ready)
                cursor.put("!")
                cursor.put(ready)
            } == expected + "!" + expected)
        }
        #expect(written { $0.put([0x61, 0x62, 0x63] as InlineArray<3, UInt8>) } == "abc")
    }

    @Test func `texts of every length are quoted as ByteWriter quotes them, special bytes at every place`() {
        for length in 0..<70 {
            let plain = (0..<length).map { UInt8(ascii: "a") + UInt8($0 % 26) }
            for place in -1..<length {
                for special in [UInt8(ascii: "\""), UInt8(ascii: "\\"), 0x0A, 0x7F, 0xC3] {
                    var text = plain
                    if place >= 0 { text[place] = special }
                    var expected = ByteWriter()
                    expected.append(jsonString: text.span)
                    #expect(written { $0.put(quoted: text.span, limit: 256) } == expected.bytes.text)
                }
            }
        }
    }

    @Test func `a long text is cut between characters`() {
        let text = Array("ééééé".utf8)
        #expect(written { $0.put(quoted: text.span, limit: 5) } == "\"éé\"")
    }
}
