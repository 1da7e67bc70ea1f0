import COpenSSL
import Wire

/// A public key of OpenSSL, checked when it was loaded, with which signatures are verified.
///
/// - Owns: one `EVP_PKEY`, freed at the end.
final class PublicKey: Sendable {
    /// The sizes of RSA keys that are accepted: smaller ones are broken, larger ones make each token cost milliseconds.
    static let rsaBits = 2_048...8_192

    // Never changed after `init`; OpenSSL 3 lets any number of threads verify with one EVP_PKEY, each with a context of
    // its own, and counts references atomically.
    nonisolated(unsafe) private let key: OpaquePointer

    /// Reads a `SubjectPublicKeyInfo`.
    init(der: [UInt8], algorithm: SignatureAlgorithm) throws(KeyProblem) {
        let parsed = der.withUnsafeBufferPointer { bytes in
            var next = bytes.baseAddress
            return d2i_PUBKEY(nil, &next, bytes.count)
        }
        key = try Self.owned(parsed)
        try check(fits: algorithm)
    }

    /// Reads the public key, or the certificate, that `pem` begins with.
    init(pem: String, algorithm: SignatureAlgorithm) throws(KeyProblem) {
        guard !pem.contains("PRIVATE KEY-----") else {
            throw KeyProblem("it is a private key; only the public one belongs here (openssl pkey -pubout)")
        }
        let isCertificate = pem.contains("-----BEGIN CERTIFICATE-----")
        var text = pem
        let parsed: OpaquePointer? = text.withUTF8 { bytes in
            guard let source = BIO_new_mem_buf(bytes.baseAddress, Int32(clamping: bytes.count)) else { return nil }
            defer { BIO_free(source) }
            // Without a callback, an encrypted text's password would be asked for on the terminal.
            guard isCertificate else { return PEM_read_bio_PUBKEY(source, nil, { _, _, _, _ in 0 }, nil) }
            guard let certificate = PEM_read_bio_X509(source, nil, { _, _, _, _ in 0 }, nil) else { return nil }
            defer { X509_free(certificate) }
            return X509_get_pubkey(certificate)
        }
        key = try Self.owned(parsed)
        try check(fits: algorithm)
    }

    deinit { EVP_PKEY_free(key) }

    private static func owned(_ parsed: OpaquePointer?) throws(KeyProblem) -> OpaquePointer {
        guard let parsed else {
            ERR_clear_error()
            throw KeyProblem("it is not a public key that can be read")
        }
        return parsed
    }

    /// Whether this is a sound key of the kind that `algorithm` takes. Milliseconds: when a key is loaded.
    private func check(fits algorithm: SignatureAlgorithm) throws(KeyProblem) {
        let bits = Int(EVP_PKEY_get_bits(key))
        switch algorithm.family {
        case .hmac:
            throw KeyProblem("\(algorithm.rawValue) takes a secret, not a public key")
        case .rsa, .rsaPSS:
            let isRestricted = algorithm.family == .rsaPSS && EVP_PKEY_is_a(key, "RSA-PSS") == 1
            guard EVP_PKEY_is_a(key, "RSA") == 1 || isRestricted else {
                throw KeyProblem("\(algorithm.rawValue) takes an RSA key")
            }
            guard Self.rsaBits.contains(bits) else {
                throw KeyProblem(
                    "an RSA key must have \(Self.rsaBits.lowerBound) to \(Self.rsaBits.upperBound) bits, it has \(bits)"
                )
            }
        case .ecdsa(let curve):
            guard EVP_PKEY_is_a(key, "EC") == 1, groupName == curve.group else {
                throw KeyProblem("\(algorithm.rawValue) takes a key on the curve \(curve.rawValue)")
            }
        case .edwards:
            guard EVP_PKEY_is_a(key, "ED25519") == 1 || EVP_PKEY_is_a(key, "ED448") == 1 else {
                throw KeyProblem("EdDSA takes an Ed25519 or Ed448 key")
            }
        }
        guard let context = EVP_PKEY_CTX_new(key, nil) else { throw KeyProblem("out of memory") }
        defer { EVP_PKEY_CTX_free(context) }
        guard EVP_PKEY_public_check(context) == 1 else {
            ERR_clear_error()
            throw KeyProblem("its numbers are not those of a sound key")
        }
    }

    private var groupName: String? {
        var name = [CChar](repeating: 0, count: 64)
        var length = 0
        guard EVP_PKEY_get_group_name(key, &name, name.count, &length) == 1 else {
            ERR_clear_error()
            return nil
        }
        return String(decoding: name.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Whether `signature`, as JOSE writes it, is that of `message`.
    ///
    /// - Cost: CPU only; for the figures of each algorithm see docs/identity.md.
    func verify(_ message: Span<UInt8>, signature: Span<UInt8>, algorithm: SignatureAlgorithm) -> Bool {
        guard case .ecdsa(let curve) = algorithm.family else {
            return signature.withUnsafeBytes { verify(message, signature: $0, algorithm) }
        }
        // JOSE puts r and s side by side in full length (RFC 7518 §3.4), OpenSSL wants them in DER.
        let bytes = curve.coordinateBytes
        guard signature.count == 2 * bytes else { return false }
        let encoded = signature.withUnsafeBytes { raw in
            DER.sequence(DER.integer(raw.prefix(bytes)), DER.integer(raw.dropFirst(bytes)))
        }
        return encoded.withUnsafeBytes { verify(message, signature: $0, algorithm) }
    }

    private func verify(
        _ message: Span<UInt8>, signature: UnsafeRawBufferPointer, _ algorithm: SignatureAlgorithm
    ) -> Bool {
        guard let context = EVP_MD_CTX_new() else { return false }
        defer { EVP_MD_CTX_free(context) }
        var parameters: OpaquePointer?  // belongs to the context
        var isValid = EVP_DigestVerifyInit(context, &parameters, algorithm.hash, nil, key) == 1
        if isValid, algorithm.family == .rsaPSS {
            isValid =
                EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1
                && EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) == 1
        }
        isValid =
            isValid
            && message.withUnsafeBufferPointer { message in
                EVP_DigestVerify(
                    context, signature.baseAddress?.assumingMemoryBound(to: UInt8.self), signature.count,
                    message.baseAddress, message.count) == 1
            }
        // What is left in the thread's error queue would be taken for a failure of the next TLS read.
        if !isValid { ERR_clear_error() }
        return isValid
    }
}

extension SignatureAlgorithm {
    /// OpenSSL's name for the hash; `nil` where the algorithm brings its own.
    fileprivate var hash: OpaquePointer? {
        switch self {
        case .hs256, .rs256, .ps256, .es256: EVP_sha256()
        case .hs384, .rs384, .ps384, .es384: EVP_sha384()
        case .hs512, .rs512, .ps512, .es512: EVP_sha512()
        case .edDSA: nil
        }
    }
}
