import GatewayCore
import Synchronization

/// All API keys this process knows, found by the hash of their secret.
///
/// Two layers: *configured* keys come from the configuration file, *stored* ones from Redis. While the stored layer has
/// not been read, an unknown key may still be a good one: that is 503, never 401.
///
/// - Cost: a look-up is one short lock and one table access, whatever the number of keys; about 0.5 KiB a key.
/// - Isolation: any thread. One lock; whole layers are built outside it and only swapped inside.
package final class KeyDirectory: Sendable {
    /// What is known of the stored layer.
    package enum State: String, Equatable, Sendable {
        /// Never read so far.
        case loading
        /// Complete, or there is no Redis.
        case loaded
        /// Redis is away: what was read before still counts, what is not there may exist.
        case unavailable
    }

    /// The keys of one origin. An id may have several secrets: while it is being rotated, old and new both count.
    private struct Layer {
        var records: [SHA256Digest: APIKeyRecord] = [:]
        var digests: [String: [SHA256Digest]] = [:]

        init() {}

        init(_ all: [APIKeyRecord]) {
            records.reserveCapacity(all.count)
            digests.reserveCapacity(all.count)
            for record in all { _ = insert(record) }
        }

        /// Returns the record that had the same secret.
        mutating func insert(_ record: APIKeyRecord) -> APIKeyRecord? {
            let former = records.updateValue(record, forKey: record.digest)
            if let former { forgetID(of: former) }
            digests[record.id, default: []].append(record.digest)
            return former
        }

        mutating func remove(id: String) -> Int {
            guard let gone = digests.removeValue(forKey: id) else { return 0 }
            for digest in gone { records[digest] = nil }
            return gone.count
        }

        mutating func revoke(id: String, at time: WallTime) -> Bool {
            guard let all = digests[id] else { return false }
            for digest in all {
                // The earlier revocation stays: a second one must not give time back.
                if let earlier = records[digest]?.revoked, earlier <= time { continue }
                records[digest]?.revoked = time
            }
            return true
        }

        private mutating func forgetID(of record: APIKeyRecord) {
            digests[record.id]?.removeAll { $0 == record.digest }
            if digests[record.id]?.isEmpty == true { digests[record.id] = nil }
        }
    }

    private struct Contents {
        var configured: Layer
        var stored = Layer()
        var state: State
    }

    private let contents: Mutex<Contents>
    private let changes = Atomic<UInt64>(0)

    /// - Parameter state: `.loading` if keys are stored in Redis, `.loaded` if there is none.
    package init(configured: [APIKeyRecord], state: State) {
        contents = Mutex(Contents(configured: Layer(configured), state: state))
    }

    /// Counts the changes that may take something from a caller: what was cached under an older number is void.
    ///
    /// Read it *before* a credential is checked whose result is then cached under it.
    @inline(__always)
    package var generation: UInt64 { changes.load(ordering: .acquiring) }

    package var state: State {
        get { contents.withLock { $0.state } }
        set { contents.withLock { $0.state = newValue } }
    }

    /// How many keys there are in each layer.
    package var counts: (configured: Int, stored: Int) {
        contents.withLock { ($0.configured.records.count, $0.stored.records.count) }
    }

    /// Every key, configured ones first, in no particular order otherwise. O(keys): for the admin API.
    package func records() -> [APIKeyRecord] {
        let (configured, stored) = contents.withLock { ($0.configured.records, $0.stored.records) }
        return Array(configured.values) + Array(stored.values)
    }

    /// Who comes with the key whose text has this hash. Where both layers have it, the configured one counts.
    ///
    /// - Throws: `.invalidAPIKey` with `.unknownKey`, `.revoked` or `.expired` (401); `.keysUnavailable` (503) if it is
    ///   not there but may be in Redis.
    package func principal(for digest: SHA256Digest, now: WallTime) throws(GatewayError) -> Principal {
        let (record, state) = contents.withLock {
            ($0.configured.records[digest] ?? $0.stored.records[digest], $0.state)
        }
        guard let record else { throw state == .loaded ? .invalidAPIKey(.unknownKey) : .keysUnavailable }
        do throws(TokenProblem) {
            return try record.principal(now: now)
        } catch {
            throw .invalidAPIKey(error)
        }
    }

    /// Replaces the stored layer by what Redis has now, which is then loaded. O(keys), outside the lock.
    package func replaceAll(_ records: [APIKeyRecord]) {
        let layer = Layer(records)
        let former = contents.withLock { contents in
            let former = contents.stored
            contents.stored = layer
            contents.state = .loaded
            return former
        }
        noteChange()
        // A million records take long to free: not inside the lock.
        withExtendedLifetime(former) {}
    }

    /// Replaces the configured layer, after a reload. O(keys), outside the lock.
    package func replaceConfigured(_ records: [APIKeyRecord]) {
        let layer = Layer(records)
        let former = contents.withLock { contents in
            let former = contents.configured
            contents.configured = layer
            return former
        }
        noteChange()
        withExtendedLifetime(former) {}
    }

    /// Adds a stored key, or replaces the one with the same secret. O(1).
    package func insert(_ record: APIKeyRecord) {
        let former = contents.withLock { $0.stored.insert(record) }
        // A key that is new takes nothing from anybody.
        if let former, former != record { noteChange() }
    }

    /// Ends every secret of the stored key `id` from `time` on; returns whether there was one. O(1).
    ///
    /// A configured key ends when it leaves the file.
    @discardableResult
    package func revoke(id: String, at time: WallTime) -> Bool {
        let found = contents.withLock { $0.stored.revoke(id: id, at: time) }
        if found { noteChange() }
        return found
    }

    /// Forgets every secret of the stored key `id`, after it was deleted; returns how many there were. O(1).
    @discardableResult
    package func remove(id: String) -> Int {
        let count = contents.withLock { $0.stored.remove(id: id) }
        if count > 0 { noteChange() }
        return count
    }

    /// After the change is visible, so that nobody caches what was true before it under the new number.
    private func noteChange() { changes.wrappingAdd(1, ordering: .acquiringAndReleasing) }
}
