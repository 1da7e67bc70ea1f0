import DequeModule
import GatewayCore
import Reactor
import Synchronization

/// Requests of all loops that wait for a place at a pool's replicas, in the order they came.
///
/// - Isolation: any loop; its lock is held for the bookkeeping only. A waiter is woken on its own loop.
package final class WaitQueue: Sendable {
    /// One request that waits. Lives as long as its wait.
    package final class Waiter: Sendable {
        fileprivate let worker: Worker
        /// Only its loop touches it: ``wake()`` goes there first.
        nonisolated(unsafe) fileprivate let parking: Parking

        fileprivate init(worker: Worker, parking: Parking) {
            self.worker = worker
            self.parking = parking
        }

        fileprivate func wake() {
            if worker.executor.isCurrent { return parking.wake() }
            Task(executorPreference: worker.executor) { await self.worker.run { _ in self.parking.wake() } }
        }
    }

    private let lengthMax: Int
    private let waiters = Mutex<Deque<Waiter>>([])
    private let count = Atomic<Int>(0)

    init(lengthMax: Int) { self.lengthMax = lengthMax }

    package var length: Int { count.load(ordering: .relaxed) }

    /// - Returns: nil when the queue is full.
    func enter(parking: Parking) -> Waiter? {
        guard let worker = parking.loop.worker else { return nil }
        let waiter = Waiter(worker: worker, parking: parking)
        return waiters.withLock { waiters in
            guard waiters.count < lengthMax else { return nil }
            waiters.append(waiter)
            count.store(waiters.count, ordering: .relaxed)
            return waiter
        }
    }

    /// The wait is over, whatever ended it.
    func leave(_ waiter: Waiter) {
        waiters.withLock { waiters in
            if let place = waiters.firstIndex(where: { $0 === waiter }) { waiters.remove(at: place) }
            count.store(waiters.count, ordering: .relaxed)
        }
    }

    /// Whether `waiter` is next: nobody overtakes.
    func isFirst(_ waiter: Waiter) -> Bool { waiters.withLock { $0.first === waiter } }

    /// A place became free: the first one looks again.
    package func wakeFirst() {
        guard length > 0 else { return }
        waiters.withLock { $0.first }?.wake()
    }
}
