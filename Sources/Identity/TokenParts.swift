import GatewayCore
import Glibc
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
        let dot = UInt8(ascii: ".")
        guard let first = token.firstIndex(of: dot, from: 0), first > 0,
            let second = token.firstIndex(of: dot, from: first + 1), second + 1 < token.count,
            token.firstIndex(of: dot, from: second + 1) == nil
        else { throw .malformed }
        var bytes = ByteWriter(capacity: token.count + 9)
        guard Base64URL.decode(token.extracting(0..<first), appendingTo: &bytes) else { throw .malformed }
        let headerEnd = bytes.count
        guard Base64URL.decode(token.extracting(first + 1..<second), appendingTo: &bytes) else { throw .malformed }
        let claimsEnd = bytes.count
        guard Base64URL.decode(token.extracting(droppingFirst: second + 1), appendingTo: &bytes) else {
            throw .malformed
        }
        self.headerEnd = headerEnd
        self.claimsEnd = claimsEnd
        signedCount = second
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

extension Span<UInt8> {
    /// Where `byte` is next, from `start` on; `nil` if nowhere. - Precondition: `start` is at most `count`.
    func firstIndex(of byte: UInt8, from start: Int) -> Int? {
        precondition(start >= 0 && start <= count)
        return withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, let found = memchr(base + start, Int32(byte), bytes.count - start)
            else { return nil }
            return UnsafeRawPointer(found) - base
        }
    }
}
