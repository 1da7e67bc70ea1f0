import GatewayCore
import Wire

/// Somebody whose tokens are accepted.
package struct TrustedIssuer: Sendable {
    /// What principals, limits and logs call it: `name/subject`. No slash, so that no two issuers can share an id.
    package var name: String
    /// What the claim `iss` must be, byte for byte.
    package var issuer: String
    /// One of these must be in the claim `aud`, byte for byte.
    package var audiences: [String]
    /// `nil` while they are still being fetched: its tokens are then answered with 503, not 401.
    package var keys: [VerificationKey]?
    /// How far its clock may differ from ours, for `exp` and `nbf`.
    package var leeway: Interval

    package init(name: String, issuer: String, audiences: [String], keys: [VerificationKey]?, leeway: Interval) {
        self.name = name
        self.issuer = issuer
        self.audiences = audiences
        self.keys = keys
        self.leeway = leeway
    }

    /// Issuers, audiences of each, and keys of each.
    static let countMax = 64

    func check() throws(KeyProblem) {
        guard !name.isEmpty, !name.contains("/") else {
            throw KeyProblem("the issuer's name `\(name)` is empty or has a slash")
        }
        guard !issuer.isEmpty else { throw KeyProblem("the issuer `\(name)` needs an `iss`") }
        guard !audiences.isEmpty, audiences.count <= Self.countMax, !audiences.contains("") else {
            throw KeyProblem("the issuer `\(name)` needs 1 to \(Self.countMax) audiences, none of them empty")
        }
        guard keys?.count ?? 0 <= Self.countMax else {
            throw KeyProblem("the issuer `\(name)` has more than \(Self.countMax) keys")
        }
    }
}

/// Verifies JSON Web Tokens against the keys of trusted issuers.
///
/// The order is: form, header, issuer, key, signature, and only then what the token claims. So `.expired` is said only
/// of a token that is good in every other respect.
///
/// - Cost: CPU only, one signature: see docs/identity.md. About seven allocations.
/// - Isolation: immutable, any thread. A changed key set makes a new verifier (``replacingKeys(of:by:)``).
/// - Source: RFC 7515, RFC 7519, RFC 8725 (best current practices).
package final class TokenVerifier: Sendable {
    /// An issuer with everything that is compared as bytes.
    private struct Issuer: Sendable {
        let settings: TrustedIssuer
        let issuer: [UInt8]
        let audiences: [[UInt8]]
        let idPrefix: [UInt8]

        init(_ settings: TrustedIssuer) {
            self.settings = settings
            issuer = Array(settings.issuer.utf8)
            audiences = settings.audiences.map { Array($0.utf8) }
            idPrefix = Array("\(settings.name)/".utf8)
        }
    }

    private let issuers: [Issuer]
    private let tokenBytesMax: Int

    /// - Parameter tokenBytesMax: a longer token is refused unread.
    /// - Throws: `KeyProblem` if an issuer is incomplete, or two share a name or an `iss`.
    package init(issuers: [TrustedIssuer], tokenBytesMax: Int) throws(KeyProblem) {
        guard issuers.count <= TrustedIssuer.countMax else {
            throw KeyProblem("there are more than \(TrustedIssuer.countMax) issuers")
        }
        for (index, issuer) in issuers.enumerated() {
            try issuer.check()
            if issuers[..<index].contains(where: { $0.name == issuer.name || $0.issuer == issuer.issuer }) {
                throw KeyProblem("there are two issuers with the name `\(issuer.name)` or its `iss`")
            }
        }
        self.issuers = issuers.map(Issuer.init)
        self.tokenBytesMax = tokenBytesMax
    }

    package var trustedIssuers: [TrustedIssuer] { issuers.map(\.settings) }

    /// The same with other keys for the issuer of that name, after its key set was fetched. Throws as `init` does.
    package func replacingKeys(of name: String, by keys: [VerificationKey]) throws(KeyProblem) -> TokenVerifier {
        let changed = trustedIssuers.map { issuer in
            var issuer = issuer
            if issuer.name == name { issuer.keys = keys }
            return issuer
        }
        return try TokenVerifier(issuers: changed, tokenBytesMax: tokenBytesMax)
    }

    /// Who comes with `token`. The id is the issuer's name, a slash and the subject; it ends when `exp` and the leeway
    /// are over.
    ///
    /// - Parameter token: the compact form, without the scheme.
    /// - Throws: why not. `.unknownKey` may mean that the issuer has a key we haven't seen:
    ///   ``issuerOfUnknownKey(in:)`` says which issuer that is.
    package func verify(_ token: Span<UInt8>, now: WallTime) throws(TokenProblem) -> Principal {
        guard token.count <= tokenBytesMax else { throw .malformed }
        let parts = try TokenParts(token)
        let header = try TokenHeader(parts.header)
        let claims = try TokenClaims(parts.claims)
        let issuer = try issuer(of: claims, in: parts.claims)
        let key = try (issuer.settings.keys ?? []).key(for: header, in: parts.header)
        guard key.verify(token.extracting(first: parts.signedCount), signature: parts.signature) else {
            throw .badSignature
        }
        try claims.checkAudience(issuer.audiences, in: parts.claims)
        var id = ByteWriter(capacity: 128)
        id.append(issuer.idPrefix)
        try claims.appendSubject(to: &id, in: parts.claims)
        let models = try claims.allowedModels(in: parts.claims)
        guard let expires = claims.expires else { throw .missingClaim }
        let leeway = issuer.settings.leeway
        if let notBefore = claims.notBefore, now.saturatingAdd(leeway) < notBefore { throw .notYetValid }
        let end = expires.saturatingAdd(leeway)
        guard now < end else { throw .expired }
        return Principal(
            kind: .token, id: id.bytes.text, models: models, requestsPerWindow: claims.requestsPerWindow, expires: end)
    }

    /// The trusted issuer that `token` names, for a token that ``verify(_:now:)`` refused with `.unknownKey`: its key
    /// set may have changed, or was never fetched. Nothing of the token is verified.
    package func issuerOfUnknownKey(in token: Span<UInt8>) -> TrustedIssuer? {
        do throws(TokenProblem) {
            let parts = try TokenParts(token)
            return try issuer(of: TokenClaims(parts.claims), in: parts.claims).settings
        } catch {
            return nil
        }
    }

    private func issuer(of claims: TokenClaims, in json: Span<UInt8>) throws(TokenProblem) -> Issuer {
        guard let name = claims.issuer else { throw .missingClaim }
        for issuer in issuers where name.equals(issuer.issuer, in: json) { return issuer }
        throw .wrongIssuer
    }
}

extension WallTime {
    /// Stops at the ends of the clock instead of trapping: a token may claim any time.
    fileprivate func saturatingAdd(_ interval: Interval) -> WallTime {
        let (sum, overflow) = nanosecondsSinceEpoch.addingReportingOverflow(interval.nanoseconds)
        guard overflow else { return WallTime(nanosecondsSinceEpoch: sum) }
        return WallTime(nanosecondsSinceEpoch: interval.nanoseconds < 0 ? .min : .max)
    }
}
