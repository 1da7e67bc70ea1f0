import TestSupport
import Testing

@testable import Wire

@Suite struct JSONTextTests {
    @Test(arguments: [
        ("", ""), ("abc", "abc"), ("a\\nb", "a\nb"), ("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\u{8}\u{C}\n\r\t"),
        ("\\u0041\\u00e9\\u20AC", "Aé€"), ("\\ud83d\\ude00!", "😀!"), ("\\u0000x", "\u{0}x"), ("é\\u00e9€", "éé€"),
        ("\\ud83d", "\u{FFFD}"), ("\\ude00a", "\u{FFFD}a"), ("\\ud83d\\u0041", "\u{FFFD}A"), ("\\\\u0041", "\\u0041"),
    ])
    func `escapes mean what RFC 8259 says`(_ raw: String, _ meaning: String) {
        let bytes = Array(raw.utf8)
        var writer = ByteWriter()
        JSONText.unescape(bytes.span, into: &writer)
        #expect(Array(writer.bytes.text.utf8) == Array(meaning.utf8))
        #expect(Array(JSONText.text(bytes.span).utf8) == Array(meaning.utf8))
    }

    @Test func `any text survives being escaped and unescaped`() throws {
        var generator = SplitMix64(seed: 5)
        for _ in 0..<2_000 {
            let text = randomText(&generator)
            var writer = ByteWriter()
            writer.append(jsonString: text)
            let document = writer.withUnsafeBytes { Array($0) }
            #expect(JSONScannerTests.accepts(document))
            var scanner = JSONScanner(document.span)
            #expect(try Array(scanner.string().text(in: document.span).utf8) == Array(text.utf8))
        }
    }

    @Test func `however a text is escaped, it is equal to itself and to no other`() {
        var generator = SplitMix64(seed: 6)
        for _ in 0..<2_000 {
            let text = randomText(&generator)
            let one = randomlyEscaped(text, &generator)
            let other = randomlyEscaped(text, &generator)
            #expect(meanTheSame(one, other))
            #expect(JSONText.text(one.span) == text)
            let different = randomlyEscaped(text + "x", &generator)
            #expect(!meanTheSame(one, different))
            #expect(!meanTheSame(different, one))
        }
    }

    @Test func `an escaped name is equal to a constant only if all of it is`() {
        let raw = Array("mo\\u0064el".utf8)
        #expect(means(raw, "model"))
        #expect(!means(raw, "mode"))
        #expect(!means(raw, "models"))
        #expect(!means(raw, "modem"))
        #expect(!means(raw, ""))
        #expect(means([], ""))
    }

    @Test(arguments: [
        ("abc E", "END", true), ("abc EN", "END", true), ("abc END", "END", false), ("abc", "END", false),
        ("", "END", false),
        ("EE", "EEE", true), ("a\\n", "\\u000a\\u000a", true), ("a\\u000A", "\\n\\n", true),
        ("a\\\\n", "\\n\\n", false),
        ("a\\\\", "\\\\x", true), ("a", "", false), ("a", "a", false), ("é", "\\u00e9!", true),
        ("x<|im_", "<|im_end|>", true),
    ])
    func `a text that ends in the beginning of a stop string is noticed, however both are escaped`(
        _ text: String, _ stop: String, _ expected: Bool
    ) {
        let (text, stop) = (Array(text.utf8), Array(stop.utf8))
        let isPrefix = JSONText.ends(text.span, inPrefixOf: stop.span)
        #expect(isPrefix == expected)
    }

    @Test func `bytes that are not UTF-8 are escaped as the replacement character`() {
        var writer = ByteWriter()
        writer.append(jsonString: ([0x61, 0xFF, 0xC3, 0x62, 0xE2, 0x82] as [UInt8]).span)
        #expect(writer.bytes.text == "\"a\u{FFFD}\u{FFFD}b\u{FFFD}\u{FFFD}\"")
    }

    @Test(
        arguments: [
            ("0", 0), ("-0", 0), ("7", 7), ("-12", -12), ("9223372036854775807", Int.max),
            ("-9223372036854775808", Int.min), ("9223372036854775808", nil), ("-9223372036854775809", nil),
            ("1.0", nil),
            ("1e2", nil), ("99999999999999999999999", nil),
        ] as [(String, Int?)])
    func `integers are exact or nothing`(_ text: String, _ value: Int?) throws {
        let bytes = Array(text.utf8)
        var scanner = JSONScanner(bytes.span)
        #expect(try scanner.number().int(in: bytes.span) == value)
    }

    @Test(
        arguments: [
            ("0.1", 0.1), ("1e308", 1e308), ("1e309", nil), ("-1e999", nil), ("5e-324", Double.leastNonzeroMagnitude),
            ("-0.0", 0),
        ]
            as [(String, Double?)])
    func `decimals are the nearest finite double or nothing`(_ text: String, _ value: Double?) throws {
        let bytes = Array(text.utf8)
        var scanner = JSONScanner(bytes.span)
        #expect(try scanner.number().double(in: bytes.span) == value)
    }

    private func means(_ raw: [UInt8], _ text: StaticString) -> Bool { JSONText.equals(raw.span, text) }

    private func meanTheSame(_ one: [UInt8], _ other: [UInt8]) -> Bool { JSONText.equal(one.span, other.span) }

    private func randomText(_ generator: inout SplitMix64) -> String {
        let pieces = [
            "a", "z", " ", "\"", "\\", "/", "\n", "\t", "\u{0}", "\u{1F}", "\u{7F}", "é", "€", "😀", "u0041",
            "plain text of some length",
        ]
        return (0..<Int.random(in: 0...12, using: &generator)).map { _ in pieces.randomElement(using: &generator)! }
            .joined()
    }

    private func randomlyEscaped(_ text: String, _ generator: inout SplitMix64) -> [UInt8] {
        var writer = ByteWriter()
        for character in text.unicodeScalars {
            if Bool.random(using: &generator) {
                for unit in UTF16.encode(character)! {
                    writer.append("\\u")
                    writer.append(hex: UInt64(unit), digits: 4)
                }
            } else {
                writer.append(jsonEscaped: Array(UTF8.encode(character)!).span)
            }
        }
        return writer.withUnsafeBytes { Array($0) }
    }
}
