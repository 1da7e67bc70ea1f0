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
///     return cache.insert(value, principal: principal, attachment: slot(of: principal), generation: generation)
///
/// - Cost of a hit: see docs/identity.md (about 40 ns for a token of 250 bytes); no allocation, no string.
/// - Bound: `capacity` entries; each keeps the bytes of its credential (at most `credentialBytesMax`) and about 170 bytes
///   besides, plus its `Principal`.
/// - Isolation: one loop. Not `Sendable`.
package final class TokenCache<Attachment: AnyObject> {
    /// What a verified credential leads to: who is asking, and what the loop keeps for them.
    package final class Entry {
        package let principal: Principal
        /// The limiter's slot, found once and then reached without looking.
        package let attachment: Attachment
        fileprivate let expires: WallTime
        fileprivate let generation: UInt64

        fileprivate init(principal: Principal, attachment: Attachment, generation: UInt64) {
            self.principal = principal
            self.attachment = attachment
            self.generation = generation
            expires = principal.expires ?? WallTime(nanosecondsSinceEpoch: .max)
        }
    }

    private var index: TokenIndex
    /// By slot of the index.
    private var entries: [Entry?]
    private let credentialBytesMax: Int

    /// - Parameter capacity: entries, rounded up to a power of two; the table is allocated at once.
    /// - Parameter credentialBytesMax: longer ones are not kept; they are verified each time.
    /// - Parameter seed: makes the places of entries unpredictable; only tests name one.
    package init(capacity: Int, credentialBytesMax: Int, seed: UInt64 = .random(in: .min ... .max)) {
        index = TokenIndex(capacity: capacity, seed: seed)
        entries = Array(repeating: nil, count: index.capacity)
        self.credentialBytesMax = credentialBytesMax
    }

    package var count: Int { index.count }
    package var capacity: Int { index.capacity }

    /// The entry of exactly these bytes, if it has not expired and no key was taken away since it was made.
    ///
    /// - Parameter generation: ``Authenticator/generation`` as it is now.
    package func lookup(_ token: Span<UInt8>, now: WallTime, generation: UInt64) -> Entry? {
        guard let slot = index.find(token), let entry = entries[slot] else { return nil }
        guard entry.generation == generation, now < entry.expires else {
            entries[slot] = nil
            index.clear(slot)
            return nil
        }
        return entry
    }

    /// Remembers a credential that was verified. When its set is full, one not used lately makes room.
    ///
    /// - Parameter generation: as it was read *before* the credential was verified; read later, it could hide that a
    ///   key was revoked in between.
    @discardableResult
    package func insert(
        _ token: Span<UInt8>, principal: Principal, attachment: Attachment, generation: UInt64
    ) -> Entry {
        let entry = Entry(principal: principal, attachment: attachment, generation: generation)
        if !token.isEmpty, token.count <= credentialBytesMax { entries[index.place(token)] = entry }
        return entry
    }

    package func removeAll() {
        for slot in entries.indices where entries[slot] != nil {
            entries[slot] = nil
            index.clear(slot)
        }
    }
}
