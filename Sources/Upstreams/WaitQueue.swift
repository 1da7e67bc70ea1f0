import Balancing
import GatewayCore
import Reactor
import Synchronization

/// Requests of all loops that wait for a place at a pool's replicas: one ``FairQueue`` for the pool.
///
/// - Isolation: any loop; its lock is held for the bookkeeping only. A waiter is woken on its own loop.
package final class WaitQueue: Sendable {
    /// One request that waits. Lives as long as its wait.
    fileprivate final class Waiter: Sendable {
        let worker: Worker
        /// Only its loop touches it: ``wake()`` goes there first.
        nonisolated(unsafe) let parking: Parking

        init(worker: Worker, parking: Parking) {
            self.worker = worker
            self.parking = parking
        }

        func wake() {
            if worker.executor.isCurrent { return parking.wake() }
            worker.post { [self] _ in parking.wake() }
        }
    }

    /// A request's place in the queue; ``leave(_:passesOn:)`` gives it back.
    package struct Ticket: Sendable {
        fileprivate let inner: FairQueue<Waiter>.Ticket
    }

    private let queue: Mutex<FairQueue<Waiter>>
    /// Sequentially consistent, like the replicas' counts: who enters and then looks, and who frees a place and then
    /// looks here, can't both miss the other.
    private let count = Atomic<Int>(0)

    init(lengthMax: Int) { queue = Mutex(FairQueue(lengthMax: lengthMax)) }

    package var length: Int { count.load(ordering: .sequentiallyConsistent) }

    /// - Parameter key: whose request it is: callers take turns.
    /// - Returns: its ticket, and whether it is to look at once; nil when the queue is full.
    func enter(
        parking: Parking, key: String, avoiding exclusions: Attempt.Exclusions, evenIfFull: Bool
    ) -> (ticket: Ticket, isCalled: Bool)? {
        guard let worker = parking.loop.worker else { return nil }
        let waiter = Waiter(worker: worker, parking: parking)
        return queue.withLock { queue in
            let entered = queue.enter(waiter, key: key, avoiding: exclusions, evenIfFull: evenIfFull)
            guard let entered else { return nil }
            count.store(queue.count, ordering: .sequentiallyConsistent)
            return (Ticket(inner: entered.ticket), entered.isCalled)
        }
    }

    /// Whether it is to look for a place.
    func isCalled(_ ticket: Ticket) -> Bool { queue.withLock { $0.isCalled(ticket.inner) } }

    /// The replica whose place it was called for.
    func replica(of ticket: Ticket) -> Int? { queue.withLock { $0.replica(of: ticket.inner) } }

    func lookedInVain(_ ticket: Ticket, passesOn: Bool) {
        queue.withLock { $0.lookedInVain(ticket.inner, passesOn: passesOn) }?.wake()
    }

    /// The wait is over, whatever ended it.
    func leave(_ ticket: Ticket, passesOn: Bool) {
        let next = queue.withLock { queue in
            let next = queue.leave(ticket.inner, passesOn: passesOn)
            count.store(queue.count, ordering: .sequentiallyConsistent)
            return next
        }
        next?.wake()
    }

    /// Calls the next one for a place at the replica.
    func placeFreed(at replica: Int) { queue.withLock { $0.placeFreed(at: replica) }?.wake() }

    /// Nobody serves any more: everybody is to look what is left.
    package func callAll() {
        guard length > 0 else { return }
        for waiter in queue.withLock({ $0.callAll() }) { waiter.wake() }
    }
}
