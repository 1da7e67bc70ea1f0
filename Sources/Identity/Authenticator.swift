import GatewayCore
import Synchronization
import Wire

/// From the value of an `Authorization` header to who is asking. For credentials that ``TokenCache`` doesn't know.
///
/// - Isolation: any thread; the verifier is swapped under a lock that is held for a reference count.
package final class Authenticator: Sendable {
    package let keys: KeyDirectory
    private let verifier: Mutex<TokenVerifier>
    private let replacements = Atomic<UInt64>(0)
    private let unknownKey: @Sendable (_ issuerName: String) -> Void

    /// - Parameter unknownKey: told the issuer's name whenever a token names a key of it that we don't have, however
    ///   often that is: whoever fetches key sets decides when to look again. Called on the loop: must not block.
    package init(
        keys: KeyDirectory, verifier: TokenVerifier,
        unknownKey: @escaping @Sendable (_ issuerName: String) -> Void = { _ in }
    ) {
        self.keys = keys
        self.verifier = Mutex(verifier)
        self.unknownKey = unknownKey
    }

    /// What a ``TokenCache`` is asked with: rises whenever an API key or an issuer's key may have been taken away.
    @inline(__always)
    package var generation: UInt64 { keys.generation &+ replacements.load(ordering: .acquiring) }

    /// The verifier in force.
    package var currentVerifier: TokenVerifier { verifier.withLock { $0 } }

    /// Puts another verifier in force: after a reload. What was cached is void then.
    package func replaceVerifier(_ new: TokenVerifier) {
        verifier.withLock { $0 = new }
        replacements.wrappingAdd(1, ordering: .acquiringAndReleasing)
    }

    /// Gives one issuer other keys, after its key set was fetched. What was cached is void then.
    ///
    /// Throws `KeyProblem` if there are too many keys; nothing changed then.
    package func replaceKeys(ofIssuer name: String, by keys: [VerificationKey]) throws(KeyProblem) {
        try verifier.withLock { verifier throws(KeyProblem) in
            verifier = try verifier.replacingKeys(of: name, by: keys)
        }
        replacements.wrappingAdd(1, ordering: .acquiringAndReleasing)
    }

    /// Who comes with this header value.
    ///
    /// - Parameter value: of the one `Authorization` header; `nil` if there is none. The caller refuses several.
    /// - Throws: `.invalidAPIKey` with the reason (401); `.keysUnavailable` (503) while the keys that could tell are
    ///   not loaded.
    /// - Cost: an API key about 0.3 µs, a token as its algorithm takes (docs/identity.md).
    package func authenticate(_ value: Span<UInt8>?, now: WallTime) throws(GatewayError) -> Principal {
        guard let value, !value.isEmpty else { throw .invalidAPIKey(.missing) }
        guard let credential = Self.bearerCredential(in: value) else { throw .invalidAPIKey(.malformed) }
        let prefix = APIKey.prefix.utf8CodeUnitCount
        if credential.count >= prefix, credential.extracting(first: prefix).equals(APIKey.prefix) {
            guard APIKey.isWellFormed(credential) else { throw .invalidAPIKey(.malformed) }
            return try keys.principal(for: SHA256Digest(hashing: credential), now: now)
        }
        // A key of somebody else's, most likely.
        guard credential.firstIndex(of: UInt8(ascii: "."), from: 0) != nil else { throw .invalidAPIKey(.unknownKey) }
        return try principal(ofToken: credential, now: now)
    }

    private func principal(ofToken token: Span<UInt8>, now: WallTime) throws(GatewayError) -> Principal {
        let verifier = currentVerifier
        do throws(TokenProblem) {
            return try verifier.verify(token, now: now)
        } catch {
            if error == .unknownKey, let issuer = verifier.issuerOfUnknownKey(in: token) {
                unknownKey(issuer.name)
                if issuer.keys == nil { throw .keysUnavailable }
            }
            throw .invalidAPIKey(error)
        }
    }

    /// What follows `Bearer` and one space. The scheme's case doesn't matter (RFC 9110 §11.1). Of what a credential is
    /// made is for the forms of credentials to say; none of them knows a space.
    @_lifetime(copy value)
    package static func bearerCredential(in value: Span<UInt8>) -> Span<UInt8>? {
        guard value.count > 7, value.extracting(first: 7).equalsIgnoringCase("bearer ") else { return nil }
        return value[7] == UInt8(ascii: " ") ? nil : value.extracting(droppingFirst: 7)
    }
}
