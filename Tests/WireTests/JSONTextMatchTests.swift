import Testing
import Wire

@Suite struct JSONTextMatchTests {
    private func common(_ left: String, _ right: String) -> [Int]? {
        let (left, right) = (Array(left.utf8), Array(right.utf8))
        return JSONText.common(left.span, right.span).map { [$0.left, $0.right] }
    }

    @Test func `two texts are compared by what they mean, up to where the first one ends`() {
        #expect(common("abc", "abcd") == [3, 3])
        #expect(common("abcd", "abc") == [3, 3])
        #expect(common("", "abc") == [0, 0])
        #expect(common(#"\u00fc and"#, "ü") == [6, 2])
        #expect(common(#"\ud83c\udf0d!"#, "🌍!?") == [13, 5])
        #expect(common(#"\n\/"#, #"\u000a/"#) == [4, 7])
        #expect(common("abc", "abd") == nil)
        #expect(common("ü", #"\u00fd"#) == nil)
    }

    @Test func `however a text is split and escaped, its pieces match it to the end`() {
        let text = #"Gr\u00fc\u00dfe 🌍 \"q\"\\ 日本"#
        let pieces = ["Gr", "ü", #"\u00df"#, "e 🌍", #" \"q\""#, #"\\ \u65e5"#, "本 and more"]
        let raw = Array(text.utf8)
        var at = 0
        for piece in pieces.dropLast() {
            let bytes = Array(piece.utf8)
            guard let common = JSONText.common(raw.span.extracting(at..<raw.count), bytes.span) else {
                Issue.record("\(piece) differs")
                return
            }
            #expect(common.right == bytes.count)
            at += common.left
        }
        let last = Array("本 and more".utf8)
        let common = JSONText.common(raw.span.extracting(at..<raw.count), last.span)
        #expect(common?.right == 3 && at + (common?.left ?? 0) == raw.count)
    }

    @Test func `a text tells an answer that begins anew if it is long and does not repeat itself`() {
        func isTelling(_ text: String) -> Bool {
            let bytes = Array(text.utf8)
            return JSONText.isTelling(bytes.span)
        }
        #expect(isTelling("The quick brown fox jumps over the lazy dog"))
        #expect(!isTelling("The quick brown fox"))
        #expect(!isTelling("lorem ipsum dolor lorem ipsum dolor "))
        #expect(!isTelling(String(repeating: "0", count: 300)))
        #expect(isTelling("lorem ipsum dolor sit amet lorem ipsum"))
    }

    @Test func `ids are read from any array of integers, and nothing of any other`() {
        func read(_ text: String, max: Int = 100) -> ContiguousArray<Int32>? {
            let bytes = Array(text.utf8)
            var ids: ContiguousArray<Int32> = [7]
            let count = TokenIDs.append(bytes.span, to: &ids, max: max)
            #expect(ids.count == 1 + (count ?? 0))
            return count.map { _ in ContiguousArray(ids.dropFirst()) }
        }
        #expect(read("[1,22, 333 ]") == [1, 22, 333])
        #expect(read("[]") == [])
        #expect(read("[2147483647]") == [2_147_483_647])
        #expect(read("[2147483648]") == nil)
        for text in ["[-1]", "[1.5]", "[1,null]", "[[1],\"2\"]"] { #expect(read(text) == nil) }
        #expect(read("[1,2,3]", max: 4) == [1, 2, 3])
        #expect(read("[1,2,3]", max: 3) == nil)
        #expect(String(decoding: TokenIDs.json([1, 22, 333] as ContiguousArray), as: UTF8.self) == "[1,22,333]")
    }
}
