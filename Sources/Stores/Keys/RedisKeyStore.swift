import GatewayCore
import Reactor
import RedisClient

/// API keys in Redis, shared by all gateways: made and revoked by one, seen by the others within their next look.
///
/// - Isolation: the loop of its connection.
/// - Cost: a write is one round trip; a look for changes is one, with only what changed; loading all is one for every
///   ``pageSize`` keys.
package final class RedisKeyStore {
    package let redis: RedisConnection
    private let loop: EventLoop
    /// What every Redis key begins with.
    private let prefix: String
    private let timeout: Interval

    /// Keys in one reply.
    package static let pageSize = 500

    package init(on redis: RedisConnection, prefix: String, timeout: Interval) {
        self.redis = redis
        self.prefix = prefix
        self.timeout = timeout
        loop = redis.loop
    }

    /// - Throws: `.alreadyExists` when there is a key with this id, `.unavailable`.
    package func create(_ key: StoredKey) async throws(KeyStoreProblem) { try await put(key, mode: "create") }

    /// Writes a key anew, as rotation needs it. - Throws: `.notFound`, `.unavailable`.
    package func replace(_ key: StoredKey) async throws(KeyStoreProblem) { try await put(key, mode: "replace") }

    /// Ends a key from `when` on; the first revocation counts. - Throws: `.notFound`, `.unavailable`.
    package func revoke(id: String, at when: WallTime) async throws(KeyStoreProblem) {
        var call = RedisScriptCall(KeyScripts.revoke, keys: [stateKey, orderKey, recordPrefix + id])
        call.append(id)
        call.append(String(when.nanosecondsSinceEpoch))
        if try await run(call).text == "missing" { throw .notFound }
    }

    /// All keys, revoked ones too, and the version to ask for changes from.
    ///
    /// Consistent enough: a key that changes meanwhile comes again with the next ``changes(since:)``.
    /// - Throws: `.unavailable`. A record that can't be read is left out: its key is unknown then.
    package func loadAll() async throws(KeyStoreProblem) -> (keys: [StoredKey], version: KeyVersion) {
        var all: [StoredKey] = []
        var version = KeyVersion.none
        var restarts = 0
        // Ends: each page begins behind the last one's version, and a page that is not full is the last.
        while true {
            guard let page = try await page(after: version) else {
                // Replaced while we read: from the front again, but not for ever.
                restarts += 1
                guard restarts < 3 else { throw .unavailable("changing") }
                all = []
                version = .none
                continue
            }
            all.append(contentsOf: page.keys)
            version = page.version
            if page.isLast { return (Self.latest(all), version) }
        }
    }

    /// What changed since a version that ``loadAll()`` or this returned.
    ///
    /// - Throws: `.unavailable`.
    package func changes(since version: KeyVersion) async throws(KeyStoreProblem) -> KeyChanges {
        var changed: [StoredKey] = []
        var reached = version
        // Ends as in `loadAll`.
        while true {
            guard let page = try await page(after: reached) else { return .startOver }
            changed.append(contentsOf: page.keys)
            reached = page.version
            if page.isLast { return .changed(Self.latest(changed), reached) }
        }
    }

    // MARK: Steps

    private struct Page {
        var keys: [StoredKey]
        var version: KeyVersion
        var isLast: Bool
    }

    /// - Returns: nil when Redis holds another data set.
    private func page(after version: KeyVersion) async throws(KeyStoreProblem) -> Page? {
        var call = RedisScriptCall(KeyScripts.page, keys: [stateKey, orderKey])
        call.append(version.epoch)
        call.append(Int(version.number))
        call.append(Self.pageSize)
        call.append(recordPrefix)
        for name in StoredKey.fieldNames { call.append(name) }
        let reply = try await run(call)
        if reply.text == "startOver" { return nil }
        guard let parts = reply.elements, parts.count == 4, let epoch = parts[0].text, let number = parts[1].integer,
            let last = parts[2].integer, let listed = parts[3].elements
        else { throw .unavailable(RedisError.malformedReply.label) }
        let isLast = listed.count < Self.pageSize
        let keys = listed.compactMap { entry -> StoredKey? in
            guard let pair = entry.elements, pair.count == 2, let id = pair[0].text, let fields = pair[1].elements
            else { return nil }
            return StoredKey(id: id, fieldTexts: fields.map(\.text))
        }
        return Page(keys: keys, version: KeyVersion(epoch: epoch, number: isLast ? number : last), isLast: isLast)
    }

    /// The last of those with the same id, where one changed between two pages.
    private static func latest(_ keys: [StoredKey]) -> [StoredKey] {
        var places: [String: Int] = [:]
        var latest: [StoredKey] = []
        for key in keys {
            if let place = places[key.id] {
                latest[place] = key
            } else {
                places[key.id] = latest.count
                latest.append(key)
            }
        }
        return latest
    }

    private func put(_ key: StoredKey, mode: String) async throws(KeyStoreProblem) {
        var call = RedisScriptCall(KeyScripts.put, keys: [stateKey, orderKey, recordPrefix + key.id])
        call.append(key.id)
        call.append(mode)
        call.append(SessionID.random().text)
        for (name, value) in zip(StoredKey.fieldNames, key.fieldValues) {
            guard let value else { continue }
            call.append(name)
            call.append(value)
        }
        switch try await run(call).text {
        case "exists": throw .alreadyExists
        case "missing": throw .notFound
        default: return
        }
    }

    private func run(_ call: RedisScriptCall) async throws(KeyStoreProblem) -> RedisReply {
        do throws(RedisError) {
            return try await redis.run(call, deadline: loop.now + timeout)
        } catch {
            throw .unavailable(error.label)
        }
    }

    /// One hash tag for all: they are read and written together.
    private var stateKey: String { "\(prefix):k:{keys}:state" }
    private var orderKey: String { "\(prefix):k:{keys}:order" }
    private var recordPrefix: String { "\(prefix):k:{keys}:record:" }
}
