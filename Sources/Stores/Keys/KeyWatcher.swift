import GatewayCore
import Reactor
import RedisClient

/// Keeps a copy of the keys current: loads all, then looks for changes at a fixed interval.
///
/// While Redis is away the last copy stands; before the first load there is none, and the owner answers 503, not 401.
/// - Isolation: one loop; one watcher a process is enough.
/// - Owns: a task that lives until ``stop()``.
package final class KeyWatcher {
    package enum News: Sendable {
        /// These are all keys.
        case loaded([StoredKey])
        /// These were made or changed.
        case changed([StoredKey])
    }

    private let store: RedisKeyStore
    private let loop: EventLoop
    private let interval: Interval
    private let parking: Parking
    private let onNews: (News) -> Void
    private var version: KeyVersion?
    private var isStopped = false

    /// - Parameter onNews: called on the loop; it must not block.
    package init(_ store: RedisKeyStore, interval: Interval, onNews: @escaping (News) -> Void) {
        self.store = store
        self.interval = interval
        self.onNews = onNews
        loop = store.redis.loop
        parking = Parking(on: loop)
    }

    /// Whether all keys were loaded once.
    package var hasLoaded: Bool { version != nil }

    /// Call once.
    package func start() { loop.spawn { await self.watch() } }

    package func stop() {
        isStopped = true
        parking.wake()
    }

    private func watch() async {
        while !isStopped {
            if await store.redis.waitUntilConnected(deadline: loop.now + interval) {
                // A failure is tried again at the next look; the connection counts it.
                try? await look()
            }
            if !isStopped { _ = await parking.park(until: loop.now + interval) }
        }
        parking.close()
    }

    private func look() async throws(KeyStoreProblem) {
        guard let version else { return try await load() }
        switch try await store.changes(since: version) {
        case .startOver: try await load()
        case .changed(let keys, let reached):
            self.version = reached
            if !keys.isEmpty { onNews(.changed(keys)) }
        }
    }

    private func load() async throws(KeyStoreProblem) {
        let (keys, reached) = try await store.loadAll()
        version = reached
        onNews(.loaded(keys))
    }
}
