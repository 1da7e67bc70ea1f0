import TestSupport
import Testing

@testable import Wire

@Suite struct JSONScannerTests {
    /// Whether the scanner takes `bytes` as a document.
    static func accepts(_ bytes: [UInt8]) -> Bool {
        do throws(JSONProblem) {
            try JSONScanner.check(bytes.span)
            return true
        } catch {
            return false
        }
    }

    static let accepted: [String] = [
        "null", "true", "false", "0", "-0", "1", "-1", "12", "1234567890", "0.0", "0.1", "-0.1", "1.5", "10.25",
        "0e0", "0e1", "0e+1", "0E-1", "1e5", "1E5", "1e+5", "1e-5", "1.5e300", "-1.5E+30", "1e999",
        "123456789012345678901",
        "-9223372036854775808", "20e1", "0.0000000001",
        "\"\"", "\"a\"", "\" \"", "\"abc\"", "\"\\\"\"", "\"\\\\\"", "\"\\/\"", "\"\\b\\f\\n\\r\\t\"", "\"\\u0000\"",
        "\"\\u0041\"", "\"\\uabCD\"", "\"\\ud83d\\ude00\"", "\"\\uD834\\uDD1E\"", "\"\\uDBFF\\uDFFF\"", "\"\\u2028\"",
        "\"\u{7F}\"", "\"é\"", "\"€\"", "\"😀\"", "\"\u{2028}\u{2029}\"", "\"\u{FFFF}\"", "\"\u{10FFFF}\"",
        "\"\\\\u0000\"", "\"\\\\\\\"\"", "\"/* no comment */\"", "\"{[\"", "\"',:\"", "\"\u{FEFF}\"",
        "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789\"",
        "[]", "[ ]", "[\n]", "[1]", "[1,2]", "[ 1 , 2 ]", "[1\n,2]", "[[]]", "[[],[]]", "[null,true,false]", "[\"a\"]",
        "[1,\"a\",{},[],null]", "[{}]", "[[[[1]]]]", "[-0]", "[\"\\u00e9\"]", " [1] ", "\t[1]\r\n", "[1,\t2]",
        "{}", "{ }", "{\"a\":1}", "{ \"a\" : 1 }", "{\"a\":{}}", "{\"a\":[]}", "{\"\":0}", "{\"a\":1,\"b\":2}",
        "{\"a\":1,\"a\":2}", "{\"a\":\n1}", "{\"\\u0061\":1}", "{\"a\\\"b\":1}",
        "{\"a\":{\"b\":{\"c\":[1,{\"d\":2}]}}}",
        "{\"min\":-1.0e+28,\"max\":1.0e+28}", "{\"é\":\"é\"}", "{\"a\":null}", "{\"a\":\"b\",\"c\":\"d\"}",
        "\n\n{}\n\n",
        "{\"a\":[1,[2,[3]]],\"b\":{\"c\":{}}}",
    ]

    static let refused: [String] = [
        "", " ", "\n", "nul", "nulll", "tru", "truee", "True", "TRUE", "False", "NULL", "nil", "undefined", "NaN",
        "-NaN",
        "Infinity", "-Infinity", "inf", "+1", "-", "--1", "-a", "01", "-01", "00", "1.", ".1", "-.1", "1.e1", "1.a",
        "0.",
        "1e", "1e+", "1e-", "1e1.5", "1E", "0x10", "1_000", "1,000", "1 2", "1a", "0b1", "1.2.3", "1e5e5", "٣", "1٣",
        "'a'", "\"", "\"a", "\"\\\"", "\"\\", "\"\\a\"", "\"\\x41\"", "\"\\'\"", "\"\\0\"", "\"\\u\"", "\"\\u1\"",
        "\"\\u12\"", "\"\\u123\"", "\"\\u123", "\"\\u123g\"", "\"\\uD800\"", "\"\\uDC00\"", "\"\\uD800\\u0041\"",
        "\"\\uD800\\n\"", "\"\\uDC00\\uD800\"", "\"\\uD83D\\uD83D\"", "\"\\U0041\"", "\"\\ \"", "\"\\é\"",
        "\"a\nb\"", "\"a\tb\"", "\"a\u{0}b\"", "\"\u{1F}\"", "\"a\"b", "\"a\" \"b\"", "a", "é", "\u{FEFF}{}", "\u{A0}1",
        "\u{0B}1", "\u{0C}1", "/* c */ 1", "// c\n1", "1 // c", "#1",
        "[", "]", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[\"a\",", "[1}", "[}", "[[]", "[]]", "[1]]",
        "[\"a\" \"b\"]", "[1:2]", "[a]", "[1,\n", "[-]", "[\"]", "[*]", "[][]", "[1]x", "[(1)]", "[\u{A0}]",
        "{", "}", "{]", "{1}", "{1:1}", "{a:1}", "{'a':1}", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\":1,",
        "{\"a\":1,}",
        "{,\"a\":1}", "{,}", "{\"a\":1,,\"b\":2}", "{\"a\" 1}", "{\"a\"::1}", "{\"a\":1 \"b\":2}", "{\"a\":1]",
        "{\"a\"",
        "{\"a\":1}}", "{\"a\":1}{", "{\"a\":1}#", "{}{}", "{null:1}", "{true:1}", "{[]:1}", "{\"a\":1;\"b\":2}",
        "{\"a\":'b'}",
        "{\"a\\u00\":1}", "{\"a\n\":1}", "{\"a\",\"b\"}", "{\"a\"=1}", "{\"a\":(1)}", "{:1}", "{\"a\":truf}",
        "{\"a\":/**/1}",
    ]

    @Test(arguments: accepted) func `a document of RFC 8259 is accepted`(_ text: String) {
        #expect(Self.accepts(Array(text.utf8)))
    }

    @Test(arguments: refused) func `what RFC 8259 does not allow is refused`(_ text: String) {
        #expect(!Self.accepts(Array(text.utf8)))
    }

    @Test(
        arguments: [
            [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC2], [0xC2, 0x22], [0xC2, 0xC2], [0xE0, 0x80, 0x80],
            [0xE0, 0x9F, 0xBF], [0xE2, 0x82], [0xE2, 0x28, 0xA1], [0xE2, 0x82, 0x28], [0xED, 0xA0, 0x80],
            [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF0, 0x8F, 0xBF, 0xBF], [0xF0, 0x9F, 0x98],
            [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xF8, 0x88, 0x80, 0x80, 0x80], [0xFE], [0xFF],
            [0xF0, 0x9F, 0x98, 0x28], [0xF0, 0x9F, 0x28, 0x80],
        ] as [[UInt8]])
    func `a string that is not UTF-8 is refused, wherever it stands`(_ bad: [UInt8]) {
        for padding in 0..<40 {
            let before = [UInt8](repeating: 0x61, count: padding)
            for after in [[], [0x62], Array("cdefg".utf8)] as [[UInt8]] {
                #expect(!Self.accepts([0x22] + before + bad + after + [0x22]))
                #expect(!Self.accepts([0x22] + before + Array("é€😀".utf8) + bad + after + [0x22]))
            }
        }
    }

    @Test func `every scalar value of Unicode is accepted in a string`() {
        var text: [UInt8] = [0x22]
        for value in UInt32(0x80)...0x10FFFF {
            guard let scalar = Unicode.Scalar(value) else { continue }
            text += UTF8.encode(scalar)!
        }
        #expect(Self.accepts(text + [0x22]))
    }

    @Test func `sixty-four levels are accepted and sixty-five are not`() {
        func nested(_ depth: Int, _ open: String, _ close: String) -> [UInt8] {
            Array((String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)).utf8)
        }
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            #expect(Self.accepts(nested(64, open, close)))
            #expect(!Self.accepts(nested(65, open, close)))
        }
        #expect(Self.accepts(nested(32, "[{\"a\":", "}]")))
        #expect(!Self.accepts(nested(33, "[{\"a\":", "}]")))
        #expect(problem("[" + String(repeating: "[", count: 70))?.reason == .tooDeep)
    }

    @Test func `closing brackets must match what was opened, at any depth`() {
        var generator = SplitMix64(seed: 3)
        for _ in 0..<500 {
            var text = ""
            var closing: [Character] = []
            for _ in 0..<Int.random(in: 1...60, using: &generator) {
                if Bool.random(using: &generator) {
                    text += "["
                    closing.append("]")
                } else {
                    text += "{\"k\":"
                    closing.append("}")
                }
            }
            let end = closing.reversed()
            #expect(Self.accepts(Array((text + "0" + String(end)).utf8)))
            var wrong = Array(end)
            let place = Int.random(in: 0..<wrong.count, using: &generator)
            wrong[place] = wrong[place] == "]" ? "}" : "]"
            #expect(!Self.accepts(Array((text + "0" + String(wrong)).utf8)))
        }
    }

    @Test func `a document that is cut short anywhere is refused`() {
        let text =
            #"{"a":[1,2.5e-3,{"é€😀":"\u00e9\ud83d\ude00\n"}],"b":null,"c":true,"d":"a long enough plain one"}"#
        let bytes = Array(text.utf8)
        #expect(Self.accepts(bytes))
        for length in 0..<bytes.count { #expect(!Self.accepts(Array(bytes[..<length]))) }
    }

    @Test func `the offset points at the byte to blame`() {
        #expect(problem("[1,x]") == JSONProblem(.expectedValue, at: 3))
        #expect(problem("{\"a\":tru}") == JSONProblem(.invalidLiteral, at: 5))
        #expect(problem("[1 2]") == JSONProblem(.expectedCommaOrEnd, at: 3))
        #expect(problem("{\"a\" 1}") == JSONProblem(.expectedColon, at: 5))
        #expect(problem("{1:1}") == JSONProblem(.expectedName, at: 1))
        #expect(problem("{} x") == JSONProblem(.trailingBytes, at: 3))
        #expect(problem("\"a\u{1}\"") == JSONProblem(.controlCharacter, at: 2))
        #expect(problem("\"abc\\q\"") == JSONProblem(.invalidEscape, at: 4))
        #expect(problem("\"\\ud800\"") == JSONProblem(.loneSurrogate, at: 1))
        #expect(problem("[\"abc") == JSONProblem(.unterminatedString, at: 1))
        #expect(problem("[1,") == JSONProblem(.endOfText, at: 3))
        #expect(problem("-") == JSONProblem(.endOfText, at: 1))
        #expect(problem("[-]") == JSONProblem(.invalidNumber, at: 2))
        #expect(problem("[1,x]")?.sentence == "a value was expected (byte 3)")
    }

    @Test func `lone surrogates pass only where they are allowed`() throws {
        let bytes = Array("\"a\\ud83d\"".utf8)
        var scanner = JSONScanner(bytes.span, allowsLoneSurrogates: true)
        let value = try scanner.string()
        #expect(value == JSONString(raw: ByteRange(start: 1, count: 7), hasEscapes: true))
        #expect(!Self.accepts(bytes))
    }

    @Test func `members and elements are walked in order, with the ranges of their values`() throws {
        let bytes = Array(" { \"a\" : [ 1 , \"x\" ] , \"b\\n\" : {\"c\":null} , \"d\" : -2 } ".utf8)
        var scanner = JSONScanner(bytes.span)
        try scanner.openObject()
        let first = try scanner.member()
        #expect(first == JSONString(raw: ByteRange(start: 4, count: 1), hasEscapes: false))
        try scanner.openArray()
        #expect(try scanner.element())
        #expect(try scanner.number().int(in: bytes.span) == 1)
        #expect(try scanner.element())
        #expect(try scanner.kind() == .string)
        #expect(try scanner.string().text(in: bytes.span) == "x")
        #expect(try !scanner.element())
        let second = try scanner.member()
        #expect(second?.text(in: bytes.span) == "b\n")
        #expect(bytes.span.extracting(try scanner.skip()).text == "{\"c\":null}")
        let third = try scanner.member()
        #expect(third?.text(in: bytes.span) == "d")
        #expect(bytes.span.extracting(try scanner.skip()).text == "-2")
        #expect(try scanner.member() == nil)
        try scanner.finish()
    }

    private func problem(_ text: String) -> JSONProblem? {
        let bytes = Array(text.utf8)
        do throws(JSONProblem) {
            try JSONScanner.check(bytes.span)
            return nil
        } catch {
            return error
        }
    }
}
