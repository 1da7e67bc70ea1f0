import GatewayCore
import Testing

@testable import Identity

@Suite struct APIKeyTests {
    @Test func `a new key has the form of one, and its hash is that of the whole text`() throws {
        let key = try APIKey.generate()
        #expect(key.text.hasPrefix("sk-weir-"))
        #expect(key.text.utf8.count == APIKey.textBytes)
        #expect(APIKey.isWellFormed(key.text))
        #expect(key.digest == SHA256Digest(hashing: key.text))
        #expect(key.id.hasPrefix("key_"))
        #expect(key.id.utf8.count == 16)
        #expect(key.id.dropFirst(4).allSatisfy { "0123456789abcdefghjkmnpqrstvwxyz".contains($0) })
    }

    @Test func `no two keys are alike, and a rotated one keeps its id`() throws {
        let keys = try (0..<200).map { _ in try APIKey.generate() }
        #expect(Set(keys.map(\.text)).count == 200)
        #expect(Set(keys.map(\.id)).count == 200)
        // 43 characters of 200 keys: every letter of the alphabet must turn up.
        #expect(Set(keys.flatMap { $0.text.dropFirst(8) }).count == 64)
        let rotated = try APIKey(id: keys[0].id)
        #expect(rotated.id == keys[0].id)
        #expect(rotated.digest != keys[0].digest)
    }

    @Test func `anything else is not well formed`() throws {
        let text = try APIKey.generate().text
        let wrong = [
            "", "sk-weir-", String(text.dropLast()), text + "A", text.uppercased(), "sk-other" + text.dropFirst(8),
            String(text.dropLast()) + "=", "sk-weir-" + String(repeating: "!", count: 43), " " + text.dropLast(),
        ]
        for text in wrong { #expect(!APIKey.isWellFormed(text), "\(text)") }
    }

    @Test func `a record gives its principal until it ends`() throws {
        var record = APIKeyRecord(
            id: "key_1", name: "one", digest: SHA256Digest(hashing: "x"), models: ["small"], requestsPerWindow: 5,
            created: WallTime(secondsSinceEpoch: 10), expires: WallTime(secondsSinceEpoch: 100))
        let principal = try record.principal(now: WallTime(secondsSinceEpoch: 99))
        #expect(principal.kind == .apiKey)
        #expect(principal.id == "key_1")
        #expect(principal.models == ["small"])
        #expect(principal.requestsPerWindow == 5)
        #expect(principal.expires == WallTime(secondsSinceEpoch: 100))
        #expect(throws: TokenProblem.expired) { try record.principal(now: WallTime(secondsSinceEpoch: 100)) }
        record.revoked = WallTime(secondsSinceEpoch: 50)
        #expect(try record.principal(now: WallTime(secondsSinceEpoch: 49)).expires == WallTime(secondsSinceEpoch: 50))
        #expect(throws: TokenProblem.revoked) { try record.principal(now: WallTime(secondsSinceEpoch: 50)) }
        #expect(throws: TokenProblem.revoked) { try record.principal(now: WallTime(secondsSinceEpoch: 200)) }
    }
}
