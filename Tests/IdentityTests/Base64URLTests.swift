import TestSupport
import Testing
import Wire

@testable import Identity

@Suite struct Base64URLTests {
    /// RFC 4648 §10, without the padding, and RFC 7515 appendix C.
    @Test(arguments: [
        ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"),
        ("foobar", "Zm9vYmFy"),
    ])
    func `the examples of the RFC come out both ways`(plain: String, encoded: String) {
        #expect(Base64URL.encode(Array(plain.utf8)) == encoded)
        #expect(Base64URL.decode(encoded) == Array(plain.utf8))
        #expect(Base64URL.encodedCount(plain.utf8.count) == encoded.utf8.count)
    }

    @Test func `the two letters that are not base64's stand for 62 and 63`() {
        #expect(Base64URL.encode([3, 236, 255, 224, 193]) == "A-z_4ME")
        #expect(Base64URL.decode("A-z_4ME") == [3, 236, 255, 224, 193])
    }

    @Test func `padding, white space, base64's own letters and any other byte are refused wherever they stand`() {
        for length in [2, 3, 4, 6, 7, 8, 12] {
            let good = String(repeating: "A", count: length)
            #expect(Base64URL.decode(good) != nil)
            for place in 0..<length {
                for stray in ["=", "+", "/", " ", "\n", ".", "\0", "~", "@", "[", "`", "{"] {
                    let text = String(good.prefix(place)) + stray + String(good.dropFirst(place + 1))
                    #expect(Base64URL.decode(text) == nil, "\(text)")
                }
            }
        }
        for byte in UInt8(0x80)...0xFF {
            var bytes = ByteWriter()
            let decoded = Base64URL.decode([0x41, 0x41, byte, 0x41].span, appendingTo: &bytes)
            #expect(!decoded)
        }
        for text in ["A", "AAAAA", "Zg==", "Zm8=", "Zg=", "Zm9v=", "Zm9v===="] {
            #expect(Base64URL.decode(text) == nil)
        }
    }

    @Test func `unused bits must be zero`() {
        #expect(Base64URL.decode("Zg") != nil)
        for text in ["Zh", "Zi", "Zo", "Zv", "Z_"] { #expect(Base64URL.decode(text) == nil, "\(text)") }
        #expect(Base64URL.decode("Zm8") != nil)
        for text in ["Zm9", "Zm-", "Zm_"] { #expect(Base64URL.decode(text) == nil, "\(text)") }
    }

    @Test func `what was refused leaves nothing behind, and what was accepted is appended`() {
        var bytes = ByteWriter()
        bytes.append("ab")
        let refused = Base64URL.decode(Array("Zm9v!".utf8).span, appendingTo: &bytes)
        #expect(!refused)
        #expect(bytes.bytes.text == "ab")
        let accepted = Base64URL.decode(Array("Zm9v".utf8).span, appendingTo: &bytes)
        #expect(accepted)
        #expect(bytes.bytes.text == "abfoo")
    }

    @Test func `any bytes survive the way there and back, and a text that decodes is the only one of its bytes`() {
        var generator = SplitMix64(seed: 3)
        for count in 0..<200 {
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            #expect(Base64URL.decode(Base64URL.encode(bytes)) == bytes)
        }
        let alphabet = Array("ABCabc019-_=. ")
        var decoded = 0
        for _ in 0..<20_000 {
            let text = String((0..<Int(generator.next() % 9)).map { _ in alphabet[Int(generator.next() % 14)] })
            guard let bytes = Base64URL.decode(text) else { continue }
            decoded += 1
            #expect(Base64URL.encode(bytes) == text)
        }
        #expect(decoded > 1_000)
    }
}
