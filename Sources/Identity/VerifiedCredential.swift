import GatewayCore
import Wire

/// What a ``VerifiedCredential`` knows of itself, besides its bytes.
struct CredentialFacts {
    let expires: WallTime
    let generation: UInt64
    let byteCount: UInt32
    let noteCount: UInt16
    /// Here too, because looking into the principal would be one more cache miss.
    let mayUseAllModels: Bool
    let principal: Principal
    var attachment: AnyObject
}

/// What one credential was verified to be, and behind that, in the same block, the credential as the client sent it and
/// a note of whoever inserted it: with many callers each block is a cache miss.
final class VerifiedCredential: ManagedBuffer<CredentialFacts, UInt8> {
    static func make(
        _ bytes: Span<UInt8>, note: Span<UInt8>, principal: Principal, attachment: AnyObject, generation: UInt64
    ) -> VerifiedCredential {
        let made = create(minimumCapacity: bytes.count + note.count) { _ in
            CredentialFacts(
                expires: principal.expires ?? WallTime(nanosecondsSinceEpoch: .max), generation: generation,
                byteCount: UInt32(bytes.count), noteCount: UInt16(note.count),
                mayUseAllModels: principal.models == nil, principal: principal, attachment: attachment)
        }
        made.withUnsafeMutablePointerToElements { room in
            let room = UnsafeMutableRawBufferPointer(start: room, count: bytes.count + note.count)
            bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: room[..<bytes.count]).copyBytes(from: $0) }
            note.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: room[bytes.count...]).copyBytes(from: $0) }
        }
        return unsafeDowncast(made, to: VerifiedCredential.self)
    }

    /// Not in constant time: to learn from it, one would have to hit the tag, which is of a keyed hash.
    @inline(never)  // Inlined, it counts references.
    func isFor(_ other: Span<UInt8>) -> Bool {
        guard Int(header.byteCount) == other.count else { return false }
        return withUnsafeMutablePointerToElements { bytes in
            other.equals(UnsafeBufferPointer(start: bytes, count: other.count).span)
        }
    }

    @inline(__always)
    func isGood(now: WallTime, generation: UInt64) -> Bool { header.generation == generation && now < header.expires }

    /// The attachment is looked at later in the request, most of the time only its first 144 bytes.
    @inline(__always)
    func prefetchAttachment() {
        withUnsafeMutablePointerToHeader { prefetch(address(of: $0.pointee.attachment), bytes: 144) }
    }

    /// What was kept behind the credential.
    func withNote<Result>(_ read: (Span<UInt8>) -> Result) -> Result {
        let (skipped, count) = (Int(header.byteCount), Int(header.noteCount))
        return withUnsafeMutablePointerToElements { bytes in
            read(UnsafeBufferPointer(start: bytes + skipped, count: count).span)
        }
    }

    /// The first whole second at which it has expired: `UInt32.max` if that is never or after 2106.
    var expiredFromSecond: UInt32 {
        let (seconds, rest) = header.expires.nanosecondsSinceEpoch.quotientAndRemainder(dividingBy: 1_000_000_000)
        return UInt32(clamping: seconds + (rest > 0 ? 1 : 0))
    }
}
