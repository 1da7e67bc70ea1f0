import GatewayCore
import Wire

/// Signs tokens that a ``TokenVerifier`` with the same secret accepts: for `weir tokens issue`.
package struct TokenIssuer: Sendable {
    /// What a token is to say.
    package struct Grant: Equatable, Sendable {
        package var subject: String
        package var timeToLive: Interval
        /// `nil` allows all models.
        package var models: [String]?
        package var requestsPerWindow: Int?

        package init(
            subject: String, timeToLive: Interval, models: [String]? = nil, requestsPerWindow: Int? = nil
        ) {
            self.subject = subject
            self.timeToLive = timeToLive
            self.models = models
            self.requestsPerWindow = requestsPerWindow
        }
    }

    private let key: HMACKey
    private let keyID: String?
    private let issuer: String
    private let audience: String

    /// - Parameter issuer: the claim `iss`; `audience`: the claim `aud`.
    /// - Throws: `KeyProblem` if the secret can't serve for HS256.
    package init(secret: [UInt8], keyID: String?, issuer: String, audience: String) throws(KeyProblem) {
        // A key that nobody could verify with must not sign either.
        _ = try VerificationKey(id: keyID, algorithm: .hs256, secret: secret)
        key = HMACKey(secret: secret, algorithm: .hs256)
        self.keyID = keyID
        self.issuer = issuer
        self.audience = audience
    }

    /// The token in compact form, valid from `now` on.
    ///
    /// - Throws: `KeyProblem` if the grant says something that verification refuses: an empty or overlong subject, one
    ///   with control characters, no time to live, too many models.
    package func issue(_ grant: Grant, now: WallTime) throws(KeyProblem) -> String {
        try Self.check(grant)
        var header = ByteWriter()
        header.openObject()
        header.member("alg", string: SignatureAlgorithm.hs256.rawValue)
        header.member("typ", string: "JWT")
        if let keyID { header.member("kid", string: keyID) }
        header.closeObject()

        let issued = now.secondsSinceEpoch
        var claims = ByteWriter()
        claims.openObject()
        claims.member("iss", string: issuer)
        claims.member("sub", string: grant.subject)
        claims.member("aud", string: audience)
        claims.member("iat", number: Int(issued))
        claims.member("nbf", number: Int(issued))
        claims.member("exp", number: Int(issued + grant.timeToLive.secondsRoundedUp))
        if let models = grant.models {
            claims.member("weir_models")
            claims.append(json: .array(models.map { .string($0) }))
        }
        if let requests = grant.requestsPerWindow { claims.member("weir_requests_per_window", number: requests) }
        claims.closeObject()

        var token = ByteWriter()
        Base64URL.append(header.bytes, to: &token)
        token.append(".")
        Base64URL.append(claims.bytes, to: &token)
        let signature = key.signature(of: token.bytes)
        token.append(".")
        Base64URL.append(signature.span.extracting(first: key.signatureBytes), to: &token)
        return token.bytes.text
    }

    private static func check(_ grant: Grant) throws(KeyProblem) {
        let subject = grant.subject.utf8
        guard !subject.isEmpty, subject.count <= TokenClaims.subjectBytesMax else {
            throw KeyProblem("a subject must have 1 to \(TokenClaims.subjectBytesMax) bytes")
        }
        guard !subject.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
            throw KeyProblem("a subject can't have control characters")
        }
        guard grant.timeToLive > .zero else { throw KeyProblem("a token must be valid for some time") }
        guard grant.models?.count ?? 0 <= TokenClaims.modelsMax else {
            throw KeyProblem("a token may name \(TokenClaims.modelsMax) models")
        }
        guard grant.requestsPerWindow ?? 1 > 0 else { throw KeyProblem("a number of requests must be positive") }
    }
}
