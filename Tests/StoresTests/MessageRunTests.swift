import Stores
import Testing
import TestSupport

@Suite struct MessageRunTests {
    private func print(_ message: String) -> MessageFingerprint { MessageFingerprint(of: Array(message.utf8).span) }

    @Test func `the same message spelled differently has the same fingerprint`() {
        let plain = print(#"{"role":"assistant","content":"Grüße, \"du\""}"#)
        let spellings = [
            #"{ "content" : "Gr\u00fc\u00dfe, \u0022du\"" , "role" : "assistant" }"#,
            #"{"role":"assistant","content":"Grüße, \"du\"","refusal":null,"tool_calls":null,"audio":null}"#,
            #"{"role":"assistant","content":"Grüße, \"du\"","tool_calls":[],"id":"msg_1"}"#,
        ]
        for spelling in spellings { #expect(print(spelling) == plain, "\(spelling)") }
    }

    @Test func `what a message says decides its fingerprint`() {
        let different = [
            #"{"role":"user","content":"a"}"#, #"{"role":"assistant","content":"a"}"#,
            #"{"role":"user","content":"b"}"#,
            #"{"role":"user","content":"a "}"#, #"{"role":"user","content":["a"]}"#, #"{"role":"user","content":1}"#,
            #"{"role":"user","content":"a","name":"x"}"#, #"{"role":"a","content":"user"}"#, #"{"role":"user"}"#,
            #"{"role":"user","content":[{"type":"text","text":"a"}]}"#,
            #"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"a"}]}"#,
            #"{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]}"#,
            #"{"role":"assistant","tool_calls":[{"id":"2","function":{"name":"f","arguments":"{}"}}]}"#,
            #"{"role":"tool","tool_call_id":"1","content":"a"}"#, "no JSON", "no JSON ", "",
        ]
        #expect(Set(different.map(print)).count == different.count)
    }

    @Test func `members have no order, elements have`() {
        let one = print(#"{"role":"user","content":[{"type":"text","text":"a"},{"b":[1,2],"c":{"d":true,"e":null}}]}"#)
        #expect(one == print(#"{"content":[{"text":"a","type":"text"},{"c":{"d":true},"b":[1,2]}],"role":"user"}"#))
        #expect(one != print(#"{"content":[{"text":"a","type":"text"},{"c":{"d":true},"b":[2,1]}],"role":"user"}"#))
        #expect(one != print(#"{"content":[{"c":{"d":true},"b":[1,2]},{"text":"a","type":"text"}],"role":"user"}"#))
    }

    @Test func `fingerprints are stored in Redis, so they must stay as they are`() {
        #expect(print(#"{"role":"user","content":"hello"}"#).value == Self.pinned.0)
        let longer = #"{"role":"assistant","content":"a longer text than one word","tool_calls":[{"n":1}]}"#
        #expect(print(longer).value == Self.pinned.1)
    }
    static let pinned: (UInt64, UInt64) = (16_404_828_902_114_083_806, 12_806_314_594_346_466_527)

    @Test func `random contents never collide, and random cuts of one text neither`() {
        var generator = SplitMix64(seed: 77)
        var seen: Set<MessageFingerprint> = []
        var text = ""
        for _ in 0..<2_000 {
            text += ["a", "b", "\\n", "é"].randomElement(using: &generator) ?? "a"
            seen.insert(print(#"{"role":"user","content":"\#(text)"}"#))
        }
        #expect(seen.count == 2_000)
    }

    @Test func `messages are joined as they were sent, and any part of them can be had`() {
        let messages = [#"{"role":"system","content":"s"}"#, #"{ "role":"user" }"#, "{}"]
        let run = StoreRig.run(of: messages)
        #expect(String(decoding: run.json, as: UTF8.self) == messages.joined(separator: ","))
        for start in 0...3 {
            for end in start...3 {
                let part = String(decoding: run.json(start..<end), as: UTF8.self)
                #expect(part == messages[start..<end].joined(separator: ","))
            }
        }
        #expect(run.leadingSystemCount == 1)
    }

    @Test func `only system and developer messages at the front count as leading`() {
        func leading(_ roles: [String]) -> Int {
            StoreRig.run(of: roles.map { #"{"content":"x","role":"\#($0)"}"# }).leadingSystemCount
        }
        #expect(leading([]) == 0)
        #expect(leading(["user", "system"]) == 0)
        #expect(leading(["system", "developer", "user", "system"]) == 2)
        #expect(leading([#"sys\u0074em"#]) == 1)
    }

    @Test func `the digest tells runs apart by content, order and cuts`() {
        let digests = [[], ["a"], ["b"], ["a", "b"], ["b", "a"], ["a", "a"], ["ab"]].map {
            StoreRig.run(of: $0.map { StoreRig.user($0) }).digest
        }
        #expect(Set(digests).count == digests.count)
        #expect(digests.allSatisfy { $0.count == 16 })
    }

    // MARK: What is known already

    private func known(_ sent: [String], in history: [String], systems: Int = 0, trimmed: Bool = false) -> (Int, Bool) {
        let stored = StoreRig.run(of: history.map { StoreRig.user($0) }).fingerprints
        let result = StoreRig.run(of: sent.map { StoreRig.user($0) })
            .known(in: stored, historySystemCount: systems, isTrimmed: trimmed)
        return (result.count, result.isWholeHistory)
    }

    @Test func `a client that sends only new messages repeats nothing`() {
        #expect(known(["c"], in: ["a", "b"]) == (0, false))
        #expect(known([], in: ["a"]) == (0, false))
        #expect(known(["a"], in: []) == (0, false))
    }

    @Test func `a client that sends the whole history repeats it`() {
        #expect(known(["a", "b", "c"], in: ["a", "b"]) == (2, true))
        #expect(known(["a", "b"], in: ["a", "b"]) == (2, true))
    }

    @Test func `a part of the history is no repetition, except the system's messages`() {
        #expect(known(["a", "c"], in: ["a", "b"]) == (0, false))
        #expect(known(["b"], in: ["a", "b"]) == (0, false))
        #expect(known(["s", "c"], in: ["s", "a", "b"], systems: 1) == (1, false))
        #expect(known(["t", "c"], in: ["s", "a", "b"], systems: 1) == (0, false))
    }

    @Test func `a client that has more than we kept is recognised by the end of its history`() {
        #expect(known(["s", "1", "2", "3", "4", "n"], in: ["s", "3", "4"], systems: 1, trimmed: true) == (5, true))
        #expect(known(["1", "2", "3", "4", "n"], in: ["3", "4"], trimmed: true) == (4, true))
        #expect(known(["1", "2", "n"], in: ["3", "4"], trimmed: true) == (0, false))
        #expect(known(["3", "4", "1", "3", "4", "n"], in: ["3", "4"], trimmed: true).1)
        #expect(known(["1", "2", "3", "4", "n"], in: ["3", "4"], trimmed: false) == (0, false))
    }
}
