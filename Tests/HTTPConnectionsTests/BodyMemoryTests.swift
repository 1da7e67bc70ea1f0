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
        let held = Atomic(0)
        let most = Atomic(0)
        await withTaskGroup { group in
            for loop in 1...4 {
                group.addTask {
                    for round in 0..<20_000 {
                        let bytes = 100 + (round * loop) % 300
                        guard memory.reserve(bytes) else { continue }
                        let now = held.wrappingAdd(bytes, ordering: .sequentiallyConsistent).newValue
                        most.max(now, ordering: .sequentiallyConsistent)
                        held.wrappingSubtract(bytes, ordering: .sequentiallyConsistent)
                        memory.release(bytes)
                    }
                }
            }
        }
        #expect(most.load(ordering: .relaxed) <= 1_000 && most.load(ordering: .relaxed) > 0)
        #expect(memory.usedBytes == 0)
    }
}
