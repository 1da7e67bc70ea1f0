import GatewayCore
import TestSupport
import Testing
import Wire

@testable import Identity

@Suite struct TokenVerifierTests {
    static let now = WallTime(secondsSinceEpoch: 1_700_000_000)
    static let good = #"{"iss":"https://login.example","sub":"alice","aud":"weir","exp":1700000600}"#

    let verifier: TokenVerifier

    init() throws {
        verifier = try Self.verifier()
    }

    static func verifier(keys: [VerificationKey]? = nil, leeway: Interval = .seconds(30)) throws -> TokenVerifier {
        let own = try keys ?? [VerificationKey(id: "one", algorithm: .hs256, secret: Forge.secret)]
        return try TokenVerifier(
            issuers: [
                TrustedIssuer(
                    name: "partner", issuer: "https://partner.example", audiences: ["weir"], keys: [], leeway: leeway),
                TrustedIssuer(
                    name: "late", issuer: "https://late.example", audiences: ["weir"], keys: own,
                    leeway: .seconds(300)),
                TrustedIssuer(
                    name: "corp", issuer: "https://login.example", audiences: ["weir", "weir-test"], keys: own,
                    leeway: leeway),
            ],
            tokenBytesMax: 4_096)
    }

    private func refusal(_ token: String, now: WallTime = Self.now) -> TokenProblem? {
        problem { () throws(TokenProblem) in _ = try verifier.verify(token, now: now) }
    }

    private func refusal(claims: String, now: WallTime = Self.now) -> TokenProblem? {
        refusal(Forge().token(claims), now: now)
    }

    private func refusal(header: String) -> TokenProblem? {
        refusal(Forge(header: header).token(Self.good))
    }

    @Test func `a good token gives a principal of its issuer and subject, which ends with the leeway`() throws {
        let principal = try verifier.verify(Forge().token(Self.good), now: Self.now)
        #expect(principal.kind == .token)
        #expect(principal.id == "corp/alice")
        #expect(principal.models == nil)
        #expect(principal.requestsPerWindow == nil)
        #expect(principal.expires == WallTime(secondsSinceEpoch: 1_700_000_630))
    }

    @Test func `the token may narrow the models and carry a number of requests`() throws {
        let claims = #"{"iss":"https://login.example","sub":"a","aud":["x","weir-test"],"exp":1700000600.5,"#
        let more = #""weir_models":["small","l\u0061rge"],"weir_requests_per_window":7,"nested":{"a":[1e5,null]}}"#
        let principal = try verifier.verify(Forge().token(claims + more), now: Self.now)
        #expect(principal.models == ["small", "large"])
        #expect(principal.requestsPerWindow == 7)
        #expect(principal.expires == WallTime(nanosecondsSinceEpoch: 1_700_000_630_500_000_000))
        let none = try verifier.verify(Forge().token(claims + #""weir_models":[]}"#), now: Self.now)
        #expect(none.models == [])
    }

    @Test func `strings are compared after unescaping`() throws {
        let claims =
            #"{"iss":"https:\/\/login.example","s\u0075b":"\u0061l\u00efce","aud":"w\u0065ir","exp":1700000600}"#
        #expect(try verifier.verify(Forge().token(claims), now: Self.now).id == "corp/alïce")
    }

    @Test func `an issuer or audience that is not exactly ours is refused`() {
        for issuer in ["https://login.example/", "https://LOGIN.example", "https://login.exampl", "", "corp"] {
            #expect(refusal(claims: #"{"iss":"\#(issuer)","sub":"a","aud":"weir","exp":1700000600}"#) == .wrongIssuer)
        }
        for audience in [#""weir2""#, #""WEIR""#, #""wei""#, "[]", #"["a","b"]"#, #""""#] {
            let claims = #"{"iss":"https://login.example","sub":"a","aud":\#(audience),"exp":1700000600}"#
            #expect(refusal(claims: claims) == .wrongAudience, "\(audience)")
        }
    }

    @Test(arguments: ["iss", "sub", "aud", "exp"])
    func `a token without a claim that must be there is refused`(name: String) {
        let claims = Self.good.replacing("\"\(name)\"", with: "\"x\"")
        #expect(claims != Self.good)
        #expect(refusal(claims: claims) == .missingClaim)
    }

    @Test func `each issuer has a leeway of its own`() throws {
        let claims = #""sub":"a","aud":"weir","exp":1700000000}"#
        let late = WallTime(secondsSinceEpoch: 1_700_000_200)
        let principal = try verifier.verify(Forge().token(#"{"iss":"https://late.example","# + claims), now: late)
        #expect(principal.expires == WallTime(secondsSinceEpoch: 1_700_000_300))
        #expect(refusal(claims: #"{"iss":"https://login.example","# + claims, now: late) == .expired)
    }

    @Test func `exp and nbf are compared with the leeway added, to the nanosecond`() {
        let claims = #"{"iss":"https://login.example","sub":"a","aud":"weir","nbf":1700000000,"exp":1700000600}"#
        func at(_ seconds: Int64, plus nanoseconds: Int64 = 0) -> TokenProblem? {
            refusal(claims: claims, now: WallTime(nanosecondsSinceEpoch: seconds * 1_000_000_000 + nanoseconds))
        }
        #expect(at(1_699_999_970, plus: -1) == .notYetValid)
        #expect(at(1_699_999_970) == nil)
        #expect(at(1_700_000_630, plus: -1) == nil)
        #expect(at(1_700_000_630) == .expired)
    }

    @Test func `only a token that is good otherwise is said to have expired`() {
        let late = WallTime(secondsSinceEpoch: 1_800_000_000)
        #expect(refusal(claims: Self.good, now: late) == .expired)
        #expect(refusal(claims: Self.good.replacing("weir", with: "x"), now: late) == .wrongAudience)
        var changed = Forge().token(Self.good)
        changed.replaceSubrange(changed.index(changed.endIndex, offsetBy: -9)..., with: "AAAAAAAAA")
        changed = String(changed.dropLast()) + "A"
        #expect(refusal(changed, now: late) == .badSignature)
    }

    @Test func `times beyond the clock's range count as its ends`() {
        for exp in ["99999999999", "9999999999999999999999", "1e300"] {
            #expect(refusal(claims: Self.good.replacing("1700000600", with: exp)) == nil, "\(exp)")
        }
        for exp in ["-1", "-99999999999", "-1e300", "0"] {
            #expect(refusal(claims: Self.good.replacing("1700000600", with: exp)) == .expired, "\(exp)")
        }
        #expect(refusal(claims: Self.good.dropLast() + #","nbf":1e300}"#) == .notYetValid)
    }

    @Test(arguments: [
        #"{"iss":1,"sub":"a","aud":"weir","exp":1700000600}"#,
        #"{"iss":"https://login.example","sub":["a"],"aud":"weir","exp":1700000600}"#,
        #"{"iss":"https://login.example","sub":"a","aud":{"weir":1},"exp":1700000600}"#,
        #"{"iss":"https://login.example","sub":"a","aud":["weir",1],"exp":1700000600}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":"1700000600"}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1e999}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600,"other":1e999}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600,"nbf":null}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600,"weir_models":"small"}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600,"weir_models":[["small"]]}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600,"weir_requests_per_window":0}"#,
        #"{"iss":"https://login.example","sub":"a\u000ab","aud":"weir","exp":1700000600}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600,"aud":"weir"}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600,"\u0061ud":"weir"}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600,"x":1,"x":1}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600} {}"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":1700000600"#,
        #"{"iss":"https://login.example","sub":"a","aud":"weir","exp":01700000600}"#,
        #"["iss"]"#, "null", "", "\u{FEFF}{}",
    ])
    func `claims that are not an object of distinct members of the right types are malformed`(claims: String) {
        #expect(refusal(claims: claims) == .malformed)
    }

    @Test func `what is bounded is accepted at the bound and refused beyond it`() {
        func claims(subject: Int, members: Int, models: Int) -> String {
            let extra = (0..<members - 5).map { #","m\#($0)":0"# }.joined()
            let names = (0..<models).map { "\"\($0)\"" }.joined(separator: ",")
            let sub = String(repeating: "s", count: subject)
            return #"{"iss":"https://login.example","sub":"\#(sub)","aud":"weir","exp":1700000600\#(extra),"#
                + #""weir_models":[\#(names)]}"#
        }
        #expect(refusal(claims: claims(subject: 255, members: 64, models: 256)) == nil)
        #expect(refusal(claims: claims(subject: 256, members: 6, models: 1)) == .malformed)
        #expect(refusal(claims: claims(subject: 1, members: 65, models: 1)) == .malformed)
        #expect(refusal(claims: claims(subject: 1, members: 6, models: 257)) == .malformed)
        #expect(refusal(claims: claims(subject: 0, members: 6, models: 1)) == .missingClaim)
        let padded = Self.good.dropLast() + #","x":""# + String(repeating: "x", count: 4_000) + #""}"#
        #expect(refusal(claims: String(padded)) == .malformed)
    }

    @Test func `an algorithm is the key's, never the token's`() throws {
        for name in ["none", "NONE", "nOnE", "HS256 ", "hs256", "RS256", "HS384", "ES256K", "dir"] {
            #expect(refusal(header: #"{"alg":"\#(name)","kid":"one"}"#) == .unsupportedAlgorithm, "\(name)")
            let unsigned = Forge(header: #"{"alg":"\#(name)"}"#).token(Self.good)
            #expect(
                refusal(String(unsigned.prefix(upTo: try #require(unsigned.lastIndex(of: "."))) + ".AA"))
                    == .unsupportedAlgorithm)
        }
        #expect(refusal(Forge(algorithm: .hs512).token(Self.good)) == .badSignature)
        #expect(refusal(header: #"{"alg":"HS\u003256","kid":"one"}"#) == nil)
    }

    @Test func `a token signed with the text of a public key as its secret is refused`() throws {
        let vectors = try #require(Fixture.json("signed_tokens.json")["tokens"]?.array)
        let rsa = try #require(vectors.first { $0["algorithm"]?.string == "RS256" })
        let pem = try #require(rsa["pem"]?.string)
        let verifier = try Self.verifier(keys: [VerificationKey(id: "one", algorithm: .rs256, pem: pem)])
        let signed = "\(Base64URL.encode(Array(Forge().header.utf8))).\(Base64URL.encode(Array(Self.good.utf8)))"
        let forged = HMACKey(secret: Array(pem.utf8), algorithm: .hs256).signature(of: Array(signed.utf8))
        let token = "\(signed).\(Base64URL.encode(forged))"
        #expect(throws: TokenProblem.unsupportedAlgorithm) { try verifier.verify(token, now: Self.now) }
        #expect(throws: KeyProblem.self) {
            try VerificationKey(id: "one", algorithm: .hs256, secret: Array(pem.utf8))
        }
    }

    @Test func `crit is refused, and keys that a token brings are not looked at`() {
        #expect(refusal(header: #"{"alg":"HS256","kid":"one","crit":["exp"]}"#) == .criticalHeader)
        #expect(refusal(header: #"{"alg":"HS256","kid":"one","b64":false,"crit":["b64"]}"#) == .criticalHeader)
        #expect(refusal(header: #"{"alg":"HS256","kid":"one","crit":null}"#) == .criticalHeader)
        let brought =
            #""jwk":{"kty":"oct","k":"AAAA"},"jku":"http://x.example","x5u":"http://x.example","x5c":["AAAA"]"#
        #expect(refusal(header: #"{"alg":"HS256","kid":"one",\#(brought)}"#) == nil)
        #expect(refusal(header: #"{"alg":"HS256","kid":"two",\#(brought)}"#) == .unknownKey)
    }

    @Test(arguments: [
        #"{"kid":"one"}"#, #"{"alg":"","kid":"one"}"#, #"{"alg":1,"kid":"one"}"#, #"{"alg":"HS256","kid":1}"#,
        #"{"alg":"HS256","alg":"HS256"}"#, #"{"alg":"none","\u0061lg":"HS256"}"#, #"{"alg":"HS256","kid":null}"#,
        #"{"alg":"HS256"} x"#, #"["HS256"]"#, #""HS256""#, "{", #"{'alg':'HS256'}"#,
        "{\"alg\":\"HS256\",\"x\":\"\u{1}\"}",
    ])
    func `a header that is not an object of distinct members with a string for alg is malformed`(header: String) {
        #expect(refusal(header: header) == .malformed)
    }

    @Test func `white space, padding, extra and missing parts are malformed`() throws {
        let token = Forge().token(Self.good)
        let parts = token.split(separator: ".").map(String.init)
        #expect(refusal(token) == nil)
        let wrong = [
            "", ".", "..", "...", "a", "a.b", parts[0], "\(parts[0]).\(parts[1])", "\(parts[0]).\(parts[1]).",
            "\(parts[0])..\(parts[2])", ".\(parts[1]).\(parts[2])", "\(token).", "\(token).\(parts[2])", ".\(token)",
            " \(token)", "\(token) ", "\(token)\n", "\(token)=", "\(parts[0])=.\(parts[1]).\(parts[2])",
            "\(parts[0]).\(parts[1])\n.\(parts[2])", "\(parts[0]). \(parts[1]).\(parts[2])", token + "\0",
            token.replacing(".", with: "%2E"),
        ]
        for text in wrong { #expect(refusal(text) == .malformed, "\(text)") }
        #expect(refusal("\(token)A") == .badSignature)
        let last = try #require(token.last)
        // 32 bytes leave two unused bits in the last character; another of the same value must not do.
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        let value = try #require(alphabet.firstIndex(of: last))
        for stray in 1...3 {
            #expect(refusal(String(token.dropLast()) + String(alphabet[value | stray])) == .malformed)
        }
    }

    @Test func `without kid exactly one key of the issuer must fit`() throws {
        let one = try VerificationKey(id: "one", algorithm: .hs256, secret: Forge.secret)
        let two = try VerificationKey(id: "two", algorithm: .hs256, secret: Array(repeating: 7, count: 32))
        let other = try VerificationKey(id: "three", algorithm: .hs384, secret: Array(repeating: 7, count: 48))
        let unnamed = try VerificationKey(id: nil, algorithm: .hs256, secret: Forge.secret)
        let token = Forge(header: #"{"alg":"HS256"}"#).token(Self.good)
        let named = Forge().token(Self.good)
        func refusal(_ token: String, _ keys: [VerificationKey]) throws -> TokenProblem? {
            let verifier = try Self.verifier(keys: keys)
            return problem { () throws(TokenProblem) in _ = try verifier.verify(token, now: Self.now) }
        }
        #expect(try refusal(token, [one]) == nil)
        #expect(try refusal(token, [other, one]) == nil)
        #expect(try refusal(token, [one, two]) == .unknownKey)
        #expect(try refusal(token, [other]) == .unsupportedAlgorithm)
        #expect(try refusal(token, []) == .unknownKey)
        #expect(try refusal(named, [one, two]) == nil)
        #expect(try refusal(named, [two]) == .unknownKey)
        #expect(try refusal(named, [two, unnamed]) == nil)
        #expect(try refusal(named, [unnamed, unnamed]) == .unknownKey)
    }

    @Test func `a key of one issuer verifies no other issuer's tokens`() {
        let claims = Self.good.replacing("login", with: "partner")
        #expect(refusal(claims: claims) == .unknownKey)
    }

    @Test func `every prefix of a good token, and every single change of a byte, is refused`() throws {
        let token = Array(Forge().token(Self.good).utf8)
        for count in 0..<token.count {
            let prefix = Array(token[..<count])
            #expect(throws: TokenProblem.self) {
                try verifier.verify(String(decoding: prefix, as: UTF8.self), now: Self.now)
            }
        }
        for index in token.indices {
            var changed = token
            changed[index] = changed[index] == UInt8(ascii: "x") ? UInt8(ascii: "y") : UInt8(ascii: "x")
            #expect(throws: TokenProblem.self) {
                try verifier.verify(String(decoding: changed, as: UTF8.self), now: Self.now)
            }
        }
    }

    @Test func `signed nonsense of any kind is refused without harm`() throws {
        var generator = SplitMix64(seed: 21)
        let pieces = [
            "{", "}", "[", "]", ":", ",", "\"", "\\", "\\u00", "\"iss\"", "\"https://login.example\"", "\"aud\"",
            "\"weir\"", "\"exp\"", "1", "-", "e9", ".", "null", "\"sub\"", "\"kid\"", "\"one\"", "\"alg\"", "\"HS256\"",
            " ", "\u{1F600}", "\0",
        ]
        func nonsense() -> String {
            (0..<Int(generator.next() % 24)).map { _ in pieces[Int(generator.next() % UInt64(pieces.count))] }.joined()
        }
        for _ in 0..<5_000 {
            #expect(refusal(claims: "{\(nonsense())}") != nil)
            #expect(refusal(header: "{\"alg\":\"HS256\",\"kid\":\"one\",\"x\":\(nonsense())}x") == .malformed)
            #expect(refusal("\(nonsense()).\(nonsense()).\(nonsense())") == .malformed)
        }
    }

    @Test func `issuers that are incomplete or ambiguous can't be configured`() throws {
        func make(_ issuers: [TrustedIssuer]) throws {
            _ = try TokenVerifier(issuers: issuers, tokenBytesMax: 4_096)
        }
        let good = TrustedIssuer(name: "a", issuer: "https://a", audiences: ["weir"], keys: nil, leeway: .zero)
        #expect(throws: Never.self) { try make([good]) }
        for change in 0..<6 {
            var bad = good
            switch change {
            case 0: bad.name = ""
            case 1: bad.name = "a/b"
            case 2: bad.issuer = ""
            case 3: bad.audiences = []
            case 4: bad.audiences = ["weir", ""]
            default: bad.audiences = (0...64).map { "a\($0)" }
            }
            #expect(throws: KeyProblem.self, "change \(change)") { try make([bad]) }
        }
        #expect(throws: KeyProblem.self) {
            var other = good
            other.issuer = "https://b"
            try make([good, other])
        }
        #expect(throws: KeyProblem.self) {
            var other = good
            other.name = "b"
            try make([good, other])
        }
    }
}
