import Synchronization
import Testing

@testable import HTTPConnections

@Suite struct BodyMemoryTests {
    @Test func `what is reserved is counted, what is too much is not, and what is released may be had again`() {
        let memory = BodyMemory(limitBytes: 100)
        #expect(memory.reserve(60) && memory.reserve(40))
        #expect(!memory.reserve(1))
        #expect(memory.usedBytes == 100)
        memory.release(40)
        #expect(!memory.reserve(41))
        #expect(memory.usedBytes == 60)
        #expect(memory.reserve(40))
    }

    @Test func `loops that reserve at once never hold more than there is, and in the end nothing`() async {
        let memory = BodyMemory(limitBytes: 1_000)
        let seen = Seen()
        await withTaskGroup { group in
            for loop in 1...4 {
                group.addTask {
                    for round in 0..<20_000 {
                        let bytes = 100 + (round * loop) % 300
                        guard memory.reserve(bytes) else { continue }
                        seen.took(bytes)
                        seen.took(-bytes)
                        memory.release(bytes)
                    }
                }
            }
        }
        #expect(seen.most > 0 && seen.most <= 1_000)
        #expect(memory.usedBytes == 0)
    }
}

/// How much the tests themselves say that they hold.
private final class Seen: Sendable {
    private let held = Mutex((now: 0, most: 0))

    func took(_ bytes: Int) {
        held.withLock { held in
            held.now += bytes
            held.most = max(held.most, held.now)
        }
    }

    var most: Int { held.withLock { $0.most } }
}
