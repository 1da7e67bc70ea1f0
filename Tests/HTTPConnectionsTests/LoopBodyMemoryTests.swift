import TestSupport
import Testing

@testable import HTTPConnections

@Suite struct LoopBodyMemoryTests {
    @Test func `loops together never take more than the limit, and give all of it back`() {
        var generator = SplitMix64(seed: 9)
        for limit in [1_000, 64 << 20] {
            let process = BodyMemory(limitBytes: limit)
            let loops = (0..<3).map { _ in LoopBodyMemory(of: process) }
            var bodies: [(loop: Int, bytes: Int)] = []
            for _ in 0..<2_000 {
                let loop = Int(generator.next() % 3)
                let bytes = Int(generator.next() % UInt64(limit / 8)) + 1
                if generator.next() % 2 == 0, loops[loop].reserve(bytes) {
                    bodies.append((loop, bytes))
                } else if let place = bodies.indices.randomElement(using: &generator) {
                    let body = bodies.remove(at: place)
                    loops[body.loop].release(body.bytes)
                }
                let taken = bodies.reduce(0) { $0 + $1.bytes }
                #expect(taken <= process.usedBytes && process.usedBytes <= limit)
                #expect(process.usedBytes <= taken + 3 * 3 * process.stepBytes)
            }
            for body in bodies { loops[body.loop].release(body.bytes) }
            #expect(process.usedBytes == 0)
        }
    }

    @Test func `a loop that has small bodies all the time asks the process seldom`() {
        let process = BodyMemory(limitBytes: 64 << 20)
        let loop = LoopBodyMemory(of: process)
        #expect(loop.reserve(1_000))
        let held = process.usedBytes
        for _ in 0..<100 {
            #expect(loop.reserve(1_000))
            #expect(process.usedBytes == held)
            loop.release(1_000)
            #expect(process.usedBytes == held)
        }
        loop.release(1_000)
        #expect(process.usedBytes == 0)
    }

    @Test func `under a small limit nothing is held ahead`() {
        let process = BodyMemory(limitBytes: 100)
        let loop = LoopBodyMemory(of: process)
        let other = LoopBodyMemory(of: process)
        #expect(loop.reserve(60) && process.usedBytes == 60)
        #expect(!other.reserve(41) && process.usedBytes == 60)
        #expect(other.reserve(40))
        loop.release(20)
        #expect(process.usedBytes == 80)
    }
}
