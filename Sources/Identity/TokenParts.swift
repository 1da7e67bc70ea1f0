import GatewayCore
import Wire

/// A token in the compact form, cut and decoded, before anything about it is believed.
///
/// - Source: RFC 7515 §5.2 and §7.1.
/// - Cost: one allocation, for the decoded bytes.
struct TokenParts: ~Copyable {
    private var decoded: ByteWriter
    /// How much of the token is signed: the header and the claims with the dot between them.
    let signedCount: Int
    private let headerEnd: Int
    private let claimsEnd: Int

    /// - Throws: `.malformed` unless `token` is three parts of strict base64url, none of them empty but the claims.
    init(_ token: Span<UInt8>) throws(TokenProblem) {
        var dots = (first: -1, second: -1)
        for index in token.indices where token[index] == UInt8(ascii: ".") {
            if dots.first < 0 {
                dots.first = index
            } else if dots.second < 0 {
                dots.second = index
            } else {
                throw .malformed
            }
        }
        guard dots.first > 0, dots.second > 0, dots.second + 1 < token.count else { throw .malformed }
        var bytes = ByteWriter(capacity: token.count + 9)
        guard Base64URL.decode(token.extracting(0..<dots.first), appendingTo: &bytes) else { throw .malformed }
        let headerEnd = bytes.count
        guard Base64URL.decode(token.extracting(dots.first + 1..<dots.second), appendingTo: &bytes) else {
            throw .malformed
        }
        let claimsEnd = bytes.count
        guard Base64URL.decode(token.extracting(dots.second + 1..<token.count), appendingTo: &bytes) else {
            throw .malformed
        }
        self.headerEnd = headerEnd
        self.claimsEnd = claimsEnd
        signedCount = dots.second
        decoded = bytes
    }

    /// JSON, as the token claims.
    var header: Span<UInt8> {
        @_lifetime(borrow self) borrowing get { decoded.bytes.extracting(0..<headerEnd) }
    }
    /// JSON, as the token claims.
    var claims: Span<UInt8> {
        @_lifetime(borrow self) borrowing get { decoded.bytes.extracting(headerEnd..<claimsEnd) }
    }
    var signature: Span<UInt8> {
        @_lifetime(borrow self) borrowing get { decoded.bytes.extracting(claimsEnd..<decoded.count) }
    }
}
