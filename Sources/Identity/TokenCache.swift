import GatewayCore
import Wire

/// Credentials that were verified lately, so that a repeated one costs a table access instead of a signature.
///
/// Keyed by all bytes of the value that the client sent, API key or token. A hit still checks the expiry, and an entry
/// of an older generation of keys is forgotten; a refused credential is never remembered.
///
///     let generation = authenticator.generation
///     if let entry = cache.lookup(value, now: now, generation: generation) { return entry }
///     let principal = try authenticator.authenticate(value, now: now)
///     return cache.insert(
///         value, principal: principal, attachment: slot(of: principal), now: now, generation: generation)
///
/// - Cost of a hit: about 60 ns for a token of 250 bytes; no allocation, no string.
/// - Bound: `capacity` entries, and memory for about as many as are good, not for what has expired since: each keeps
///   the bytes of its credential (at most `credentialBytesMax`), about 140 bytes besides, and its `Principal`.
/// - Isolation: one loop. Not `Sendable`.
package final class TokenCache<Attachment: AnyObject> {
    /// What a verified credential leads to: who is asking, and what the loop keeps for them.
    package struct Entry {
        fileprivate let verified: VerifiedCredential

        package var principal: Principal { verified.header.principal }
        /// The limiter's slot, found once and then reached without looking.
        package var attachment: Attachment {
            // Only `insert` makes entries, and it takes nothing but an `Attachment`.
            unsafeDowncast(verified.header.attachment, to: Attachment.self)
        }
    }

    private let credentials: VerifiedCredentials

    /// - Parameter capacity: entries at most; 0 remembers nothing. The table grows up to it.
    /// - Parameter credentialBytesMax: longer ones are not kept; they are verified each time.
    /// - Parameter seed: makes the places of entries unpredictable; only tests name one.
    package init(capacity: Int, credentialBytesMax: Int, seed: UInt64 = .random(in: .min ... .max)) {
        credentials = VerifiedCredentials(capacity: capacity, bytesMax: credentialBytesMax, seed: seed)
    }

    package var count: Int { credentials.count }
    package var capacity: Int { credentials.capacity }
    /// Entries that the table has grown for.
    package var slotCount: Int { credentials.slotCount }

    /// The entry of exactly these bytes, if it has not expired and no key was taken away since it was made.
    ///
    /// - Parameter generation: ``Authenticator/generation`` as it is now.
    package func lookup(_ token: Span<UInt8>, now: WallTime, generation: UInt64) -> Entry? {
        credentials.lookup(token, now: now, generation: generation).map { Entry(verified: $0) }
    }

    /// The same, only what the loop keeps for the caller.
    package func attachment(of token: Span<UInt8>, now: WallTime, generation: UInt64) -> Attachment? {
        guard let slot = credentials.find(token, now: now, generation: generation) else { return nil }
        // Only `insert` makes entries, and it takes nothing but an `Attachment`.
        return credentials.attachment(at: slot).map { unsafeDowncast($0, to: Attachment.self) }
    }

    /// Remembers a credential that was verified. What has expired makes room, else one not used lately.
    ///
    /// - Parameter generation: as it was read *before* the credential was verified; read later, it could hide that a
    ///   key was revoked in between.
    @discardableResult
    package func insert(
        _ token: Span<UInt8>, principal: Principal, attachment: Attachment, now: WallTime, generation: UInt64
    ) -> Entry {
        Entry(
            verified: credentials.insert(
                token, principal: principal, attachment: attachment, now: now, generation: generation))
    }

    package func removeAll() { credentials.removeAll() }
}
