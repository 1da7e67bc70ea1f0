import TestSupport
import Testing
import Wire

@Suite struct ByteWriterTests {
    @Test func `what is appended sparingly is what is appended`() {
        var generator = SplitMix64(seed: 11)
        for _ in 0..<50 {
            var plain = ByteWriter()
            var sparing = ByteWriter()
            for _ in 0..<Int.random(in: 0..<60, using: &generator) {
                let length = Int.random(in: 0..<200, using: &generator)
                let piece = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
                plain.append(piece)
                sparing.appendSparingly(piece.span)
            }
            #expect(plain.bytes.text == sparing.bytes.text && plain.count == sparing.count)
        }
    }

    @Test func `bytes outlive the room behind them, and more may follow`() {
        for length in [0, 1, 63, 64, 65, 1_000] {
            let content = (0..<length).map { UInt8(ascii: "a") + UInt8($0 % 26) }
            var writer = ByteWriter(capacity: 4_096)
            writer.append(content)
            writer.shrink()
            #expect(writer.bytes.text == String(decoding: content, as: UTF8.self))
            writer.append("more")
            #expect(writer.bytes.text == String(decoding: content, as: UTF8.self) + "more")
        }
    }
}
