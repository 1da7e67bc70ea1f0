import GatewayCore

/// The `identity` section: who may ask.
package struct IdentitySettings: Equatable, Sendable {
    /// Whether a request without a credential is refused. Default true.
    package var required = true
    /// API keys of this file; keys in Redis come on top. Default none; at most 10000.
    package var apiKeys: [APIKeySettings] = []
    /// Issuers of JSON Web Tokens. Default none; at most 64.
    package var jwt: [JWTIssuerSettings] = []
    /// Verified tokens that each loop remembers at most. Default 1000000; 0 (none) to 10000000.
    package var tokenCacheEntries = 1_000_000

    package init() {}
}

/// One of `identity.apiKeys`. The key itself is never here, only its digest.
package struct APIKeySettings: Equatable, Sendable {
    /// What limits, sessions and the log know the key by; survives rotation. Required, unique.
    package var id = ""
    /// For people. Default empty.
    package var name = ""
    /// SHA-256 of the whole key, prefix `sk-weir-` included. Required.
    package var sha256 = SHA256Digest.unset
    /// Models that may be used; `nil` means all. Default all.
    package var models: [String]?
    /// Requests per window for this key; `nil` means `rateLimit.requests`.
    package var requests: Int?

    package init() {}
}

/// One of `identity.jwt`.
package struct JWTIssuerSettings: Equatable, Sendable {
    /// Compared with `iss` byte by byte. Required, unique.
    package var issuer = ""
    /// A token must name at least one of them in `aud`. At least one, at most 64.
    package var audiences: [String] = []
    /// Added to `exp` and taken from `nbf`, for clocks that disagree. Default 0s; 0s to 5m.
    package var leeway = Interval.zero
    /// Keys that this issuer signs with. At least one, at most 64.
    package var keys: [JWTKeySettings] = []

    package init() {}
}

/// One of `identity.jwt[].keys`.
package struct JWTKeySettings: Equatable, Sendable {
    package enum Algorithm: String, CaseIterable, Sendable {
        case hs256 = "HS256"
        case hs384 = "HS384"
        case hs512 = "HS512"
        case rs256 = "RS256"
        case rs384 = "RS384"
        case rs512 = "RS512"
        case ps256 = "PS256"
        case ps384 = "PS384"
        case ps512 = "PS512"
        case es256 = "ES256"
        case es384 = "ES384"
        case es512 = "ES512"
        case edDSA = "EdDSA"
    }

    /// Compared with the token's `kid`; `nil`: any token of this issuer that names none may use it.
    package var kid: String?
    /// The only algorithm accepted with this key. Required, except with `jwksFile`, whose keys name their own.
    package var algorithm: Algorithm?
    /// File, environment variable or text of an HS key; exactly one of the five sources is given.
    package var secretFile: String?
    package var secretEnv: String?
    /// The HS key's bytes, wherever they came from (filled in when settings are loaded).
    package var secret: Secret?
    /// PEM public key.
    package var publicKeyFile: String?
    /// JWK set (RFC 7517).
    package var jwksFile: String?

    package init() {}
}
