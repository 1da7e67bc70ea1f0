import COpenSSL
import GatewayCore
import Wire

/// A new API key: the only moment at which its secret exists in our hands.
///
/// The text is shown once; what is stored is ``digest``, the SHA-256 of the whole text, so that
/// `printf %s "$KEY" | sha256sum` gives the same. 256 random bits need no salt and no slow hash.
package struct APIKey: Sendable {
    /// `key_` and 12 characters: names the key in logs, limits and sessions. Not a secret; a rotated key keeps it.
    package let id: String
    /// `sk-weir-` and 43 characters of base64url: the secret.
    package let text: String
    package let digest: SHA256Digest

    /// What every API key begins with.
    package static let prefix: StaticString = "sk-weir-"
    /// Bytes of a key's text: the prefix and 256 bits in base64url.
    package static let textBytes = 51

    /// - Throws: `KeyProblem` if the system has no randomness to give.
    package static func generate() throws(KeyProblem) -> APIKey {
        try APIKey(id: makeID())
    }

    /// A new secret for the key `id`, as rotation needs it. Throws as ``generate()`` does.
    package init(id: String) throws(KeyProblem) {
        var secret = InlineArray<32, UInt8>(repeating: 0)
        try Self.fill(&secret)
        var text = ByteWriter(capacity: Self.textBytes)
        text.append(Self.prefix)
        Base64URL.append(secret.span, to: &text)
        self.id = id
        self.text = text.bytes.text
        digest = SHA256Digest(hashing: text.bytes)
    }

    /// Whether `text` has the form of an API key. Says nothing about whether there is such a key.
    package static func isWellFormed(_ text: Span<UInt8>) -> Bool {
        guard text.count == textBytes, text.extracting(first: prefix.utf8CodeUnitCount).equals(prefix) else {
            return false
        }
        var bytes = ByteWriter(capacity: 36)
        return Base64URL.decode(text.extracting(droppingFirst: prefix.utf8CodeUnitCount), appendingTo: &bytes)
    }

    /// 60 random bits in the 32 digits that can't be mistaken for one another (Crockford's, in lower case).
    private static func makeID() throws(KeyProblem) -> String {
        let alphabet: StaticString = "0123456789abcdefghjkmnpqrstvwxyz"
        var random = InlineArray<32, UInt8>(repeating: 0)
        try fill(&random)
        var id = ByteWriter(capacity: 16)
        id.append("key_")
        for index in 0..<12 { id.append(alphabet.utf8Start[Int(random[index] & 31)]) }
        return id.bytes.text
    }

    private static func fill(_ bytes: inout InlineArray<32, UInt8>) throws(KeyProblem) {
        var span = bytes.mutableSpan
        let filled = span.withUnsafeMutableBufferPointer { RAND_bytes($0.baseAddress, 32) }
        guard filled == 1 else {
            ERR_clear_error()
            throw KeyProblem("the system has no randomness to make a key from")
        }
    }
}

/// What is known of an API key: everything but the secret.
package struct APIKeyRecord: Equatable, Sendable {
    package var id: String
    /// For people; need not be unique.
    package var name: String
    package var digest: SHA256Digest
    /// Public model names that may be used; `nil` means all.
    package var models: Set<String>?
    /// Requests allowed per window; `nil` means what the configuration says for all.
    package var requestsPerWindow: Int?
    package var created: WallTime
    package var expires: WallTime?
    package var revoked: WallTime?

    package init(
        id: String, name: String, digest: SHA256Digest, models: Set<String>? = nil, requestsPerWindow: Int? = nil,
        created: WallTime, expires: WallTime? = nil, revoked: WallTime? = nil
    ) {
        self.id = id
        self.name = name
        self.digest = digest
        self.models = models
        self.requestsPerWindow = requestsPerWindow
        self.created = created
        self.expires = expires
        self.revoked = revoked
    }

    /// The moment from which the key no longer counts: the earlier of its expiry and its revocation.
    package var ends: WallTime? {
        guard let expires, let revoked else { return expires ?? revoked }
        return min(expires, revoked)
    }

    /// Who comes with this key. Throws `.revoked` or `.expired` once it ended.
    package func principal(now: WallTime) throws(TokenProblem) -> Principal {
        if let revoked, now >= revoked { throw .revoked }
        if let expires, now >= expires { throw .expired }
        return Principal(kind: .apiKey, id: id, models: models, requestsPerWindow: requestsPerWindow, expires: ends)
    }
}
