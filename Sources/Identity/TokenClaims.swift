import GatewayCore
import Wire

/// What a token claims: read from its second part, believed once the signature is good.
///
/// - Source: RFC 7519 §4.1. Own claims: `weir_models`, `weir_requests_per_window`.
struct TokenClaims {
    private(set) var issuer: JSONString?
    private(set) var subject: JSONString?
    private(set) var expires: WallTime?
    private(set) var notBefore: WallTime?
    private(set) var requestsPerWindow: Int?
    /// Where the values lie; read when they are needed.
    private var audience: ByteRange?
    private var models: ByteRange?

    /// Bytes that a subject may have (OpenID Connect Core 1.0 §2), and models that a token may name.
    static let subjectBytesMax = 255
    static let modelsMax = 256

    /// - Throws: `.malformed` for anything but an object of distinct members, those we read being of their types, and
    ///   the numbers finite.
    init(_ json: Span<UInt8>) throws(TokenProblem) {
        do throws(JSONProblem) {
            try read(json)
        } catch {
            throw .malformed
        }
    }

    private mutating func read(_ json: Span<UInt8>) throws(JSONProblem) {
        var scanner = JSONScanner(json)
        var names = MemberNames()
        try scanner.openObject()
        while let name = try names.next(&scanner, in: json) {
            if name.equals("iss", in: json) {
                issuer = try scanner.string()
            } else if name.equals("sub", in: json) {
                subject = try scanner.string()
            } else if name.equals("aud", in: json) {
                audience = try scanner.skip()
            } else if name.equals("exp", in: json) {
                expires = try Self.time(&scanner, in: json)
            } else if name.equals("nbf", in: json) {
                notBefore = try Self.time(&scanner, in: json)
            } else if name.equals("weir_models", in: json) {
                models = try scanner.skip()
            } else if name.equals("weir_requests_per_window", in: json) {
                let number = try scanner.number()
                guard let count = number.int(in: json), count > 0 else {
                    throw JSONProblem(.invalidNumber, at: Int(number.range.start))
                }
                requestsPerWindow = count
            } else if try scanner.kind() == .number {
                _ = try Self.time(&scanner, in: json)
            } else {
                try scanner.skip()
            }
        }
        try scanner.finish()
    }

    /// A NumericDate: seconds, perhaps with a fraction. What lies beyond the clock's range is its end.
    private static func time(_ scanner: inout JSONScanner, in json: Span<UInt8>) throws(JSONProblem) -> WallTime {
        let number = try scanner.number()
        if let seconds = number.int(in: json) {
            let (nanoseconds, overflow) = Int64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
            guard overflow else { return WallTime(nanosecondsSinceEpoch: nanoseconds) }
            return WallTime(nanosecondsSinceEpoch: seconds < 0 ? .min : .max)
        }
        guard let seconds = number.double(in: json) else {
            throw JSONProblem(.numberTooLarge, at: Int(number.range.start))
        }
        if abs(seconds) < 9.2e9 { return WallTime(nanosecondsSinceEpoch: Int64(seconds * 1e9)) }
        return WallTime(nanosecondsSinceEpoch: seconds < 0 ? .min : .max)
    }

    /// Checks that `aud` is, or is an array that holds, one of `accepted`, byte for byte.
    ///
    /// - Throws: `.missingClaim`, `.wrongAudience`; `.malformed` for anything but a string or an array of strings.
    func checkAudience(_ accepted: [[UInt8]], in json: Span<UInt8>) throws(TokenProblem) {
        guard let audience else { throw .missingClaim }
        var isOurs = false
        let value = json.extracting(audience)
        try Self.forEachString(of: value, allowsOne: true) { name throws(TokenProblem) in
            if !isOurs { isOurs = accepted.contains { name.equals($0, in: value) } }
        }
        guard isOurs else { throw .wrongAudience }
    }

    /// The models of `weir_models`; `nil` if the token doesn't name any, which means all.
    func allowedModels(in json: Span<UInt8>) throws(TokenProblem) -> Set<String>? {
        guard let models else { return nil }
        var names: Set<String> = []
        let value = json.extracting(models)
        try Self.forEachString(of: value, allowsOne: false) { name throws(TokenProblem) in
            names.insert(name.text(in: value))
            guard names.count <= Self.modelsMax else { throw .malformed }
        }
        return names
    }

    /// Appends the subject. It becomes part of ids in logs and in Redis: no control characters, and a bounded length.
    func appendSubject(to id: inout ByteWriter, in json: Span<UInt8>) throws(TokenProblem) {
        guard let subject, !subject.isEmpty else { throw .missingClaim }
        let start = id.count
        if subject.hasEscapes {
            JSONText.unescape(json.extracting(subject.raw), into: &id)
        } else {
            id.append(json.extracting(subject.raw))
        }
        guard id.count - start <= Self.subjectBytesMax else { throw .malformed }
        let bytes = id.bytes
        for index in start..<bytes.count where bytes[index] < 0x20 || bytes[index] == 0x7F { throw .malformed }
    }

    /// Calls `body` for each string of an array, or for the one string that stands instead.
    private static func forEachString(
        of value: Span<UInt8>, allowsOne: Bool, _ body: (JSONString) throws(TokenProblem) -> Void
    ) throws(TokenProblem) {
        var scanner = JSONScanner(value)
        do {
            if allowsOne, try scanner.kind() == .string {
                try body(try scanner.string())
                return
            }
            try scanner.openArray()
            while try scanner.element() { try body(try scanner.string()) }
        } catch let problem as TokenProblem {
            throw problem
        } catch {
            throw .malformed
        }
    }
}
