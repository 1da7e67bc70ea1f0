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
        for value in some + [0, 9, 10, 99, 100, 999, 1_000, 9_999, 10_000, .max] {
            #expect(written { $0.put(digits: value) } == "\(value)")
            var writer = ByteWriter()
            writer.append(decimal: Int(bitPattern: value))
            #expect(writer.bytes.text == "\(Int(bitPattern: value))")
            var hex = ByteWriter()
            hex.append(hex: UInt64(value))
            hex.append(hex: UInt64(value), digits: 16)
            let plain = String(value, radix: 16)
            #expect(hex.bytes.text == plain + String(repeating: "0", count: 16 - plain.count) + plain)
        }
        #expect(written { $0.put(decimal: -1) } == "0")
        for value in [0, 7, 42, 999] { #expect(written { $0.put(threeDigits: value) }.count == 3) }
    }

    @Test func `milliseconds have three decimals`() {
        #expect(written { $0.put(milliseconds: 0) } == "0.000")
        #expect(written { $0.put(milliseconds: 1_999) } == "0.001")
        #expect(written { $0.put(milliseconds: 123_456_789) } == "123.456")
        #expect(written { $0.put(milliseconds: -5) } == "0.000")
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
