import GatewayCore
import Wire

/// What a token's header says, as far as it may say anything.
///
/// `jku`, `jwk`, `x5u` and `x5c` are passed over like any unknown member: a token doesn't bring its own key.
///
/// - Source: RFC 7515 §4.
struct TokenHeader {
    private(set) var algorithm = JSONString.empty
    private(set) var keyID: JSONString?
    private var isCritical = false

    /// - Throws: `.malformed` for anything but an object of distinct members with an `alg`, it and any `kid` strings;
    ///   `.criticalHeader` for a `crit`, because we know no extension.
    init(_ json: Span<UInt8>) throws(TokenProblem) {
        do throws(JSONProblem) {
            try read(json)
        } catch {
            throw .malformed
        }
        if isCritical { throw .criticalHeader }
        if algorithm.isEmpty { throw .malformed }
    }

    private mutating func read(_ json: Span<UInt8>) throws(JSONProblem) {
        var scanner = JSONScanner(json)
        var names = MemberNames()
        try scanner.openObject()
        while let name = try names.next(&scanner, in: json) {
            if name.equals("alg", in: json) {
                algorithm = try scanner.string()
            } else if name.equals("kid", in: json) {
                keyID = try scanner.string()
            } else {
                if name.equals("crit", in: json) { isCritical = true }
                try scanner.skip()
            }
        }
        try scanner.finish()
    }
}

extension [VerificationKey] {
    /// The one key that a token with this header may have been signed with.
    ///
    /// A key with the token's `kid` comes first; if there is none, keys without an id count. A token without `kid` may
    /// mean any. Whichever way, exactly one of them may have the token's `alg`.
    /// - Throws: `.unsupportedAlgorithm` if `alg` is not ours, or no key that is meant has it; `.unknownKey` if no key
    ///   is meant, or several fit.
    func key(for header: TokenHeader, in json: Span<UInt8>) throws(TokenProblem) -> VerificationKey {
        let byName = header.keyID.map { id in contains { $0.hasID(id, in: json) } } ?? false
        var fitting: VerificationKey?
        var isAnyMeant = false
        for key in self {
            if let id = header.keyID {
                guard byName ? key.hasID(id, in: json) : key.id == nil else { continue }
            }
            isAnyMeant = true
            guard header.algorithm.equals(key.algorithmName, in: json) else { continue }
            guard fitting == nil else { throw .unknownKey }
            fitting = key
        }
        if let fitting { return fitting }
        guard SignatureAlgorithm(rawValue: header.algorithm.text(in: json)) != nil else { throw .unsupportedAlgorithm }
        throw isAnyMeant ? .unsupportedAlgorithm : .unknownKey
    }
}
