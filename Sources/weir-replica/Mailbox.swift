#if Engine
import Engine
import GatewayCore
import Reactor
import Synchronization

/// The events of one answer on their way from the engine's thread to its connection's loop.
///
/// Bounded by the context: an answer has no more events than tokens.
final class Mailbox: Sendable {
    private let events = Mutex<[GenerationEvent]>([])
    private let doorbell: Doorbell

    init(_ doorbell: Doorbell) { self.doorbell = doorbell }

    func put(_ event: GenerationEvent) {
        events.withLock { $0.append(event) }
        doorbell.ring()
    }

    func take() -> [GenerationEvent] {
        events.withLock { events in
            defer { events = [] }
            return events
        }
    }
}

/// The wish to end, from the thread that receives signals to the loop.
final class Shutdown: Sendable {
    private let isRequested = Atomic(false)
    private let doorbell: Doorbell

    init(_ worker: Worker) { doorbell = Doorbell(worker) }

    func request() {
        isRequested.store(true, ordering: .releasing)
        doorbell.ring()
    }

    func wait(on loop: EventLoop) async {
        let parking = Parking(on: loop)
        doorbell.hook(parking)
        while !isRequested.load(ordering: .acquiring) { _ = await parking.park(until: .never) }
        doorbell.unhook()
        parking.close()
    }
}
#endif
