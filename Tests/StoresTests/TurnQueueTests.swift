import GatewayCore
import Reactor
import Stores
import Synchronization
import Testing

@Suite struct TurnQueueTests {
    /// Who was inside, in order, and how often somebody else was inside at the same time.
    private final class Journal: Sendable {
        private let state = Mutex((order: [Int](), inside: 0, overlaps: 0))

        func enter() {
            state.withLock {
                if $0.inside > 0 { $0.overlaps += 1 }
                $0.inside += 1
            }
        }
        func leave(_ number: Int) {
            state.withLock {
                $0.order.append(number)
                $0.inside -= 1
            }
        }
        var order: [Int] { state.withLock { $0.order } }
        var overlaps: Int { state.withLock { $0.overlaps } }
    }

    @Test func `the first one goes on at once, others not unless they wait`() {
        let queue = TurnQueue(waitersMax: 4)
        let first = queue.enter("s", parking: nil)
        #expect(first?.isFirst == true)
        #expect(queue.enter("s", parking: nil) == nil)
        #expect(queue.enter("other", parking: nil)?.isFirst == true)
        first?.leave()
        first?.leave()
        #expect(queue.enter("s", parking: nil)?.isFirst == true)
    }

    @Test func `a place that is dropped without leaving is left`() {
        let queue = TurnQueue(waitersMax: 4)
        do {
            let place = queue.enter("s", parking: nil)
            #expect(place != nil)
        }
        #expect(queue.count == 0)
    }

    @Test func `a line is bounded`() async throws {
        let worker = Worker()
        worker.start(name: "queue-test")
        await worker.run { loop in
            let parking = Parking(on: loop)
            let queue = TurnQueue(waitersMax: 2)
            let places = (0..<4).map { _ in queue.enter("s", parking: parking) }
            #expect(places.map { $0 != nil } == [true, true, true, false])
            parking.close()
            loop.stop()
        }
    }

    @Test func `waiters of several loops go on one by one, each loop's in their order`() async throws {
        let queue = TurnQueue(waitersMax: 1_000)
        let journal = Journal()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<3 {
                group.addTask {
                    let worker = Worker()
                    worker.start(name: "queue-\(number)")
                    try await worker.run { loop in
                        let done = Parking(on: loop)
                        var left = 100
                        for step in 0..<100 {
                            loop.spawn {
                                let parking = Parking(on: loop)
                                if let place = queue.enter("s", parking: parking) {
                                    while !place.isFirst { _ = await parking.park(until: .never) }
                                    journal.enter()
                                    // Others get a chance to come in between.
                                    _ = await parking.park(until: loop.now + .nanoseconds(1))
                                    journal.leave(number * 1_000 + step)
                                    place.leave()
                                }
                                parking.close()
                                left -= 1
                                if left == 0 { done.wake() }
                            }
                        }
                        while left > 0 { _ = await done.park(until: .never) }
                        done.close()
                        loop.stop()
                    }
                }
            }
            try await group.waitForAll()
        }
        let all = journal.order
        #expect(journal.overlaps == 0)
        #expect(all.count == 300)
        for number in 0..<3 {
            #expect(all.filter { $0 / 1_000 == number } == (0..<100).map { number * 1_000 + $0 })
        }
        #expect(queue.count == 0)
    }
}
