import Synchronization

/// Wakes a task that is parked on a loop, from any thread.
package final class Doorbell: Sendable {
    private let worker: Worker
    /// Touched on the loop only: by ``hook(_:)`` and ``unhook()``, and by ``answer()``, which the worker runs there.
    nonisolated(unsafe) private var parking: Parking?
    /// Rung and not answered yet: ringing again would add nothing.
    private let isRinging = Atomic(false)

    package init(_ worker: Worker) { self.worker = worker }

    /// From the loop: whom to wake.
    package func hook(_ parking: Parking) { self.parking = parking }

    /// From the loop: nobody waits any more. The bell may live on in threads that must not free the parking.
    package func unhook() { parking = nil }

    package func ring() {
        guard !isRinging.exchange(true, ordering: .acquiringAndReleasing) else { return }
        worker.post { _ in self.answer() }
    }

    private func answer() {
        isRinging.store(false, ordering: .releasing)
        parking?.wake()
    }
}
