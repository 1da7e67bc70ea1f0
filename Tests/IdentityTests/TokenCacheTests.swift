import GatewayCore
import TestSupport
import Testing

@testable import Identity

@Suite struct TokenCacheTests {
    final class Slot {}

    let now = WallTime(secondsSinceEpoch: 1_700_000_000)
    let cache = TokenCache<Slot>(capacity: 64, credentialBytesMax: 512, seed: 1)

    @discardableResult
    private func insert(_ text: String, expires: WallTime? = nil, generation: UInt64 = 0) -> TokenCache<Slot>.Entry {
        cache.insert(
            Array(text.utf8).span, principal: Principal(kind: .token, id: text, expires: expires), attachment: Slot(),
            now: now, generation: generation)
    }

    private func second(_ second: Int64) -> WallTime { WallTime(secondsSinceEpoch: 1_700_000_000 + second) }

    private func lookup(_ text: String, now: WallTime? = nil, generation: UInt64 = 0) -> TokenCache<Slot>.Entry? {
        cache.lookup(Array(text.utf8).span, now: now ?? self.now, generation: generation)
    }

    @Test func `a credential that was inserted is found with its principal and what was attached`() throws {
        let entry = insert("Bearer abc")
        let found = try #require(lookup("Bearer abc"))
        #expect(found.principal === entry.principal)
        #expect(found.attachment === entry.attachment)
        #expect(cache.count == 1)
    }

    @Test func `a note is kept with each entry, and a new attachment stays there`() throws {
        func note(_ entry: TokenCache<Slot>.Entry) -> String {
            entry.withNote { bytes in
                var note: [UInt8] = []
                for place in bytes.indices { note.append(bytes[place]) }
                return String(decoding: note, as: UTF8.self)
            }
        }
        let principal = Principal(kind: .token, id: "a", models: ["m"])
        for text in ["short", String(repeating: "long", count: 100)] {
            let token = Array(text.utf8)
            cache.insert(
                token.span, principal: principal, attachment: Slot(), note: Array("note of \(text)".utf8).span,
                now: now, generation: 0)
            let found = try #require(lookup(text))
            #expect(note(found) == "note of \(text)")
            #expect(!found.mayUseAllModels)
            let other = Slot()
            found.attachment = other
            #expect(lookup(text)?.attachment === other)
            #expect(lookup(text)?.withAttachment { $0 === other } == true)
        }
        insert("without")
        #expect(lookup("without").map(note) == "")
        #expect(lookup("without")?.mayUseAllModels == true)
        let nobody = TokenCache<Slot>.Entry(principal, attachment: Slot(), note: Array("nobody".utf8).span)
        #expect(note(nobody) == "nobody")
    }

    @Test func `any other bytes are not found: shorter, longer, another case, one bit away`() {
        let text = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
        insert(text)
        #expect(lookup(String(text.dropLast())) == nil)
        #expect(lookup(text + "A") == nil)
        #expect(lookup(text.lowercased()) == nil)
        #expect(lookup("") == nil)
        let bytes = Array(text.utf8)
        for index in bytes.indices {
            for bit in 0..<8 {
                var changed = bytes
                changed[index] ^= 1 << bit
                #expect(cache.lookup(changed, now: now, generation: 0) == nil)
            }
        }
        #expect(lookup(text) != nil)
    }

    @Test func `tokens with the same beginning and the same end are told apart`() throws {
        let prefix = String(repeating: "p", count: 200)
        for middle in 0..<32 { insert("\(prefix)\(middle % 10)\(middle / 10)\(prefix)") }
        for middle in 0..<32 {
            let text = "\(prefix)\(middle % 10)\(middle / 10)\(prefix)"
            if let found = lookup(text) { #expect(found.principal.id == text) }
        }
        let unknown = "\(prefix)99\(prefix)"
        #expect(lookup(unknown) == nil)
    }

    /// Sixteen bytes are folded by a product; where its second factor is 0, the first eight don't matter.
    @Test func `two values with the same hash are told apart`() throws {
        let credentials = VerifiedCredentials(capacity: 8, bytesMax: 100, seed: 77)
        let zero = (0..<8).map { UInt8(truncatingIfNeeded: credentials.otherSeed >> ($0 * 8)) }
        let rest = [UInt8](repeating: 1, count: 16)
        let one = Array("aaaaaaaa".utf8) + zero + rest
        let other = Array("bbbbbbbb".utf8) + zero + rest
        #expect(credentials.hash(of: one.span) == credentials.hash(of: other.span))
        func insert(_ bytes: [UInt8], _ id: String) {
            let principal = Principal(kind: .token, id: id)
            let made = VerifiedCredential.make(
                bytes.span, note: .init(), principal: principal, attachment: Slot(), generation: 0)
            credentials.insert(made, for: bytes.span, now: now)
        }
        func found(_ bytes: [UInt8]) -> String? {
            credentials.lookup(bytes.span, now: now, generation: 0)?.header.principal.id
        }
        insert(one, "one")
        #expect(found(other) == nil)
        insert(other, "other")
        #expect(found(one) == "one")
        #expect(found(other) == "other")
        #expect(credentials.count == 2)
    }

    @Test func `an entry is gone from the moment its credential expires`() {
        insert("a", expires: WallTime(secondsSinceEpoch: 1_700_000_010))
        #expect(lookup("a", now: WallTime(nanosecondsSinceEpoch: 1_700_000_009_999_999_999)) != nil)
        #expect(lookup("a", now: WallTime(secondsSinceEpoch: 1_700_000_010)) == nil)
        #expect(cache.count == 0)
        #expect(lookup("a") == nil)
    }

    @Test func `a new generation voids every older entry, and an entry of an older one is never found`() {
        insert("a")
        insert("b", generation: 1)
        #expect(lookup("a", generation: 1) == nil)
        #expect(lookup("b", generation: 1) != nil)
        #expect(lookup("a", generation: 0) == nil)
        #expect(cache.count == 1)
        insert("late", generation: 0)
        #expect(lookup("late", generation: 1) == nil)
    }

    @Test func `the same credential again replaces its entry`() {
        insert("a")
        let second = insert("a", generation: 3)
        #expect(cache.count == 1)
        #expect(lookup("a", generation: 3)?.principal === second.principal)
    }

    @Test func `what is empty or longer than the limit is not kept, but the entry is usable`() {
        let long = String(repeating: "x", count: 513)
        #expect(insert(long).principal.id == long)
        #expect(lookup(long) == nil)
        insert("")
        #expect(lookup("") == nil)
        #expect(cache.count == 0)
        let longest = String(repeating: "x", count: 512)
        insert(longest)
        #expect(lookup(longest) != nil)
    }

    @Test(arguments: [0, 1, 5, 64, 1_000, 4_000]) func `it never holds more than its capacity, and a flood fills it`(
        capacity: Int
    ) {
        let cache = TokenCache<Slot>(capacity: capacity, credentialBytesMax: 100, seed: 3)
        let principal = Principal(kind: .token, id: "")
        for number in 0..<10_000 {
            cache.insert(
                Array("token \(number)".utf8).span, principal: principal, attachment: Slot(), now: now, generation: 0)
            #expect(cache.count <= capacity)
        }
        #expect(cache.count == capacity)
    }

    @Test func `with capacity to spare, hardly any of many callers is forgotten, whatever their number`() {
        let principal = Principal(kind: .token, id: "")
        let cache = TokenCache<Slot>(capacity: 1_000_000, credentialBytesMax: 100, seed: 5)
        let atFirst = cache.slotCount
        #expect(atFirst <= 4_096)
        for number in 0..<30_000 {
            let bytes = Array("token \(number)".utf8)
            cache.insert(bytes.span, principal: principal, attachment: Slot(), now: now, generation: 0)
            #expect(cache.lookup(bytes.span, now: now, generation: 0) != nil)
            #expect(cache.slotCount <= max(atFirst, cache.count * 3 + 16))
            if [2_000, 4_500, 9_000, 20_000, 29_999].contains(number) {
                #expect(Double(cache.count) > Double(number) * 0.99)
                let found = (0...number).count {
                    cache.lookup(Array("token \($0)".utf8).span, now: now, generation: 0) != nil
                }
                #expect(found == cache.count)
            }
        }
    }

    @Test func `callers whose tokens are renewed all the time take memory for those that are good`() {
        let cache = TokenCache<Slot>(capacity: 1_000_000, credentialBytesMax: 100, seed: 7)
        // A hundred new ones each second, good for a hundred seconds: 10,000 at a time.
        var highest = 0
        for number in 0..<200_000 {
            let now = Int64(number / 100)
            cache.insert(
                Array("token \(number)".utf8).span,
                principal: Principal(kind: .token, id: "", expires: second(now + 100)), attachment: Slot(),
                now: second(now), generation: 0)
            highest = max(highest, cache.count)
        }
        #expect(highest <= 11_000)
        #expect(cache.slotCount <= 11_000 * 3)
    }

    @Test func `credentials of an older generation make room before the table grows`() {
        let cache = TokenCache<Slot>(capacity: 1_000_000, credentialBytesMax: 100, seed: 9)
        let principal = Principal(kind: .token, id: "")
        for number in 0..<200_000 {
            cache.insert(
                Array("token \(number)".utf8).span, principal: principal, attachment: Slot(), now: now,
                generation: UInt64(number / 10_000))
        }
        #expect(cache.slotCount <= 20_000 * 3)
    }

    @Test func `a credential in use outlives many that are seen once`() {
        insert("busy")
        for number in 0..<2_000 {
            insert("once \(number)")
            #expect(lookup("busy") != nil, "after \(number)")
        }
    }

    @Test func `evicted and forgotten entries are released`() {
        weak var slot: Slot?
        do {
            let attachment = Slot()
            slot = attachment
            cache.insert(
                Array("a".utf8).span, principal: Principal(kind: .token, id: "a"), attachment: attachment, now: now,
                generation: 0)
        }
        #expect(slot != nil)
        cache.removeAll()
        #expect(slot == nil)
        #expect(cache.count == 0)
    }

    /// The model forgets nothing; the cache may forget, but must never answer otherwise than the model.
    @Test func `whatever happens, a hit is what a dictionary would have said`() {
        var generator = SplitMix64(seed: 11)
        for capacity in [8, 32, 256, 3_000] {
            let cache = TokenCache<Slot>(capacity: capacity, credentialBytesMax: 300, seed: generator.next())
            var model: [[UInt8]: (principal: Principal, generation: UInt64)] = [:]
            var generation: UInt64 = 0
            var now = self.now
            var hits = 0
            let tokens = (0..<capacity * 2).map { number in
                Array("Bearer \(number)".utf8)
                    + (0..<Int(generator.next() % 280)).map { _ in UInt8(ascii: "a") + UInt8(generator.next() % 2) }
            }
            for _ in 0..<20_000 {
                let token = tokens[Int(generator.next() % UInt64(tokens.count))]
                switch generator.next() % 200 {
                case 0: if generator.next() % UInt64(capacity) < 8 { generation += 1 }
                case 1...60:
                    let expires = WallTime(
                        nanosecondsSinceEpoch: now.nanosecondsSinceEpoch + Int64(generator.next() % 5_000))
                    let principal = Principal(kind: .token, id: "", expires: expires)
                    cache.insert(
                        token.span, principal: principal, attachment: Slot(), now: now, generation: generation)
                    model[token] = (principal, generation)
                default:
                    guard let found = cache.lookup(token.span, now: now, generation: generation) else { break }
                    hits += 1
                    let expected = model[token]
                    #expect(found.principal === expected?.principal)
                    #expect(expected?.generation == generation)
                    #expect(found.principal.expires.map { now < $0 } == true)
                }
                now.nanosecondsSinceEpoch += Int64(generator.next() % 3)
                #expect(cache.count <= cache.capacity)
            }
            #expect(hits > 1_000)
        }
    }
}
