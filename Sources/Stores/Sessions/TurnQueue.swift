import GatewayCore
import Reactor
import Synchronization

/// Who may take the next turn of a session, among the requests of this process: first come, first served.
///
/// The lock that counts is in Redis; this one spares waiting requests of the same process from asking Redis again and
/// again, and keeps their order.
///
/// - Isolation: any loop; its lock is held for the bookkeeping only. A waiter is woken on its own loop.
/// - Cost: O(1) unless somebody waits. Bounded by the requests in flight, and ``waitersMax`` a session.
package final class TurnQueue: Sendable {
    /// A place in one session's line, the first of which may go on. Given up by ``leave()``, or when it goes.
    package final class Place: Sendable {
        fileprivate let queue: TurnQueue
        fileprivate let key: String
        fileprivate let worker: Worker?
        /// Only its loop touches it: ``wake()`` goes there first.
        nonisolated(unsafe) fileprivate let parking: Parking?

        fileprivate init(queue: TurnQueue, key: String, parking: Parking?) {
            self.queue = queue
            self.key = key
            self.parking = parking
            worker = parking?.loop.worker
        }

        deinit { leave() }

        package var isFirst: Bool { queue.lines.withLock { $0[key]?.first == ObjectIdentifier(self) } }

        /// Lets the next one go on. Does nothing the second time.
        package func leave() { queue.leave(self) }

        fileprivate func wake() {
            guard let worker, let parking else { return }
            if worker.executor.isCurrent { return parking.wake() }
            // The parking is carried to the loop that it belongs to, and only touched there.
            nonisolated(unsafe) let woken = parking
            Task(executorPreference: worker.executor) { await worker.run { _ in woken.wake() } }
        }
    }

    /// One session's line. The places are owned by those who wait; the line must not keep them alive.
    private struct Line {
        var places: [Waiting] = []
        var first: ObjectIdentifier? { places.first?.id }
    }
    private struct Waiting {
        let id: ObjectIdentifier
        weak var place: Place?
    }

    private let waitersMax: Int
    private let lines = Mutex<[String: Line]>([:])

    package init(waitersMax: Int) { self.waitersMax = waitersMax }

    /// Sessions that have a turn running or waiting.
    package var count: Int { lines.withLock { $0.count } }

    /// Joins the line of the session `key`.
    ///
    /// - Parameter parking: woken when the place becomes the first. Nil if the caller does not want to wait.
    /// - Returns: nil when the line is full, or when there is one and the caller does not want to wait.
    package func enter(_ key: String, parking: Parking?) -> Place? {
        let place = Place(queue: self, key: key, parking: parking)
        return lines.withLock { lines in
            let length = lines[key]?.places.count ?? 0
            guard length == 0 || (parking != nil && length <= waitersMax) else { return nil }
            lines[key, default: Line()].places.append(Waiting(id: ObjectIdentifier(place), place: place))
            return place
        }
    }

    private func leave(_ place: Place) {
        let next = lines.withLock { lines -> Place? in
            let id = ObjectIdentifier(place)
            guard let index = lines[place.key]?.places.firstIndex(where: { $0.id == id }) else { return nil }
            lines[place.key]?.places.remove(at: index)
            if lines[place.key]?.places.isEmpty == true {
                lines[place.key] = nil
                return nil
            }
            return index == 0 ? lines[place.key]?.places.first?.place : nil
        }
        next?.wake()
    }
}
