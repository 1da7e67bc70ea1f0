public import GatewayCore
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
/// - Cost of a hit: about 50 ns for a token of 250 bytes; no allocation, no string. With many callers, two waits for
///   memory: for a line of the table, then for the entry, which is one block.
/// - Bound: `capacity` entries, and memory for about as many as are good, not for what has expired since: each keeps
///   the bytes of its credential (at most `credentialBytesMax`), about 100 bytes besides, and its `Principal`.
/// - Isolation: one loop. Not `Sendable`.
public final class TokenCache<Attachment: AnyObject> {
    /// What a verified credential leads to: who is asking, and what the loop keeps for them.
    public struct Entry {
        fileprivate let verified: VerifiedCredential

        package var principal: Principal { verified.header.principal }
        /// Whether the principal may use any model; known without looking into it.
        public var mayUseAllModels: Bool { verified.header.mayUseAllModels }
        /// The limiter's slot, found once and then reached without looking.
        ///
        /// Only `Entry.init` and this setter put something there, and they take nothing but an `Attachment`.
        package var attachment: Attachment {
            get { unsafeDowncast(verified.header.attachment, to: Attachment.self) }
            nonmutating set { verified.header.attachment = newValue }
        }

        /// Lends the attachment without counting a reference: the entry keeps it, unless `body` sets another one.
        public func withAttachment<Result>(_ body: (Attachment) -> Result) -> Result {
            let kept = verified.withUnsafeMutablePointerToHeader { Unmanaged.passUnretained($0.pointee.attachment) }
            return kept._withUnsafeGuaranteedRef { body(unsafeDowncast($0, to: Attachment.self)) }
        }

        fileprivate init(_ verified: VerifiedCredential) { self.verified = verified }

        /// An entry for someone who comes without a credential. No cache knows it.
        package init(_ principal: Principal, attachment: Attachment, note: Span<UInt8> = .init()) {
            verified = .make(.init(), note: note, principal: principal, attachment: attachment, generation: 0)
        }

        /// The bytes that were to be kept with the entry, in the same block.
        public func withNote<Result>(_ read: (Span<UInt8>) -> Result) -> Result { verified.withNote(read) }
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
    public func lookup(_ token: Span<UInt8>, now: WallTime, generation: UInt64) -> Entry? {
        guard let verified = credentials.lookup(token, now: now, generation: generation) else { return nil }
        return Entry(verified)
    }

    /// Remembers a credential that was verified. What has expired makes room, else one not used lately.
    ///
    /// - Parameter note: bytes for whoever finds the entry; 65,535 at most.
    /// - Parameter generation: as it was read *before* the credential was verified; read later, it could hide that a
    ///   key was revoked in between.
    @discardableResult
    package func insert(
        _ token: Span<UInt8>, principal: Principal, attachment: Attachment, note: Span<UInt8> = .init(), now: WallTime,
        generation: UInt64
    ) -> Entry {
        let made = VerifiedCredential.make(
            token, note: note, principal: principal, attachment: attachment, generation: generation)
        credentials.insert(made, for: token, now: now)
        return Entry(made)
    }

    package func removeAll() { credentials.removeAll() }
}
