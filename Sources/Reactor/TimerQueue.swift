import GatewayCore

/// Calls its owner when its deadline has passed. One per task or part; moving it is cheap and happens on every request.
///
/// A later deadline only sets a field: the queue looks again when the old one comes up. An earlier one moves the timer
/// in the queue, O(log n).
/// - Isolation: the loop's thread.
package final class LoopTimer {
    fileprivate var index = -1
    fileprivate var armed = Moment.never
    fileprivate var deadline = Moment.never
    private unowned let queue: TimerQueue
    fileprivate var action: (() -> Void)?

    package init(on loop: EventLoop) { queue = loop.timers }

    /// What happens at the deadline. Set it before the first ``set(_:)``; `nil` releases what it captured.
    package func onFire(_ action: (() -> Void)?) { self.action = action }

    /// Fires once, at `deadline` or up to a millisecond later. `.never` disarms.
    package func set(_ deadline: Moment) {
        self.deadline = deadline
        if deadline < armed { queue.arm(self, at: deadline) }
    }

    /// Disarms and leaves the queue.
    package func cancel() {
        deadline = .never
        queue.disarm(self)
    }

    deinit { assert(index < 0, "a timer must be cancelled before it goes") }
}

/// The loop's timers: a binary heap, the earliest first.
package final class TimerQueue {
    private var heap: [LoopTimer] = []

    package var count: Int { heap.count }

    /// For `epoll_wait`: -1 without timers, otherwise rounded up, at most an hour.
    func millisecondsUntilNext(now: Moment) -> Int32 {
        guard let first = heap.first else { return -1 }
        return Int32(min(3_600_000, (first.armed - now).millisecondsRoundedUp))
    }

    func fire(now: Moment) {
        while let first = heap.first, first.armed <= now {
            if first.deadline == .never {
                disarm(first)
            } else if first.armed < first.deadline {
                // Before it may fire, even if it is due: others may have been due earlier.
                first.armed = first.deadline
                siftDown(0)
            } else {
                disarm(first)
                first.deadline = .never
                first.action?()
            }
        }
    }

    fileprivate func arm(_ timer: LoopTimer, at moment: Moment) {
        timer.armed = moment
        if timer.index < 0 {
            timer.index = heap.count
            heap.append(timer)
        }
        siftUp(timer.index)
    }

    fileprivate func disarm(_ timer: LoopTimer) {
        guard timer.index >= 0 else { return }
        let index = timer.index
        timer.index = -1
        timer.armed = .never
        let last = heap.removeLast()
        guard index < heap.count else { return }
        heap[index] = last
        last.index = index
        siftUp(index)
        siftDown(last.index)
    }

    private func siftUp(_ start: Int) {
        var index = start
        let timer = heap[index]
        while index > 0 {
            let parent = (index - 1) / 2
            guard timer.armed < heap[parent].armed else { break }
            heap[index] = heap[parent]
            heap[index].index = index
            index = parent
        }
        heap[index] = timer
        timer.index = index
    }

    private func siftDown(_ start: Int) {
        var index = start
        let timer = heap[index]
        while true {
            var child = 2 * index + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].armed < heap[child].armed { child += 1 }
            guard heap[child].armed < timer.armed else { break }
            heap[index] = heap[child]
            heap[index].index = index
            index = child
        }
        heap[index] = timer
        timer.index = index
    }
}
