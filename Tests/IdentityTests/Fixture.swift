import GatewayCore
import Glibc
import Testing
import Wire

@testable import Identity

/// Files under `Tests/Fixtures/jws`.
enum Fixture {
    static func json(_ name: String, file: String = #filePath) throws -> JSONValue {
        let tests = file.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
        let stream = try #require(fopen("\(tests)/Fixtures/jws/\(name)", "r"))
        defer { fclose(stream) }
        var text: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&chunk, 1, chunk.count, stream)
            if count == 0 { break }
            text += chunk[..<count]
        }
        return try JSONValue.read(text.span)
    }
}

extension JSONValue {
    /// The text of a value, to be read again as a key set.
    var text: String {
        var writer = ByteWriter()
        writer.append(json: self)
        return writer.bytes.text
    }
}

/// Tokens of any content, signed with HS256 (or what is asked for) by a secret that the tests share.
struct Forge {
    static let secret = Array("an example secret of forty-eight bytes, at least".utf8)

    var algorithm = SignatureAlgorithm.hs256
    var header = #"{"alg":"HS256","kid":"one"}"#

    func token(_ claims: String) -> String {
        let signed = "\(Base64URL.encode(Array(header.utf8))).\(Base64URL.encode(Array(claims.utf8)))"
        let key = HMACKey(secret: Self.secret, algorithm: algorithm)
        return "\(signed).\(Base64URL.encode(key.signature(of: Array(signed.utf8))))"
    }
}

// Swift Testing's macros can't take a span: the same calls, with arrays and strings.

extension TokenVerifier {
    func verify(_ token: String, now: WallTime) throws(TokenProblem) -> Principal {
        try verify(Array(token.utf8).span, now: now)
    }
}

extension Authenticator {
    func authenticate(_ value: [UInt8], now: WallTime) throws(GatewayError) -> Principal {
        try authenticate(value.span, now: now)
    }
}

extension APIKey {
    static func isWellFormed(_ text: String) -> Bool { isWellFormed(Array(text.utf8).span) }
}

extension HMACKey {
    func signature(of message: [UInt8]) -> [UInt8] {
        let signature = signature(of: message.span)
        return (0..<signatureBytes).map { signature[$0] }
    }

    func verify(_ message: [UInt8], signature: [UInt8]) -> Bool { verify(message.span, signature: signature.span) }
}

extension TokenCache {
    func lookup(_ token: [UInt8], now: WallTime, generation: UInt64) -> Entry? {
        lookup(token.span, now: now, generation: generation)
    }
}

extension SHA256Digest {
    init?(_ bytes: [UInt8]) { self.init(bytes: bytes.span) }
}

extension Base64URL {
    static func encode(_ bytes: [UInt8]) -> String { encode(bytes.span) }
}

/// The reason for which `body` refuses; `nil` when it doesn't.
func problem(_ body: () throws(TokenProblem) -> Void) -> TokenProblem? {
    do throws(TokenProblem) {
        try body()
        return nil
    } catch {
        return error
    }
}

/// Checks the signature of a compact token as the verifier does, whatever its payload is; returns the payload.
func verifiedPayload(of token: String, with keys: [VerificationKey]) throws(TokenProblem) -> [UInt8] {
    let bytes = Array(token.utf8)
    let parts = try TokenParts(bytes.span)
    let header = try TokenHeader(parts.header)
    let key = try keys.key(for: header, in: parts.header)
    guard key.verify(bytes.span.extracting(first: parts.signedCount), signature: parts.signature) else {
        throw .badSignature
    }
    return parts.claims.withUnsafeBytes { Array($0) }
}
