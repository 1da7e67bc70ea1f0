import COpenSSL
import Wire

/// A secret for HMAC over SHA-2, with both padded-key blocks hashed in advance: a signature then costs the message and
/// one block.
///
/// A class, so that a key is passed by reference: the states are up to 430 bytes. Immutable.
///
/// - Source: RFC 2104, "HMAC: Keyed-Hashing for Message Authentication", §4 (the precomputation).
final class HMACKey: Sendable {
    private enum States: Sendable {
        case sha256(inner: SHA256_CTX, outer: SHA256_CTX)
        /// SHA-384 is SHA-512 with another start and a shorter end.
        case sha512(inner: SHA512_CTX, outer: SHA512_CTX)
    }

    private let states: States
    /// Bytes of a signature: 32, 48 or 64.
    let signatureBytes: Int

    /// - Precondition: the algorithm is one of the HMAC family; ``VerificationKey`` has checked it.
    init(secret: [UInt8], algorithm: SignatureAlgorithm) {
        signatureBytes = algorithm.hashBytes
        switch algorithm {
        case .hs256:
            states = .sha256(
                inner: Self.sha256(Self.pad(secret, algorithm, blockBytes: 64, with: 0x36)),
                outer: Self.sha256(Self.pad(secret, algorithm, blockBytes: 64, with: 0x5C)))
        case .hs384, .hs512:
            states = .sha512(
                inner: Self.sha512(Self.pad(secret, algorithm, blockBytes: 128, with: 0x36), algorithm),
                outer: Self.sha512(Self.pad(secret, algorithm, blockBytes: 128, with: 0x5C), algorithm))
        default:
            preconditionFailure("\(algorithm.rawValue) is not an HMAC")
        }
    }

    /// The signature of `message`: the first ``signatureBytes`` bytes count.
    func signature(of message: Span<UInt8>) -> InlineArray<64, UInt8> {
        var signature = InlineArray<64, UInt8>(repeating: 0)
        var span = signature.mutableSpan
        span.withUnsafeMutableBufferPointer { result in
            switch states {
            case .sha256(var inner, var outer):
                message.withUnsafeBytes { weir_sha256_update(&inner, $0.baseAddress, $0.count) }
                weir_sha256_final(&inner, result.baseAddress)
                weir_sha256_update(&outer, result.baseAddress, signatureBytes)
                weir_sha256_final(&outer, result.baseAddress)
            case .sha512(var inner, var outer):
                message.withUnsafeBytes { weir_sha512_update(&inner, $0.baseAddress, $0.count) }
                weir_sha512_final(&inner, result.baseAddress)
                weir_sha512_update(&outer, result.baseAddress, signatureBytes)
                weir_sha512_final(&outer, result.baseAddress)
            }
        }
        return signature
    }

    /// Whether `signature` is that of `message`; takes the same time wherever they differ.
    func verify(_ message: Span<UInt8>, signature: Span<UInt8>) -> Bool {
        guard signature.count == signatureBytes else { return false }
        let expected = self.signature(of: message)
        return expected.span.withUnsafeBytes { expected in
            signature.withUnsafeBytes { CRYPTO_memcmp(expected.baseAddress, $0.baseAddress, $0.count) == 0 }
        }
    }

    /// The secret, hashed first if it is longer than a block, filled up with zeros, every byte combined with `mask`.
    private static func pad(
        _ secret: [UInt8], _ algorithm: SignatureAlgorithm, blockBytes: Int, with mask: UInt8
    ) -> [UInt8] {
        var block = secret
        if block.count > blockBytes { block = hash(secret, algorithm) }
        block += Array(repeating: 0, count: blockBytes - block.count)
        return block.map { $0 ^ mask }
    }

    private static func hash(_ bytes: [UInt8], _ algorithm: SignatureAlgorithm) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 64)
        if algorithm == .hs256 {
            var context = sha256(bytes)
            weir_sha256_final(&context, &digest)
        } else {
            var context = sha512(bytes, algorithm)
            weir_sha512_final(&context, &digest)
        }
        return Array(digest.prefix(algorithm.hashBytes))
    }

    private static func sha256(_ bytes: [UInt8]) -> SHA256_CTX {
        var context = SHA256_CTX()
        weir_sha256_init(&context)
        weir_sha256_update(&context, bytes, bytes.count)
        return context
    }

    private static func sha512(_ bytes: [UInt8], _ algorithm: SignatureAlgorithm) -> SHA512_CTX {
        var context = SHA512_CTX()
        if algorithm == .hs384 { weir_sha384_init(&context) } else { weir_sha512_init(&context) }
        weir_sha512_update(&context, bytes, bytes.count)
        return context
    }
}
