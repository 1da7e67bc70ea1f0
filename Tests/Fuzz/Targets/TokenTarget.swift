import COpenSSL
import GatewayCore
import Identity
import Wire

private let secret = Array("fuzzing needs a secret of 32 bytes or more".utf8)
private let now = WallTime(secondsSinceEpoch: 1_700_000_000)
private let leeway: Int64 = 30

/// A token is believed only if header and claims say, by the reader of trees, all that they must. The input is a token,
/// and if it has a line end also the header and the claims of one that is signed here, so that the fuzzer gets past the
/// signature.
func checkToken(_ bytes: [UInt8]) throws(BrokenProperty) {
    let verifier: TokenVerifier
    do throws(KeyProblem) {
        verifier = try TokenVerifier(
            issuers: [
                TrustedIssuer(
                    name: "fuzz", issuer: "https://issuer", audiences: ["weir", "other"],
                    keys: [VerificationKey(id: "k1", algorithm: .hs256, secret: secret)],
                    leeway: .seconds(leeway))
            ], tokenBytesMax: 8_192)
    } catch {
        throw BrokenProperty(description: "the verifier is refused: \(error)")
    }
    if let principal = try? verifier.verify(bytes.span, now: now) {
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        try hold(parts.count == 3, "accepted with \(parts.count) parts")
        let signed = Array(parts[0] + [UInt8(ascii: ".")] + parts[1])
        try hold(Array(parts[2]) == base64URL(signature(of: signed)), "accepted with another signature")
        try hold(principal.id.hasPrefix("fuzz/"), "a principal of nobody's: \(principal.id)")
    }
    _ = verifier.issuerOfUnknownKey(in: bytes.span)

    guard let end = bytes.firstIndex(of: 10) else { return }
    let header = Array(bytes[..<end])
    let claims = Array(bytes[(end + 1)...])
    let signed = base64URL(header) + [UInt8(ascii: ".")] + base64URL(claims)
    let token = signed + [UInt8(ascii: ".")] + base64URL(signature(of: signed))
    guard let principal = try? verifier.verify(token.span, now: now) else { return }
    try checkBelieved(header, claims, principal)
}

private func checkBelieved(_ header: [UInt8], _ claims: [UInt8], _ principal: Principal) throws(BrokenProperty) {
    guard let head = try? JSONValue.read(header.span, refusingDuplicates: true),
        let body = try? JSONValue.read(claims.span, refusingDuplicates: true)
    else { throw BrokenProperty(description: "believed, although a tree is refused") }
    try hold(head["alg"] == .string("HS256"), "believed with another algorithm")
    try hold(head["crit"] == nil, "believed with an extension that we don't know")
    try hold(head["kid"] == nil || head["kid"] == .string("k1"), "believed with another key's id")
    try hold(body["iss"] == .string("https://issuer"), "believed of another issuer")
    let audiences = body["aud"]?.array ?? body["aud"].map { [$0] } ?? []
    try hold(audiences.contains(.string("weir")) || audiences.contains(.string("other")), "meant for somebody else")
    guard let subject = body["sub"]?.string, let expires = body["exp"]?.double else {
        throw BrokenProperty(description: "believed without a subject or an end")
    }
    try hold(principal.id == "fuzz/\(subject)", "the subject is \(subject), the principal \(principal.id)")
    try hold(!subject.isEmpty && subject.utf8.count <= 255, "a subject of \(subject.utf8.count) bytes")
    try hold(expires + Double(leeway) + 1 > Double(now.secondsSinceEpoch), "believed after its end")
    if let start = body["nbf"]?.double {
        try hold(start - Double(leeway) - 1 < Double(now.secondsSinceEpoch), "believed before its time")
    }
    let models = body["weir_models"]?.array.map { Set($0.compactMap(\.string)) }
    try hold(body["weir_models"] == nil || models == principal.models, "other models: \(principal.models ?? [])")
}

/// Source: RFC 4648 §5, without padding.
private func base64URL(_ bytes: [UInt8]) -> [UInt8] {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    var text: [UInt8] = []
    var bits = 0
    var count = 0
    for byte in bytes {
        bits = bits << 8 | Int(byte)
        count += 8
        while count >= 6 {
            count -= 6
            text.append(digits[bits >> count & 63])
        }
        bits &= 0xFFFF
    }
    if count > 0 { text.append(digits[bits << (6 - count) & 63]) }
    return text
}

/// Source: RFC 2104, with SHA-256, from the definition.
private func signature(of message: [UInt8]) -> [UInt8] {
    let key = secret + Array(repeating: 0, count: 64 - secret.count)
    return sha256(key.map { $0 ^ 0x5C } + sha256(key.map { $0 ^ 0x36 } + message))
}

private func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    var context = SHA256_CTX()
    weir_sha256_init(&context)
    weir_sha256_update(&context, bytes, bytes.count)
    weir_sha256_final(&context, &digest)
    return digest
}
