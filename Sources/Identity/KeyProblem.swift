import GatewayCore

/// Why a key, a key set or an issuer can't be used: for the operator, at start, at reload or when a JWKS arrives.
package struct KeyProblem: Error, Equatable, Sendable, CustomStringConvertible {
    /// One clause without a full stop, which never contains key material.
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// Stages turn it into `GatewayError.invalidAPIKey`; inside this target it is thrown as it is.
extension TokenProblem: Error {}
