import TestSupport
import Testing

@testable import Limiting

@Suite struct OlderSpendingTests {
    @Test func `it holds what an array would hold, few or many`() {
        var generator = SplitMix64(seed: 5)
        for _ in 0..<200 {
            var older = OlderSpending()
            var expected: [UInt32] = []
            for _ in 0..<60 {
                if generator.next() % 3 == 0, !expected.isEmpty {
                    let gone = Int(generator.next() % UInt64(expected.count + 1))
                    older.removeFirst(gone)
                    expected.removeFirst(gone)
                } else {
                    let spent = UInt32(truncatingIfNeeded: generator.next())
                    older.append(spent)
                    expected.append(spent)
                }
                if !expected.isEmpty {
                    let place = Int(generator.next() % UInt64(expected.count))
                    older[place] -= older[place] / 2
                    expected[place] -= expected[place] / 2
                }
                #expect(older.count == expected.count && older.isEmpty == expected.isEmpty)
                #expect((0..<older.count).map { older[$0] } == expected)
            }
        }
    }

    @Test func `four numbers take no memory of their own, and a window with them fits two lines of the cache`() {
        #expect(MemoryLayout<OlderSpending>.size <= 28)
        #expect(MemoryLayout<SlidingWindow>.size <= 88)
    }
}
