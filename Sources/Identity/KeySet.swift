import Wire

/// The keys of a JWK set: what an issuer publishes, or a file holds.
///
/// A key that we can't use (for encryption, of another kind, malformed) is left out and counted, as RFC 7517 §5 wants
/// it: one odd key must not lock out the tokens of the others.
package struct KeySet: Sendable {
    package let keys: [VerificationKey]
    /// Why keys were left out, in the order of the set.
    package let leftOut: [KeyProblem]

    /// Bytes that the text of a set may have.
    package static let textBytesMax = 131_072
    /// Keys that a set may hold; a set with more is refused.
    package static let keysMax = 64

    /// Reads `{"keys": […]}`, or a single JWK.
    ///
    /// - Parameter algorithm: what keys without `alg` are for; `nil`: RS256, EdDSA, HS256, or what the curve says.
    /// - Parameter allowsSecrets: whether `oct` keys count. Not in a set that is published.
    /// - Throws: `KeyProblem` if the text is not JSON, has duplicate members, or is no key and no set.
    /// - Cost: milliseconds for each RSA key: not on a loop.
    package init(jwks text: Span<UInt8>, algorithm: SignatureAlgorithm?, allowsSecrets: Bool) throws(KeyProblem) {
        guard text.count <= Self.textBytesMax else {
            throw KeyProblem("a key set may have \(Self.textBytesMax) bytes, this has \(text.count)")
        }
        let document: JSONValue
        do throws(JSONProblem) {
            document = try JSONValue.read(text, refusingDuplicates: true)
        } catch {
            throw KeyProblem("a key set must be JSON without duplicate members")
        }
        guard document.object != nil else { throw KeyProblem("a key set must be a JSON object") }
        guard let members = document["keys"] else {
            keys = [try VerificationKey(jwk: document, algorithm: algorithm, allowsSecrets: allowsSecrets)]
            leftOut = []
            return
        }
        guard let members = members.array else { throw KeyProblem("`keys` must be an array") }
        guard members.count <= Self.keysMax else {
            throw KeyProblem("a key set may hold \(Self.keysMax) keys, this holds \(members.count)")
        }
        var keys: [VerificationKey] = []
        var leftOut: [KeyProblem] = []
        for member in members {
            do throws(KeyProblem) {
                keys.append(try VerificationKey(jwk: member, algorithm: algorithm, allowsSecrets: allowsSecrets))
            } catch {
                leftOut.append(error)
            }
        }
        self.keys = keys
        self.leftOut = leftOut
    }

    package init(jwks text: String, algorithm: SignatureAlgorithm?, allowsSecrets: Bool) throws(KeyProblem) {
        try self.init(jwks: Array(text.utf8).span, algorithm: algorithm, allowsSecrets: allowsSecrets)
    }
}

extension VerificationKey {
    /// Reads one JWK. Private members are ignored; so are `x5c`, `x5u` and `x5t`.
    ///
    /// - Source: RFC 7517 §4; RFC 7518 §6; RFC 8037 §2.
    init(jwk: JSONValue, algorithm configured: SignatureAlgorithm?, allowsSecrets: Bool) throws(KeyProblem) {
        guard jwk.object != nil, let kind = jwk["kty"]?.string else { throw KeyProblem("a JWK needs a `kty`") }
        if let use = jwk["use"], use.string != "sig" { throw KeyProblem("its `use` is not `sig`") }
        if let operations = jwk["key_ops"], operations.array?.contains(.string("verify")) != true {
            throw KeyProblem("its `key_ops` don't name `verify`")
        }
        let id = jwk["kid"]?.string
        if jwk["kid"] != nil, id == nil { throw KeyProblem("its `kid` is not a string") }
        let algorithm = try Self.algorithm(of: jwk, kind: kind, configured)
        switch (kind, algorithm.family) {
        case ("oct", .hmac):
            guard allowsSecrets else { throw KeyProblem("a secret has no place in a published key set") }
            try self.init(id: id, algorithm: algorithm, secret: Self.bytes(jwk, "k"))
        case ("RSA", .rsa), ("RSA", .rsaPSS):
            try self.init(id: id, algorithm: algorithm, der: Self.rsa(jwk))
        case ("EC", .ecdsa(let curve)):
            try self.init(id: id, algorithm: algorithm, der: Self.ec(jwk, curve))
        case ("OKP", .edwards):
            try self.init(id: id, algorithm: algorithm, der: Self.edwards(jwk))
        default:
            throw KeyProblem("a key with `kty` \(kind.prefix(16)) is not for \(algorithm.rawValue)")
        }
    }

    /// The key's own `alg`, which must not contradict the configured one; without one, what its kind is used for most.
    private static func algorithm(
        of jwk: JSONValue, kind: String, _ configured: SignatureAlgorithm?
    ) throws(KeyProblem) -> SignatureAlgorithm {
        if let member = jwk["alg"] {
            guard let name = member.string, let own = SignatureAlgorithm(rawValue: name) else {
                throw KeyProblem("its `alg` is not a signature algorithm")
            }
            guard configured == nil || configured == own else {
                throw KeyProblem("its `alg` is \(own.rawValue), not the configured \(configured?.rawValue ?? "")")
            }
            return own
        }
        if let configured { return configured }
        switch (kind, jwk["crv"]?.string) {
        case ("RSA", _): return .rs256
        case ("oct", _): return .hs256
        case ("EC", "P-256"): return .es256
        case ("EC", "P-384"): return .es384
        case ("EC", "P-521"): return .es512
        case ("OKP", _): return .edDSA
        default: throw KeyProblem("its `kty` and `crv` are not supported")
        }
    }

    private static func rsa(_ jwk: JSONValue) throws(KeyProblem) -> [UInt8] {
        let key = DER.sequence(DER.integer(try bytes(jwk, "n")), DER.integer(try bytes(jwk, "e")))
        let rsaEncryption: [UInt8] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01]
        return DER.sequence(DER.sequence(DER.objectIdentifier(rsaEncryption), DER.null), DER.bitString(key))
    }

    private static func ec(_ jwk: JSONValue, _ curve: SignatureAlgorithm.Curve) throws(KeyProblem) -> [UInt8] {
        guard jwk["crv"]?.string == curve.rawValue else { throw KeyProblem("its `crv` is not \(curve.rawValue)") }
        let x = try bytes(jwk, "x")
        let y = try bytes(jwk, "y")
        guard x.count == curve.coordinateBytes, y.count == curve.coordinateBytes else {
            throw KeyProblem("`x` and `y` must have \(curve.coordinateBytes) bytes on \(curve.rawValue)")
        }
        let ecPublicKey: [UInt8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01]
        let group: [UInt8] =
            switch curve {
            case .p256: [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07]
            case .p384: [0x2B, 0x81, 0x04, 0x00, 0x22]
            case .p521: [0x2B, 0x81, 0x04, 0x00, 0x23]
            }
        let uncompressed: UInt8 = 0x04
        return DER.sequence(
            DER.sequence(DER.objectIdentifier(ecPublicKey), DER.objectIdentifier(group)),
            DER.bitString([uncompressed] + x + y))
    }

    private static func edwards(_ jwk: JSONValue) throws(KeyProblem) -> [UInt8] {
        let curves: [String: (identifier: [UInt8], bytes: Int)] = [
            "Ed25519": ([0x2B, 0x65, 0x70], 32), "Ed448": ([0x2B, 0x65, 0x71], 57),
        ]
        guard let curve = curves[jwk["crv"]?.string ?? ""] else {
            throw KeyProblem("its `crv` is not Ed25519 or Ed448")
        }
        let x = try bytes(jwk, "x")
        guard x.count == curve.bytes else { throw KeyProblem("its `x` must have \(curve.bytes) bytes") }
        return DER.sequence(DER.sequence(DER.objectIdentifier(curve.identifier)), DER.bitString(x))
    }

    private static func bytes(_ jwk: JSONValue, _ name: String) throws(KeyProblem) -> [UInt8] {
        guard let text = jwk[name]?.string, let bytes = Base64URL.decode(text), !bytes.isEmpty else {
            throw KeyProblem("its `\(name)` is missing or not base64url")
        }
        return bytes
    }
}
