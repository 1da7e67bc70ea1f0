import GatewayCore
import Testing
import Wire

@testable import Identity

@Suite struct KeySetTests {
    let tokens: [JSONValue]

    init() throws {
        tokens = try #require(Fixture.json("signed_tokens.json")["tokens"]?.array)
    }

    private func set(_ keys: [String], algorithm: SignatureAlgorithm? = nil, secrets: Bool = false) throws -> KeySet {
        try KeySet(
            jwks: #"{"keys":[\#(keys.joined(separator: ","))]}"#, algorithm: algorithm, allowsSecrets: secrets)
    }

    private func jwk(_ name: String, adding members: String = "") throws -> String {
        let text = try #require(tokens.first { $0["name"]?.string == name }?["jwk"]?.text)
        return "\(text.dropLast())\(members)}"
    }

    @Test func `a set gives every key that can be used and says why it left out the others`() throws {
        let set = try set([
            jwk("RS256"), #"{"kty":"RSA"}"#, jwk("ES384"), #"{"kty":"XYZ","x":1}"#, jwk("EdDSA Ed25519"), "null", "[]",
            jwk("HS256"), jwk("ES256", adding: #","use":"enc""#), jwk("ES256", adding: #","key_ops":["sign"]"#),
            jwk("ES256", adding: #","alg":"RSA-OAEP""#), jwk("ES256", adding: #","alg":"ES384""#),
            jwk("ES256", adding: #","use":"sig","key_ops":["verify"],"alg":"ES256","x5c":["?"]"#),
        ])
        #expect(set.keys.map(\.algorithm) == [.rs256, .es384, .edDSA, .es256])
        #expect(set.keys.map(\.id) == ["key-RS256", "key-ES384", "key-EdDSA Ed25519", "key-ES256"])
        #expect(set.leftOut.count == 9)
    }

    @Test func `secrets count only where they are allowed`() throws {
        #expect(try set([jwk("HS256")]).keys.isEmpty)
        #expect(try set([jwk("HS256")], secrets: true).keys.map(\.algorithm) == [.hs256])
        #expect(try set([#"{"kty":"oct","k":"AAAA"}"#], secrets: true).leftOut.count == 1)
    }

    @Test func `the configured algorithm is for keys that name none, and contradicts no other`() throws {
        #expect(try set([jwk("RS256")], algorithm: .ps512).keys.map(\.algorithm) == [.ps512])
        #expect(
            try set([jwk("RS256", adding: #","alg":"RS384""#)], algorithm: .rs384).keys.map(\.algorithm) == [.rs384])
        #expect(try set([jwk("RS256", adding: #","alg":"RS384""#)], algorithm: .ps512).keys.isEmpty)
        #expect(try set([jwk("RS256")], algorithm: .es256).keys.isEmpty)
    }

    @Test func `a single JWK is a set of one, and a bad one is an error`() throws {
        let text = try jwk("ES512")
        #expect(try KeySet(jwks: text, algorithm: nil, allowsSecrets: false).keys.map(\.algorithm) == [.es512])
        #expect(throws: KeyProblem.self) { try KeySet(jwks: #"{"kty":"EC"}"#, algorithm: nil, allowsSecrets: false) }
    }

    @Test(arguments: [
        "", "[]", "null", "{}", #"{"keys":{}}"#, #"{"keys":[],"keys":[]}"#, #"{"keys":[{"kty":"EC","kty":"RSA"}]}"#,
        #"{"keys":[]} x"#,
    ])
    func `a text that is no set is an error`(text: String) {
        #expect(throws: KeyProblem.self) { try KeySet(jwks: text, algorithm: nil, allowsSecrets: false) }
    }

    @Test func `a set is bounded in keys and in bytes`() throws {
        #expect(try set(Array(repeating: #"{"kty":"oct"}"#, count: 64)).leftOut.count == 64)
        #expect(throws: KeyProblem.self) { try set(Array(repeating: #"{"kty":"oct"}"#, count: 65)) }
        let long = #"{"keys":[]"# + String(repeating: " ", count: KeySet.textBytesMax) + "}"
        #expect(throws: KeyProblem.self) { try KeySet(jwks: long, algorithm: nil, allowsSecrets: false) }
    }

    @Test func `numbers that are not those of a sound key are refused`() throws {
        let ec = try jwk("ES256")
        let x = try #require(try KeyText(ec).x)
        let wrong = [
            ec.replacing(x, with: String(x.dropLast(3)) + "AAA"),  // a point off the curve
            ec.replacing(x, with: String(x.dropLast(2))),  // too short
            ec.replacing(x, with: x + "AA"),
            ec.replacing("P-256", with: "P-384"),
            ec.replacing("P-256", with: "secp256k1"),
            try jwk("RS256").replacing("AQAB", with: "AQ"),  // exponent 1
            try jwk("RS256").replacing("AQAB", with: "AQAA"),  // an even exponent
            try jwk("RS256").replacing("AQAB", with: "AQAB="),
            try jwk("EdDSA Ed25519").replacing("Ed25519", with: "X25519"),
        ]
        for text in wrong {
            let set = try set([text])
            #expect(set.keys.isEmpty, "\(text)")
            #expect(set.leftOut.count == 1)
        }
    }

    @Test func `a key that doesn't fit its algorithm, is weak, private or none is refused`() throws {
        let weak = try #require(Fixture.json("signed_tokens.json")["weak"]?.array)
        #expect(weak.count == 8)
        for key in weak {
            let algorithm = try #require(SignatureAlgorithm(rawValue: key["algorithm"]?.string ?? ""))
            let pem = try #require(key["pem"]?.string)
            #expect(throws: KeyProblem.self, "\(key["name"]?.string ?? "")") {
                try VerificationKey(id: nil, algorithm: algorithm, pem: pem)
            }
        }
    }

    @Test(arguments: [(SignatureAlgorithm.hs256, 32), (.hs384, 48), (.hs512, 64)])
    func `a secret must be as long as the hash`(algorithm: SignatureAlgorithm, bytes: Int) throws {
        _ = try VerificationKey(id: nil, algorithm: algorithm, secret: Array(repeating: 1, count: bytes))
        #expect(throws: KeyProblem.self) {
            try VerificationKey(id: nil, algorithm: algorithm, secret: Array(repeating: 1, count: bytes - 1))
        }
    }

    @Test func `a kid has 1 to 256 bytes, and a secret is for HMAC alone`() throws {
        let secret = [UInt8](repeating: 1, count: 64)
        for id in ["", String(repeating: "k", count: 257)] {
            #expect(throws: KeyProblem.self) { try VerificationKey(id: id, algorithm: .hs256, secret: secret) }
        }
        let longest = String(repeating: "k", count: 256)
        #expect(try VerificationKey(id: longest, algorithm: .hs256, secret: secret).id == longest)
        for algorithm in SignatureAlgorithm.allCases where algorithm.family != .hmac {
            #expect(throws: KeyProblem.self) { try VerificationKey(id: nil, algorithm: algorithm, secret: secret) }
        }
    }

    private struct KeyText {
        let x: String?
        init(_ text: String) throws { x = try JSONValue.read(text)["x"]?.string }
    }
}
