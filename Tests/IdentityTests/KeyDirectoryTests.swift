import GatewayCore
import TestSupport
import Testing

@testable import Identity

@Suite struct KeyDirectoryTests {
    static let now = WallTime(secondsSinceEpoch: 1_000)

    static func record(_ secret: String, id: String? = nil, models: Set<String>? = nil) -> APIKeyRecord {
        APIKeyRecord(
            id: id ?? "key_\(secret)", name: secret, digest: SHA256Digest(hashing: secret), models: models, created: now
        )
    }

    private func find(_ secret: String, in directory: KeyDirectory) throws(GatewayError) -> String {
        try directory.principal(for: SHA256Digest(hashing: secret), now: Self.now).id
    }

    @Test func `a key is found in either layer, the configured one first`() throws {
        let directory = KeyDirectory(configured: [Self.record("a", id: "configured")], state: .loading)
        directory.replaceAll([Self.record("a", id: "stored"), Self.record("b")])
        #expect(try find("a", in: directory) == "configured")
        #expect(try find("b", in: directory) == "key_b")
        #expect(directory.counts == (configured: 1, stored: 2))
        #expect(directory.records().map(\.id).sorted() == ["configured", "key_b", "stored"])
        directory.replaceConfigured([])
        #expect(try find("a", in: directory) == "stored")
    }

    @Test func `an unknown key is 401 only once all keys are loaded, and 503 before and while Redis is away`() throws {
        let directory = KeyDirectory(configured: [Self.record("a")], state: .loading)
        #expect(throws: GatewayError.keysUnavailable) { try find("b", in: directory) }
        #expect(try find("a", in: directory) == "key_a")
        directory.replaceAll([Self.record("b")])
        #expect(directory.state == .loaded)
        #expect(try find("b", in: directory) == "key_b")
        #expect(throws: GatewayError.invalidAPIKey(.unknownKey)) { try find("c", in: directory) }
        directory.state = .unavailable
        #expect(try find("b", in: directory) == "key_b")
        #expect(throws: GatewayError.keysUnavailable) { try find("c", in: directory) }
        let alone = KeyDirectory(configured: [], state: .loaded)
        #expect(throws: GatewayError.invalidAPIKey(.unknownKey)) { try find("c", in: alone) }
    }

    @Test func `a revoked key is said to be revoked, from the moment on, and a second revocation gives no time back`() {
        let directory = KeyDirectory(configured: [], state: .loaded)
        directory.replaceAll([Self.record("a")])
        #expect(directory.revoke(id: "key_a", at: Self.now))
        #expect(throws: GatewayError.invalidAPIKey(.revoked)) { try find("a", in: directory) }
        #expect(directory.revoke(id: "key_a", at: WallTime(secondsSinceEpoch: 2_000)))
        #expect(throws: GatewayError.invalidAPIKey(.revoked)) { try find("a", in: directory) }
        #expect(!directory.revoke(id: "key_other", at: Self.now))
    }

    @Test func `while a key is rotated both secrets count, and revoking the id ends both`() throws {
        let directory = KeyDirectory(configured: [], state: .loaded)
        directory.insert(Self.record("old", id: "key_1"))
        directory.insert(Self.record("new", id: "key_1"))
        #expect(try find("old", in: directory) == "key_1")
        #expect(try find("new", in: directory) == "key_1")
        directory.revoke(id: "key_1", at: Self.now)
        #expect(throws: GatewayError.invalidAPIKey(.revoked)) { try find("old", in: directory) }
        #expect(throws: GatewayError.invalidAPIKey(.revoked)) { try find("new", in: directory) }
        #expect(directory.remove(id: "key_1") == 2)
        #expect(directory.counts == (configured: 0, stored: 0))
        #expect(directory.remove(id: "key_1") == 0)
    }

    @Test func `a secret that moves to another id leaves the first one`() throws {
        let directory = KeyDirectory(configured: [], state: .loaded)
        directory.insert(Self.record("s", id: "key_1"))
        directory.insert(Self.record("s", id: "key_2"))
        #expect(try find("s", in: directory) == "key_2")
        #expect(!directory.revoke(id: "key_1", at: Self.now))
        #expect(try find("s", in: directory) == "key_2")
    }

    @Test func `the generation rises with everything that takes something away, and with nothing else`() {
        let directory = KeyDirectory(configured: [], state: .loading)
        var last = directory.generation
        func rose() -> Bool {
            defer { last = directory.generation }
            return directory.generation > last
        }
        directory.insert(Self.record("a"))
        #expect(!rose(), "a new key")
        directory.insert(Self.record("a"))
        #expect(!rose(), "the same again")
        directory.insert(Self.record("a", models: ["small"]))
        #expect(rose(), "fewer rights")
        directory.state = .unavailable
        #expect(!rose(), "a state")
        directory.revoke(id: "key_a", at: Self.now)
        #expect(rose(), "a revocation")
        directory.revoke(id: "key_none", at: Self.now)
        #expect(!rose(), "no revocation")
        directory.remove(id: "key_a")
        #expect(rose(), "a removal")
        directory.replaceAll([])
        #expect(rose(), "another stored layer")
        directory.replaceConfigured([])
        #expect(rose(), "another configured layer")
    }

    @Test func `after any changes exactly those keys are found that a plain list holds`() {
        var generator = SplitMix64(seed: 5)
        let directory = KeyDirectory(configured: [], state: .loaded)
        var list: [APIKeyRecord] = []
        for _ in 0..<3_000 {
            let secret = "s\(generator.next() % 20)"
            let id = "key_\(generator.next() % 8)"
            switch generator.next() % 4 {
            case 0, 1:
                directory.insert(Self.record(secret, id: id))
                list.removeAll { $0.name == secret }
                list.append(Self.record(secret, id: id))
            case 2:
                let expected = list.count { $0.id == id }
                #expect(directory.remove(id: id) == expected)
                list.removeAll { $0.id == id }
            default:
                let found = try? directory.principal(for: SHA256Digest(hashing: secret), now: Self.now).id
                #expect(found == list.first { $0.name == secret }?.id)
            }
            #expect(directory.counts.stored == list.count)
        }
    }
}
