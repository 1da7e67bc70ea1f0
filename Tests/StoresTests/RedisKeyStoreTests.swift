import GatewayCore
import Reactor
import RedisClient
import Stores
import Testing
import TestSupport

@Suite struct RedisKeyStoreTests {
    private static func key(_ id: String, models: [String]? = nil) -> StoredKey {
        StoredKey(
            id: id, name: "key of \(id)", digestHex: String(repeating: "ab", count: 32), models: models,
            created: WallTime(secondsSinceEpoch: 1_700_000_000))
    }

    private static func withStore(
        _ body: @escaping @Sendable (RedisKeyStore, StoreRig) async throws -> Void
    ) async throws {
        let prefix = SessionID.random().text
        try await StoreRig.run { rig in
            try await body(RedisKeyStore(on: rig.redis, prefix: prefix, timeout: .seconds(10)), rig)
        }
    }

    private static func problem(_ body: () async throws -> Void) async -> KeyStoreProblem? {
        do {
            try await body()
            return nil
        } catch {
            return error as? KeyStoreProblem
        }
    }

    @Test func `a key comes back as it was made, with every field and with none of the optional ones`() async throws {
        try await Self.withStore { store, _ in
            let plain = Self.key("key_plain")
            var full = Self.key("key_full", models: ["gpt-x", "a b'\"\r*"])
            full.name = "Zoë \"quotes\"\r\n$5"
            full.requestsPerWindow = 7
            full.expires = WallTime(nanosecondsSinceEpoch: 1_800_000_000_123_456_789)
            let none = Self.key("key_none", models: [])
            for key in [plain, full, none] { try await store.create(key) }
            let loaded = try await store.loadAll()
            #expect(loaded.keys == [plain, full, none])
            #expect(loaded.version.number == 3)
        }
    }

    @Test func `no key is an empty store, not a failure`() async throws {
        try await Self.withStore { store, _ in
            let loaded = try await store.loadAll()
            #expect(loaded.keys.isEmpty)
            #expect(loaded.version == .none)
            try await #expect(store.changes(since: loaded.version) == .changed([], .none))
        }
    }

    @Test func `an id is given once, and only what exists can be replaced or revoked`() async throws {
        try await Self.withStore { store, _ in
            try await store.create(Self.key("key_1"))
            await #expect(Self.problem { try await store.create(Self.key("key_1")) } == .alreadyExists)
            await #expect(Self.problem { try await store.replace(Self.key("key_2")) } == .notFound)
            let when = WallTime(secondsSinceEpoch: 5)
            await #expect(Self.problem { try await store.revoke(id: "key_2", at: when) } == .notFound)
            try await #expect(store.loadAll().keys == [Self.key("key_1")])
        }
    }

    @Test func `others see what changed since they looked, and only that`() async throws {
        try await Self.withStore { store, _ in
            for number in 0..<5 { try await store.create(Self.key("key_\(number)")) }
            let start = try await store.loadAll().version
            try await #expect(store.changes(since: start) == .changed([], start))
            let when = WallTime(secondsSinceEpoch: 1_700_000_100)
            try await store.revoke(id: "key_3", at: when)
            try await store.revoke(id: "key_3", at: WallTime(secondsSinceEpoch: 1_700_000_200))
            var rotated = Self.key("key_1", models: ["m"])
            rotated.digestHex = String(repeating: "cd", count: 32)
            try await store.replace(rotated)
            guard case .changed(let changed, let version) = try await store.changes(since: start) else {
                Issue.record("started over")
                return
            }
            var revoked = Self.key("key_3")
            revoked.revoked = when
            #expect(changed == [revoked, rotated])
            #expect(version.number == start.number + 2)
            try await #expect(store.changes(since: version) == .changed([], version))
        }
    }

    @Test func `more keys than fit into a page are all loaded, once each`() async throws {
        try await Self.withStore { store, _ in
            let count = RedisKeyStore.pageSize * 2 + 17
            for number in 0..<count { try await store.create(Self.key("key_\(number)")) }
            let loaded = try await store.loadAll()
            let inOrder = loaded.keys.map(\.id) == (0..<count).map { "key_\($0)" }
            #expect(inOrder)
            #expect(loaded.version.number == Int64(count))
            guard case .changed(let all, let version) = try await store.changes(since: .none) else {
                Issue.record("started over")
                return
            }
            #expect(all.count == count)
            #expect(version == loaded.version)
        }
    }

    @Test func `a Redis that lost its data is noticed, also when new keys were made since`() async throws {
        let prefix = SessionID.random().text
        try await StoreRig.run { rig in
            let store = RedisKeyStore(on: rig.redis, prefix: prefix, timeout: .seconds(10))
            try await store.create(Self.key("key_1"))
            let version = try await store.loadAll().version
            let names = try await rig.command(RedisCommand("KEYS", prefix + ":k:{keys}:*")).elements ?? []
            #expect(names.count == 3)
            for name in names {
                var delete = RedisCommand("DEL")
                delete.append(name.bytes ?? [])
                _ = try await rig.command(delete)
            }
            try await #expect(store.changes(since: version) == .startOver)
            for number in 2..<5 { try await store.create(Self.key("key_\(number)")) }
            try await #expect(store.changes(since: version) == .startOver)
            try await #expect(store.loadAll().keys.map(\.id) == ["key_2", "key_3", "key_4"])
        }
    }

    @Test func `a record whose limit or end can't be read is left out, not taken for one without`() {
        var texts: [String?] = ["name", "ab", nil, "7", "1", "2", "3"]
        #expect(StoredKey(id: "k", fieldTexts: texts)?.requestsPerWindow == 7)
        for (place, bad) in [(3, "many"), (4, ""), (5, "soon"), (6, "x")] {
            let good = texts[place]
            texts[place] = bad
            #expect(StoredKey(id: "k", fieldTexts: texts) == nil)
            texts[place] = good
        }
        for missing in [0, 1, 4] {
            var without = texts
            without[missing] = nil
            #expect(StoredKey(id: "k", fieldTexts: without) == nil)
        }
    }

    @Test func `the watcher loads all keys, then tells what changes, and survives a restart of Redis`() async throws {
        let server = try RedisServer()
        try await StoreRig.run(on: server) { rig in
            let store = RedisKeyStore(on: rig.redis, prefix: "w", timeout: .seconds(10))
            try await store.create(Self.key("key_1"))
            let parking = Parking(on: rig.loop)
            defer { parking.close() }
            var news: [String] = []
            let watcher = KeyWatcher(store, interval: .milliseconds(5)) { what in
                switch what {
                case .loaded(let keys): news.append("loaded " + keys.map(\.id).joined(separator: " "))
                case .changed(let keys): news.append("changed " + keys.map(\.id).joined(separator: " "))
                }
                parking.wake()
            }
            let patient = rig.loop.now + .seconds(60)
            func wait(for count: Int) async {
                while news.count < count, rig.loop.now < patient { _ = await parking.park(until: patient) }
            }
            #expect(!watcher.hasLoaded)
            watcher.start()
            await wait(for: 1)
            #expect(watcher.hasLoaded)
            try await store.create(Self.key("key_2"))
            await wait(for: 2)
            server.kill()
            try server.start()
            _ = await rig.redis.waitUntilConnected(deadline: patient)
            await wait(for: 3)
            #expect(news == ["loaded key_1", "changed key_2", "loaded "])
            watcher.stop()
        }
    }
}
