import GatewayCore

/// What happens next: a binary heap by time, in order of arrival among equals, so that a run repeats exactly.
struct EventQueue<Event> {
    private struct Entry {
        var at: Moment
        var order: Int
        var event: Event

        func isBefore(_ other: Entry) -> Bool { (at, order) < (other.at, other.order) }
    }

    private var heap: [Entry] = []
    private var order = 0

    var nextMoment: Moment? { heap.first?.at }

    mutating func add(_ event: Event, at moment: Moment) {
        order += 1
        heap.append(Entry(at: moment, order: order, event: event))
        var child = heap.count - 1
        while child > 0, heap[child].isBefore(heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func popFirst() -> (at: Moment, event: Event)? {
        guard let first = heap.first else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in (2 * parent + 1)...(2 * parent + 2) where child < heap.count {
                if heap[child].isBefore(heap[least]) { least = child }
            }
            if least == parent { return (first.at, first.event) }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
