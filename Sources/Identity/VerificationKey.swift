import Wire

/// A key with which tokens of one issuer are verified, bound to one algorithm.
///
/// Immutable; copies share the key material.
package struct VerificationKey: Sendable {
    private enum Material: Sendable {
        case secret(HMACKey)
        case publicKey(PublicKey)
    }

    /// The `kid` that tokens name it by; `nil` if it has none.
    package let id: String?
    /// The only algorithm it verifies, whatever a token says.
    package let algorithm: SignatureAlgorithm
    private let material: Material
    /// What tokens are compared with.
    private let idBytes: [UInt8]
    let algorithmName: [UInt8]

    /// Bytes that a `kid` may have.
    static let idBytesMax = 256

    /// A shared secret, for HS256, HS384 and HS512.
    ///
    /// - Throws: `KeyProblem` if it is shorter than the hash (RFC 7518 §3.2), or a PEM text: a public key that serves
    ///   as a secret is known to everybody.
    package init(id: String?, algorithm: SignatureAlgorithm, secret: [UInt8]) throws(KeyProblem) {
        guard algorithm.family == .hmac else {
            throw KeyProblem("\(algorithm.rawValue) takes a public key, not a secret")
        }
        guard secret.count >= algorithm.hashBytes else {
            throw KeyProblem("a secret for \(algorithm.rawValue) needs at least \(algorithm.hashBytes) bytes")
        }
        guard !secret.starts(with: "-----BEGIN".utf8) else { throw KeyProblem("a PEM text can't serve as a secret") }
        try self.init(id, algorithm, .secret(HMACKey(secret: secret, algorithm: algorithm)))
    }

    /// A public key or a certificate as PEM text, for all algorithms but HMAC's. Throws if it doesn't fit.
    package init(id: String?, algorithm: SignatureAlgorithm, pem: String) throws(KeyProblem) {
        try self.init(id, algorithm, .publicKey(PublicKey(pem: pem, algorithm: algorithm)))
    }

    /// A public key as `SubjectPublicKeyInfo`.
    init(id: String?, algorithm: SignatureAlgorithm, der: [UInt8]) throws(KeyProblem) {
        try self.init(id, algorithm, .publicKey(PublicKey(der: der, algorithm: algorithm)))
    }

    private init(_ id: String?, _ algorithm: SignatureAlgorithm, _ material: Material) throws(KeyProblem) {
        if let id, id.isEmpty || id.utf8.count > Self.idBytesMax {
            throw KeyProblem("a kid must have 1 to \(Self.idBytesMax) bytes")
        }
        self.id = id
        self.algorithm = algorithm
        self.material = material
        idBytes = Array((id ?? "").utf8)
        algorithmName = Array(algorithm.rawValue.utf8)
    }

    /// Whether it is the key that a token means by `name`. - Precondition: the string was read from `document`.
    func hasID(_ name: JSONString, in document: Span<UInt8>) -> Bool {
        id != nil && name.equals(idBytes, in: document)
    }

    func verify(_ message: Span<UInt8>, signature: Span<UInt8>) -> Bool {
        switch material {
        case .secret(let key): key.verify(message, signature: signature)
        case .publicKey(let key): key.verify(message, signature: signature, algorithm: algorithm)
        }
    }
}
