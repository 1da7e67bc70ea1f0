import Testing

@testable import Identity

@Suite struct HMACKeyTests {
    struct Example: Sendable {
        let secret: [UInt8]
        let message: [UInt8]
        let sha256: String
        let sha384: String
        let sha512: String
    }

    /// RFC 4231 §4.2, §4.3 and §4.7: a short key, a shorter one, and one longer than a block.
    static let examples = [
        Example(
            secret: Array(repeating: 0x0B, count: 20), message: Array("Hi There".utf8),
            sha256: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            sha384: "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
            sha512: "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
                + "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"),
        Example(
            secret: Array("Jefe".utf8), message: Array("what do ya want for nothing?".utf8),
            sha256: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            sha384: "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            sha512: "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
                + "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"),
        Example(
            secret: Array(repeating: 0xAA, count: 131),
            message: Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
            sha256: "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            sha384: "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
            sha512: "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
                + "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"),
    ]

    @Test(arguments: [SignatureAlgorithm.hs256, .hs384, .hs512])
    func `the examples of RFC 4231 come out, again and again from one key`(algorithm: SignatureAlgorithm) {
        for example in Self.examples {
            let key = HMACKey(secret: example.secret, algorithm: algorithm)
            let expected =
                switch algorithm {
                case .hs256: example.sha256
                case .hs384: example.sha384
                default: example.sha512
                }
            for _ in 0..<2 {
                let signature = key.signature(of: example.message)
                #expect(hex(signature) == expected)
                #expect(key.verify(example.message, signature: signature))
            }
        }
    }

    @Test func `a signature of another length or with one bit changed is refused`() {
        let message = Array("message".utf8)
        let key = HMACKey(secret: Array(repeating: 1, count: 32), algorithm: .hs256)
        let signature = key.signature(of: message)
        #expect(!key.verify(message, signature: signature.dropLast()))
        #expect(!key.verify(message, signature: signature + [0]))
        #expect(!key.verify(message, signature: []))
        for bit in 0..<256 {
            var changed = signature
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(!key.verify(message, signature: changed))
        }
    }

    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
