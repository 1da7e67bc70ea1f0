import CVectors
import TestSupport
import Testing

@testable import Wire

@Suite struct JSONStringSearchTests {
    @Test func `each special byte is found at each place of buffers of each length`() {
        for special in [0x22, 0x5C, 0x00, 0x1F, 0x0A, 0x80, 0xC3, 0xFF] as [UInt8] {
            for length in [0, 1, 7, 15, 16, 17, 31, 33, 64, 65, 79, 80, 81, 130, 200] {
                for place in 0..<length {
                    var bytes = [UInt8](repeating: 0x61, count: length)
                    bytes[place] = special
                    #expect(JSONStringSearch.firstSpecial(in: bytes.span, from: 0) == place)
                    #expect(JSONStringSearch.firstSpecial(in: bytes.span, from: place) == place)
                    if place + 1 < length {
                        #expect(JSONStringSearch.firstSpecial(in: bytes.span, from: place + 1) == length)
                    }
                }
            }
        }
    }

    @Test func `a string is read as far by sixteen bytes at a time as by sixty-four`() {
        var generator = SplitMix64(seed: 12)
        let texts = ["a", #"\n"#, #"\""#, #"\u00e9"#, "é", "€", "😀", "\"", "\u{1F}"]
        let pieces = texts.map { Array($0.utf8) } + [[0xC3], [0xED, 0xA0]]
        for _ in 0..<20_000 {
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                bytes += [UInt8](repeating: 0x61, count: [0, 1, 7, 31, 70, 200].randomElement(using: &generator)!)
                bytes += pieces.randomElement(using: &generator)!
            }
            let start = Int.random(in: 0...bytes.count, using: &generator)
            let narrow = bytes.withUnsafeBufferPointer { weir_json_string_run_narrow($0.baseAddress, start, $0.count) }
            let wide = JSONStringSearch.run(in: bytes.span, from: start)
            #expect(wide.end == narrow.end && wide.hasEscapes == (narrow.has_escapes != 0), "\(bytes) from \(start)")
        }
    }

    @Test func `no plain byte is special and every other one is`() {
        for byte in UInt8.min...UInt8.max {
            let isSpecial = byte == 0x22 || byte == 0x5C || byte < 0x20 || byte >= 0x80
            for length in [1, 16, 100] {
                let bytes = [UInt8](repeating: byte, count: length)
                #expect(JSONStringSearch.firstSpecial(in: bytes.span, from: 0) == (isSpecial ? 0 : length))
            }
        }
    }

    @Test func `runs of random bytes above ASCII are judged as the standard library judges them`() {
        var generator = SplitMix64(seed: 11)
        var good = 0
        for _ in 0..<20_000 {
            var bytes: [UInt8] = [0x61]
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                bytes += randomCharacter(&generator)
            }
            if Int.random(in: 0..<3, using: &generator) == 0 {
                bytes[Int.random(in: 1..<bytes.count, using: &generator)] = UInt8.random(
                    in: 0x80...0xFF, using: &generator)
            }
            let isValid = String(validating: bytes, as: UTF8.self) != nil
            // Behind the last characters there must be something to look at.
            let run = JSONStringSearch.run(in: (bytes + [0x22, 0x20, 0x20, 0x20]).span, from: 1)
            #expect((run.end == bytes.count) == isValid && !run.hasEscapes)
            if isValid { good += 1 }
        }
        #expect(good > 1_000 && good < 19_000)
    }

    @Test func `a name is told from every other of its length, and from longer and shorter ones`() {
        func isName(_ bytes: [UInt8], _ text: StaticString) -> Bool { bytes.span.isName(text) }
        let names: [StaticString] = [
            "", "a", "ab", "abc", "abcd", "abcde", "abcdefg", "abcdefgh", "abcdefghi", "abcdefghijklmno",
            "abcdefghijklmnop", "abcdefghijklmnopq", "abcdefghijklmnopqrstuvwx",
        ]
        for name in names {
            let bytes = Array("\(name)".utf8)
            #expect(isName(bytes, name))
            #expect(!isName(bytes + [0x61], name))
            for index in bytes.indices {
                var other = bytes
                other[index] ^= 0x20
                #expect(!isName(other, name))
            }
            if !bytes.isEmpty { #expect(!isName(bytes.dropLast(), name)) }
        }
    }

    private func randomCharacter(_ generator: inout SplitMix64) -> [UInt8] {
        let bounds: ClosedRange<UInt32> =
            [0x80...0x7FF, 0x800...0xD7FF, 0xE000...0xFFFF, 0x10000...0x10FFFF].randomElement(using: &generator)!
        return Array(UTF8.encode(Unicode.Scalar(UInt32.random(in: bounds, using: &generator))!)!)
    }
}
