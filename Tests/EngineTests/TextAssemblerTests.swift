import Engine
import TestSupport
import Testing

@Suite struct TextAssemblerTests {
    @Test func `text leaves with the token that completes it`() {
        var assembler = TextAssembler()
        #expect(assembler.append(7, Array("Hello".utf8)) == TextAssembler.Piece(text: "Hello", tokens: [7]))
        #expect(assembler.finish() == TextAssembler.Piece())
    }

    @Test func `an incomplete character waits for its last byte, and its tokens wait with it`() {
        var assembler = TextAssembler()
        let bytes = Array("🦦".utf8)
        #expect(assembler.append(1, Array("a".utf8) + bytes[..<1]) == nil)
        #expect(assembler.append(2, Array(bytes[1..<3])) == nil)
        #expect(assembler.append(3, [bytes[3]]) == TextAssembler.Piece(text: "a🦦", tokens: [1, 2, 3]))
    }

    @Test func `bytes that never become a character turn into a replacement at the end`() {
        var assembler = TextAssembler()
        #expect(assembler.append(1, [0xF0, 0x9F]) == nil)
        #expect(assembler.finish() == TextAssembler.Piece(text: "\u{FFFD}", tokens: [1]))
    }

    @Test func `a byte that begins no character does not hold anything back`() {
        var assembler = TextAssembler()
        #expect(assembler.append(1, [0xFF])?.tokens == [1])
        #expect(assembler.append(2, [0x80])?.tokens == [2])
    }

    @Test func `a stop text ends the answer and is not part of it`() {
        var assembler = TextAssembler(stops: ["END", "\n\n"])
        #expect(assembler.append(1, Array("one ".utf8))?.text == "one ")
        #expect(assembler.append(2, Array("two E".utf8)) == nil)
        #expect(assembler.append(3, Array("ND three".utf8)) == nil)
        #expect(assembler.isStopped)
        #expect(assembler.finish() == TextAssembler.Piece(text: "two ", tokens: [2, 3]))
    }

    @Test func `what only looked like a stop text is sent after all`() {
        var assembler = TextAssembler(stops: ["END"])
        #expect(assembler.append(1, Array("E".utf8)) == nil)
        #expect(assembler.append(2, Array("N".utf8)) == nil)
        #expect(assembler.append(3, Array("T".utf8)) == TextAssembler.Piece(text: "ENT", tokens: [1, 2, 3]))
    }

    @Test func `of two stop texts the one that begins first counts`() {
        var assembler = TextAssembler(stops: ["cd", "bcde"])
        #expect(assembler.append(1, Array("abcdef".utf8)) == nil)
        #expect(assembler.isStopped)
        #expect(assembler.finish().text == "a")
    }

    @Test func `any cut of a text into tokens gives the same text and every token once`() {
        var generator = SplitMix64(seed: 3)
        let text = "Grüße, 水面 über Wehre — 🦦🦦 und ENDE. EN END"
        let expected = "Grüße, 水面 über Wehre — 🦦🦦 und "
        for _ in 0..<500 {
            var assembler = TextAssembler(stops: ["ENDE"])
            var rest = Array(text.utf8)[...]
            var sent = ""
            var tokens: [Int32] = []
            var next: Int32 = 0
            while !rest.isEmpty, !assembler.isStopped {
                let piece = rest.prefix(Int.random(in: 1...6, using: &generator))
                rest = rest.dropFirst(piece.count)
                if let out = assembler.append(next, Array(piece)) {
                    #expect(!out.text.contains("\u{FFFD}"))
                    sent += out.text
                    tokens += out.tokens
                }
                next += 1
            }
            let last = assembler.finish()
            #expect(sent + last.text == expected)
            #expect(tokens + last.tokens == Array(0..<next))
        }
    }
}
