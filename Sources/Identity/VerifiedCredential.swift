import GatewayCore
import Wire

/// What a ``VerifiedCredential`` knows of itself, besides its bytes.
struct CredentialFacts {
    let hash: UInt64
    let expires: WallTime
    let generation: UInt64
    let byteCount: Int
    let principal: Principal
    let attachment: AnyObject
}

/// What one credential was verified to be, and behind that, in the same block, the credential as the client sent it:
/// with many callers each block is a cache miss.
final class VerifiedCredential: ManagedBuffer<CredentialFacts, UInt8> {
    /// - Parameter hash: of the bytes, by ``VerifiedCredentials/hash(of:)``.
    static func make(
        _ bytes: Span<UInt8>, hash: UInt64, principal: Principal, attachment: AnyObject, generation: UInt64
    ) -> VerifiedCredential {
        let made = create(minimumCapacity: bytes.count) { _ in
            CredentialFacts(
                hash: hash, expires: principal.expires ?? WallTime(nanosecondsSinceEpoch: .max),
                generation: generation, byteCount: bytes.count, principal: principal, attachment: attachment)
        }
        made.withUnsafeMutablePointerToElements { room in
            bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(start: room, count: $0.count).copyBytes(from: $0) }
        }
        return unsafeDowncast(made, to: VerifiedCredential.self)
    }

    /// Not in constant time: to learn from it, one would have to hit the hash, which is keyed and of 64 bits.
    func isFor(_ other: Span<UInt8>, hash: UInt64) -> Bool {
        guard header.hash == hash, header.byteCount == other.count else { return false }
        return withUnsafeMutablePointerToElements { bytes in
            other.equals(UnsafeBufferPointer(start: bytes, count: other.count).span)
        }
    }

    func isGood(now: WallTime, generation: UInt64) -> Bool { header.generation == generation && now < header.expires }

    /// The first whole second at which it has expired: `UInt32.max` if that is never or after 2106.
    var expiredFromSecond: UInt32 {
        let (seconds, rest) = header.expires.nanosecondsSinceEpoch.quotientAndRemainder(dividingBy: 1_000_000_000)
        return UInt32(clamping: seconds + (rest > 0 ? 1 : 0))
    }
}
