import GatewayConfig
import GatewayCore
import Identity
import Pipeline
import Reactor
import RedisClient
import Stores
import Synchronization

/// API keys in Redis: written through the first loop's connection, followed there for changes of other gateways.
///
/// - Isolation: the first loop; ``isConnected`` may be asked from any thread.
final class StoredKeys {
    /// How soon a change by another gateway is seen.
    private static let lookInterval = Interval.seconds(1)

    private let keys: KeyDirectory
    private let store: RedisKeyStore
    private let watcher: KeyWatcher

    init(_ redis: RedisConnection, prefix: String, timeout: Interval, keys: KeyDirectory) {
        self.keys = keys
        store = RedisKeyStore(on: redis, prefix: prefix, timeout: timeout)
        watcher = KeyWatcher(store, interval: Self.lookInterval) { news in
            switch news {
            case .loaded(let all): keys.replaceAll(all.compactMap(\.record))
            case .changed(let some):
                for record in some.compactMap(\.record) {
                    keys.insert(record)
                    if let revoked = record.revoked { _ = keys.revoke(id: record.id, at: revoked) }
                }
            }
        }
        watcher.start()
    }

    var isConnected: Bool { store.redis.isConnected }

    /// - Throws: `.alreadyExists`, `.unavailable`.
    func create(_ record: APIKeyRecord) async throws(KeyStoreProblem) {
        try await store.create(StoredKey(record))
        keys.insert(record)
    }

    /// - Throws: `.notFound`, `.unavailable`.
    func revoke(_ id: String, at time: WallTime) async throws(KeyStoreProblem) {
        try await store.revoke(id: id, at: time)
        _ = keys.revoke(id: id, at: time)
    }

    func stop() {
        watcher.stop()
    }
}

extension StoredKey {
    init(_ record: APIKeyRecord) {
        self.init(
            id: record.id, name: record.name, digestHex: record.digest.hex,
            models: record.models.map { $0.sorted() }, requestsPerWindow: record.requestsPerWindow,
            created: record.created, expires: record.expires, revoked: record.revoked)
    }

    /// Nil when the digest is not one: a record that somebody else wrote.
    fileprivate var record: APIKeyRecord? {
        guard let digest = Identity.SHA256Digest(hex: digestHex) else { return nil }
        return APIKeyRecord(
            id: id, name: name, digest: digest, models: models.map(Set.init), requestsPerWindow: requestsPerWindow,
            created: created, expires: expires, revoked: revoked)
    }
}

/// Redis as one loop sees it.
struct LoopRedis {
    let connection: RedisConnection
    let sessions: RedisSessionStore

    init(_ loop: EventLoop, _ settings: GatewaySettings, addresses: [SocketAddress], queue: TurnQueue) {
        let redis = settings.redis ?? RedisSettings()
        var plain = RedisConnectionSettings(
            addresses: addresses, database: redis.database, connectTimeout: redis.connectTimeout)
        plain.username = redis.username
        plain.password = redis.password.map { String(decoding: $0.bytes, as: UTF8.self) }
        connection = RedisConnection(on: loop, plain)
        connection.start()
        let rules = SessionRules(
            prefix: settings.sessions.prefix, ttl: settings.sessions.ttl,
            historyBytesMax: settings.sessions.historyBytesMax, turnsMax: settings.sessions.turnsMax,
            commandTimeout: redis.timeout)
        sessions = RedisSessionStore(on: connection, rules: rules, queue: queue)
    }

    /// Blocks while a name is looked up.
    static func addresses(_ settings: GatewaySettings) throws -> [SocketAddress] {
        guard let redis = settings.redis else { return [] }
        switch redis.address {
        case .unix(let path): return [.unix(path)]
        case .tcp(let address): return try SocketAddress.resolve(host: address.host, port: address.port)
        }
    }
}
