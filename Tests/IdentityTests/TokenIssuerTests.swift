import GatewayCore
import Testing
import Wire

@testable import Identity

@Suite struct TokenIssuerTests {
    static let now = TokenVerifierTests.now

    let issuer: TokenIssuer
    let verifier: TokenVerifier

    init() throws {
        issuer = try TokenIssuer(
            secret: Forge.secret, keyID: "one", issuer: "https://login.example", audience: "weir")
        verifier = try TokenVerifierTests.verifier(leeway: .zero)
    }

    @Test func `a token that was issued verifies, with all that it grants, until its time is over`() throws {
        let grant = TokenIssuer.Grant(
            subject: #"Zoë "Z" \ o'Neill"#, timeToLive: .seconds(60), models: ["small", "a/b\"c"], requestsPerWindow: 9)
        let token = try issuer.issue(grant, now: Self.now)
        let principal = try verifier.verify(token, now: Self.now)
        #expect(principal.id == #"corp/Zoë "Z" \ o'Neill"#)
        #expect(principal.models == ["small", "a/b\"c"])
        #expect(principal.requestsPerWindow == 9)
        let end = Self.now.secondsSinceEpoch + 60
        #expect(principal.expires == WallTime(secondsSinceEpoch: end))
        #expect(throws: TokenProblem.expired) { try verifier.verify(token, now: WallTime(secondsSinceEpoch: end)) }
        #expect(throws: TokenProblem.notYetValid) {
            try verifier.verify(token, now: WallTime(secondsSinceEpoch: Self.now.secondsSinceEpoch - 1))
        }
    }

    @Test func `header and claims are what RFC 7519 names, and nothing that was not asked for`() throws {
        let token = try issuer.issue(.init(subject: "a", timeToLive: .milliseconds(1_500)), now: Self.now)
        let parts = token.split(separator: ".").map(String.init)
        #expect(parts.count == 3)
        let header = try JSONValue.read(String(decoding: #require(Base64URL.decode(parts[0])), as: UTF8.self))
        #expect(header.text == #"{"alg":"HS256","typ":"JWT","kid":"one"}"#)
        let claims = try JSONValue.read(String(decoding: #require(Base64URL.decode(parts[1])), as: UTF8.self))
        #expect(
            claims.text == #"{"iss":"https://login.example","sub":"a","aud":"weir","iat":1700000000,"#
                + #""nbf":1700000000,"exp":1700000002}"#)
    }

    @Test func `without a kid the only key of the issuer verifies it`() throws {
        let nameless = try TokenIssuer(
            secret: Forge.secret, keyID: nil, issuer: "https://login.example", audience: "weir-test")
        let token = try nameless.issue(.init(subject: "a", timeToLive: .seconds(1)), now: Self.now)
        #expect(try verifier.verify(token, now: Self.now).id == "corp/a")
    }

    @Test func `what verification would refuse is not issued`() throws {
        let grants: [TokenIssuer.Grant] = [
            .init(subject: "", timeToLive: .seconds(1)),
            .init(subject: String(repeating: "s", count: 256), timeToLive: .seconds(1)),
            .init(subject: "a\nb", timeToLive: .seconds(1)),
            .init(subject: "a", timeToLive: .zero),
            .init(subject: "a", timeToLive: .seconds(-1)),
            .init(subject: "a", timeToLive: .seconds(1), models: (0...256).map { "m\($0)" }),
            .init(subject: "a", timeToLive: .seconds(1), requestsPerWindow: 0),
        ]
        for grant in grants { #expect(throws: KeyProblem.self) { try issuer.issue(grant, now: Self.now) } }
        #expect(throws: KeyProblem.self) {
            try TokenIssuer(secret: Array("short".utf8), keyID: nil, issuer: "i", audience: "a")
        }
    }
}
