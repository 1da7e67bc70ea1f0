import Stores
import Testing

@Suite struct SessionNamesTests {
    @Test func `ids of 1 to 128 letters, digits, dots, underscores and hyphens are taken`() {
        for text in ["a", "A.b_c-9", String(repeating: "x", count: 128)] { #expect(SessionID(text)?.text == text) }
    }

    @Test func `other ids are refused, above all those that could leave their hash tag`() {
        let long = String(repeating: "x", count: 129)
        let refused = ["", long, "a b", "a}b", "{a", "a:b", "ä", "a\0", "a\r\n", "*", "a/b"]
        for text in refused { #expect(SessionID(text) == nil, "\(text)") }
    }

    @Test func `random ids are valid, long enough, and never the same`() {
        let ids = (0..<1_000).map { _ in SessionID.random() }
        #expect(Set(ids).count == 1_000)
        #expect(ids.allSatisfy { SessionID($0.text) == $0 && $0.text.utf8.count == 37 })
        let turns = (0..<1_000).map { _ in TurnID.random() }
        #expect(Set(turns).count == 1_000)
        #expect(turns.allSatisfy { $0.text.utf8.count == 32 })
    }
}
