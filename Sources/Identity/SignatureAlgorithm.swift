/// The signature algorithms that a key may have, by their names in JOSE.
///
/// `none` is not among them. A token that names another algorithm than its key has is refused: the key decides.
///
/// - Source: RFC 7518 §3.1, RFC 8037 §3.1.
package enum SignatureAlgorithm: String, Sendable, CaseIterable {
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

    enum Family: Equatable {
        case hmac
        case rsa
        case rsaPSS
        case ecdsa(Curve)
        case edwards
    }

    /// The curve of an ECDSA algorithm: each algorithm has exactly one.
    enum Curve: String {
        case p256 = "P-256"
        case p384 = "P-384"
        case p521 = "P-521"

        /// Bytes of r and s in a signature, and of x and y in a key.
        var coordinateBytes: Int {
            switch self {
            case .p256: 32
            case .p384: 48
            case .p521: 66
            }
        }

        /// OpenSSL's name of the group.
        var group: String {
            switch self {
            case .p256: "prime256v1"
            case .p384: "secp384r1"
            case .p521: "secp521r1"
            }
        }
    }

    var family: Family {
        switch self {
        case .hs256, .hs384, .hs512: .hmac
        case .rs256, .rs384, .rs512: .rsa
        case .ps256, .ps384, .ps512: .rsaPSS
        case .es256: .ecdsa(.p256)
        case .es384: .ecdsa(.p384)
        case .es512: .ecdsa(.p521)
        case .edDSA: .edwards
        }
    }

    /// Bytes of the hash; also the shortest secret that an HMAC key may have (RFC 7518 §3.2).
    var hashBytes: Int {
        switch self {
        case .hs256, .rs256, .ps256, .es256: 32
        case .hs384, .rs384, .ps384, .es384: 48
        case .hs512, .rs512, .ps512, .es512, .edDSA: 64
        }
    }
}
