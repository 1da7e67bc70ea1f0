import GatewayCore
import Synchronization
import Testing

@testable import Identity

@Suite struct AuthenticatorTests {
    static let now = TokenVerifierTests.now

    let key: APIKey
    let directory: KeyDirectory
    let authenticator: Authenticator

    init() throws {
        key = try APIKey.generate()
        directory = KeyDirectory(
            configured: [APIKeyRecord(id: key.id, name: "test", digest: key.digest, created: Self.now)], state: .loaded)
        authenticator = Authenticator(keys: directory, verifier: try TokenVerifierTests.verifier())
    }

    private func authenticate(_ value: String) throws(GatewayError) -> Principal {
        try authenticator.authenticate(Array(value.utf8).span, now: Self.now)
    }

    private func refusal(_ value: String) -> GatewayError? {
        do throws(GatewayError) {
            _ = try authenticate(value)
            return nil
        } catch {
            return error
        }
    }

    @Test func `an API key and a token each lead to their principal, whatever the scheme's case`() throws {
        let token = Forge().token(TokenVerifierTests.good)
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            #expect(try authenticate("\(scheme) \(key.text)").id == key.id)
            #expect(try authenticate("\(scheme) \(token)").id == "corp/alice")
        }
    }

    @Test func `without a header the credential is missing`() {
        #expect(throws: GatewayError.invalidAPIKey(.missing)) { try authenticator.authenticate(nil, now: Self.now) }
        #expect(refusal("") == .invalidAPIKey(.missing))
    }

    @Test func `anything but one bearer credential after one space is malformed`() throws {
        let other = try APIKey.generate()
        let values = [
            "Bearer", "Bearer ", "Bearer  \(key.text)", "Bearer\t\(key.text)", "Basic \(key.text)", key.text,
            "Bearer \(key.text) ", "Bearer \(key.text), Bearer \(key.text)", "Bearer \(key.text) \(other.text)",
            "Bearer \(key.text.dropLast())", "Bearer sk-weir-", "Bearer sk-weir-x", "Bearer a.b", "Bearer a.b.c.d",
            " Bearer \(key.text)", "Bearer:\(key.text)",
        ]
        for value in values { #expect(refusal(value) == .invalidAPIKey(.malformed), "\(value)") }
    }

    @Test func `a well-formed key that nobody has, and a key of another kind, are unknown`() throws {
        #expect(refusal("Bearer \(try APIKey.generate().text)") == .invalidAPIKey(.unknownKey))
        #expect(refusal("Bearer sk-proj-abcdef") == .invalidAPIKey(.unknownKey))
        #expect(refusal("Bearer x") == .invalidAPIKey(.unknownKey))
    }

    @Test func `while keys are not loaded an unknown key is 503, and a token is still verified`() throws {
        directory.state = .unavailable
        #expect(refusal("Bearer \(try APIKey.generate().text)") == .keysUnavailable)
        #expect(refusal("Bearer \(key.text)") == nil)
        #expect(refusal("Bearer \(Forge().token(TokenVerifierTests.good))") == nil)
    }

    @Test func `the reason why a token was refused is passed on`() {
        let expired = TokenVerifierTests.good.replacing("1700000600", with: "1600000000")
        #expect(refusal("Bearer \(Forge().token(expired))") == .invalidAPIKey(.expired))
        #expect(
            refusal("Bearer \(Forge(header: #"{"alg":"none"}"#).token(expired))")
                == .invalidAPIKey(.unsupportedAlgorithm))
    }

    @Test func `an unknown key of a trusted issuer is reported, and is 503 while its keys were never fetched`() throws {
        let reported = Mutex<[String]>([])
        let authenticator = Authenticator(
            keys: directory,
            verifier: try TokenVerifier(
                issuers: [
                    TrustedIssuer(
                        name: "corp", issuer: "https://login.example", audiences: ["weir"], keys: nil, leeway: .zero)
                ], tokenBytesMax: 4_096),
            unknownKey: { name in reported.withLock { $0.append(name) } })
        let value = Array("Bearer \(Forge().token(TokenVerifierTests.good))".utf8)
        #expect(throws: GatewayError.keysUnavailable) { try authenticator.authenticate(value, now: Self.now) }
        try authenticator.replaceKeys(ofIssuer: "corp", by: [])
        #expect(throws: GatewayError.invalidAPIKey(.unknownKey)) {
            try authenticator.authenticate(value, now: Self.now)
        }
        #expect(reported.withLock { $0 } == ["corp", "corp"])
        try authenticator.replaceKeys(
            ofIssuer: "corp", by: [VerificationKey(id: "one", algorithm: .hs256, secret: Forge.secret)])
        #expect(try authenticator.authenticate(value, now: Self.now).id == "corp/alice")
        let stranger = Array("Bearer \(Forge().token(TokenVerifierTests.good.replacing("login", with: "evil")))".utf8)
        #expect(throws: GatewayError.invalidAPIKey(.wrongIssuer)) {
            try authenticator.authenticate(stranger, now: Self.now)
        }
        #expect(reported.withLock { $0.count } == 2)
    }

    @Test func `too many keys for an issuer change nothing`() throws {
        let key = try VerificationKey(id: "one", algorithm: .hs256, secret: Forge.secret)
        let generation = authenticator.generation
        #expect(throws: KeyProblem.self) {
            try authenticator.replaceKeys(ofIssuer: "corp", by: Array(repeating: key, count: 65))
        }
        #expect(authenticator.generation == generation)
        #expect(refusal("Bearer \(Forge().token(TokenVerifierTests.good))") == nil)
    }

    @Test func `a cached credential is refused as soon as its key is revoked or its issuer's keys change`() throws {
        final class Slot {}
        let cache = TokenCache<Slot>(capacity: 8, credentialBytesMax: 4_096)
        let stored = try APIKey.generate()
        directory.replaceAll([APIKeyRecord(id: stored.id, name: "s", digest: stored.digest, created: Self.now)])
        func isCached(_ value: [UInt8]) -> Bool {
            cache.lookup(value.span, now: Self.now, generation: authenticator.generation) != nil
        }
        func remember(_ value: [UInt8]) throws {
            let generation = authenticator.generation
            let principal = try authenticator.authenticate(value, now: Self.now)
            cache.insert(
                value.span, principal: principal, attachment: Slot(), now: Self.now, generation: generation)
            #expect(isCached(value))
        }
        let byKey = Array("Bearer \(stored.text)".utf8)
        let byToken = Array("Bearer \(Forge().token(TokenVerifierTests.good))".utf8)
        try remember(byKey)
        directory.revoke(id: stored.id, at: Self.now)
        #expect(!isCached(byKey))
        #expect(throws: GatewayError.invalidAPIKey(.revoked)) { try authenticator.authenticate(byKey, now: Self.now) }

        try remember(byToken)
        try authenticator.replaceKeys(ofIssuer: "corp", by: [])
        #expect(!isCached(byToken))
        authenticator.replaceVerifier(try TokenVerifierTests.verifier())
        try remember(byToken)
        authenticator.replaceVerifier(try TokenVerifierTests.verifier())
        #expect(!isCached(byToken))
    }
}
