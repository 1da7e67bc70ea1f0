import GatewayCore
import Testing
import Wire

@testable import Identity

@Suite struct SignatureVectorTests {
    @Test func `the examples of RFC 7515 and RFC 8037 verify`() throws {
        let vectors = try #require(Fixture.json("signed_tokens.json")["rfc"]?.array)
        #expect(vectors.count == 5)
        for vector in vectors {
            let name = try #require(vector["name"]?.string)
            let algorithm = try #require(SignatureAlgorithm(rawValue: vector["algorithm"]?.string ?? ""))
            let jwk = try #require(vector["jwk"])
            let key = try VerificationKey(jwk: jwk, algorithm: algorithm, allowsSecrets: true)
            let token = try #require(vector["token"]?.string)
            #expect(throws: Never.self, "\(name)") { try verifiedPayload(of: token, with: [key]) }
        }
    }

    @Test func `every algorithm verifies a token made elsewhere, with the key as JWK and as PEM`() throws {
        let vectors = try #require(Fixture.json("signed_tokens.json")["tokens"]?.array)
        var seen: Set<SignatureAlgorithm> = []
        for vector in vectors {
            let name = try #require(vector["name"]?.string)
            let algorithm = try #require(SignatureAlgorithm(rawValue: vector["algorithm"]?.string ?? ""))
            let token = try #require(vector["token"]?.string)
            var keys = [
                try VerificationKey(jwk: #require(vector["jwk"]), algorithm: algorithm, allowsSecrets: true)
            ]
            if let pem = vector["pem"]?.string {
                keys.append(try VerificationKey(id: vector["kid"]?.string, algorithm: algorithm, pem: pem))
            }
            for key in keys {
                #expect(throws: Never.self, "\(name)") { try verifiedPayload(of: token, with: [key]) }
            }
            seen.insert(algorithm)
        }
        #expect(seen == Set(SignatureAlgorithm.allCases))
    }

    @Test func `no token verifies after one character of its claims or its signature changed`() throws {
        let vectors = try #require(Fixture.json("signed_tokens.json")["tokens"]?.array)
        for vector in vectors {
            let name = try #require(vector["name"]?.string)
            let algorithm = try #require(SignatureAlgorithm(rawValue: vector["algorithm"]?.string ?? ""))
            let key = try VerificationKey(jwk: #require(vector["jwk"]), algorithm: algorithm, allowsSecrets: true)
            let token = Array(try #require(vector["token"]?.string).utf8)
            let headerEnd = try #require(token.firstIndex(of: UInt8(ascii: ".")))
            let claimsEnd = try #require(token.lastIndex(of: UInt8(ascii: ".")))
            for index in [headerEnd + 1, (headerEnd + claimsEnd) / 2, claimsEnd + 1, (claimsEnd + token.count) / 2] {
                var changed = token
                changed[index] = changed[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
                let text = String(decoding: changed, as: UTF8.self)
                #expect(throws: TokenProblem.badSignature, "\(name), byte \(index)") {
                    try verifiedPayload(of: text, with: [key])
                }
            }
        }
    }

    @Test func `an ECDSA signature has the length of its curve: the same numbers with a zero in front are refused`()
        throws
    {
        let vectors = try #require(Fixture.json("signed_tokens.json")["tokens"]?.array)
        var count = 0
        for vector in vectors where vector["algorithm"]?.string?.hasPrefix("ES") == true {
            let algorithm = try #require(SignatureAlgorithm(rawValue: vector["algorithm"]?.string ?? ""))
            let key = try VerificationKey(jwk: #require(vector["jwk"]), algorithm: algorithm, allowsSecrets: true)
            let parts = try #require(vector["token"]?.string).split(separator: ".").map(String.init)
            let signature = try #require(Base64URL.decode(parts[2]))
            let half = signature.count / 2
            let longer = [
                signature[..<half] + [0] + signature[half...], [0] + signature, signature + [0],
            ]
            for changed in longer {
                let token = "\(parts[0]).\(parts[1]).\(Base64URL.encode(Array(changed)))"
                #expect(throws: TokenProblem.badSignature) { try verifiedPayload(of: token, with: [key]) }
            }
            count += 1
        }
        #expect(count == 4)
    }

    @Test func `no key accepts the signatures of another algorithm, whatever the token's header says`() throws {
        let vectors = try #require(Fixture.json("signed_tokens.json")["tokens"]?.array)
        for vector in vectors {
            let own = try #require(vector["algorithm"]?.string)
            let token = try #require(vector["token"]?.string)
            for other in vectors where other["algorithm"]?.string != own {
                let algorithm = try #require(SignatureAlgorithm(rawValue: other["algorithm"]?.string ?? ""))
                let key = try VerificationKey(jwk: #require(other["jwk"]), algorithm: algorithm, allowsSecrets: true)
                let parts = try TokenParts(Array(token.utf8).span)
                let isGood = key.verify(
                    Array(token.utf8).span.extracting(first: parts.signedCount), signature: parts.signature)
                #expect(!isGood, "\(own) token, \(algorithm.rawValue) key")
            }
        }
    }

    /// Labels marked `disputed` in the file contradict the RFC or one another; each has its reason there. We refuse
    /// where the key's `alg` is none or another than the token's, and characters that are not base64url; 367 and 370
    /// are byte for byte the token of 357, which is valid.
    @Test func `Project Wycheproof's vectors come out as labelled, but for the disputed ones`() throws {
        let vectors = try #require(Fixture.json("wycheproof_jws.json")["tests"]?.array)
        #expect(vectors.count == 401)
        var disputed = 0
        for vector in vectors {
            let number = try #require(vector["tc"]?.int)
            let token = try #require(vector["token"]?.string)
            var isValid = try #require(vector["valid"]?.bool as Bool?)
            if vector["disputed"] != nil {
                disputed += 1
                isValid.toggle()
            }
            #expect(accepts(token, jwk: try #require(vector["jwk"])) == isValid, "Wycheproof \(number)")
        }
        #expect(disputed == 8)
    }

    private func accepts(_ token: String, jwk: JSONValue) -> Bool {
        do {
            let key = try VerificationKey(jwk: jwk, algorithm: nil, allowsSecrets: true)
            _ = try verifiedPayload(of: token, with: [key])
            return true
        } catch {
            return false
        }
    }
}
