import Balancing
import TestSupport
import Testing

@Suite struct ReplicaSetTests {
    @Test func `it holds four indexes, the first and the last included`() {
        var set = ReplicaSet()
        #expect(set.isEmpty && !set.contains(0))
        for index in [0, 65_534, 7, 1_000] {
            set.insert(index)
            set.insert(index)
        }
        #expect([0, 65_534, 7, 1_000].allSatisfy(set.contains))
        #expect(!set.contains(1) && !set.contains(65_533))
        set.removeAll()
        #expect(set == ReplicaSet())
    }

    @Test func `other indexes take the places of the old ones, and those that are gone leave none`() {
        var set = ReplicaSet()
        for index in [4, 0, 65_534] { set.insert(index) }
        var expected = ReplicaSet()
        for index in [0, 9] { expected.insert(index) }
        #expect(set.renumbered { [4: 0, 0: 9][$0] } == expected)
        #expect(ReplicaSet().renumbered { $0 }.isEmpty)
    }

    @Test func `it agrees with a set`() {
        var generator = SplitMix64(seed: 2)
        for _ in 0..<500 {
            var set = ReplicaSet()
            var reference = Set<Int>()
            while reference.count < 4 {
                let index = Int(generator.next() % 12)
                set.insert(index)
                reference.insert(index)
                #expect((0..<12).allSatisfy { set.contains($0) == reference.contains($0) })
            }
        }
    }
}
