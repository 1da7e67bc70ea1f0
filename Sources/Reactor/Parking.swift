import GatewayCore

/// The one place where a task on a loop suspends: it parks here until one of its sockets is ready, its deadline passes,
/// or somebody wakes it.
///
/// A wake-up carries no promise: the task looks at its sockets again and parks anew if there is nothing to do. That
/// lets one task wait for its client and its replica at once.
///
/// - Cost: see ``Bay``; so try first, park only when the socket would block.
/// - Isolation: the loop's thread; one task at a time.
package final class Parking: ReadinessHandler {
    package enum Wake: Sendable { case ready, deadline }

    package let loop: EventLoop
    private let bay: Bay
    private let timer: LoopTimer
    /// A wake-up that came while nobody was parked: the next park returns at once.
    private var isPending = false

    package init(on loop: EventLoop) {
        self.loop = loop
        bay = Bay()
        timer = LoopTimer(on: loop)
        timer.onFire { [unowned self] in resume(.deadline) }
    }

    /// Suspends until the next wake-up or until `deadline`.
    package func park(until deadline: Moment) async -> Wake {
        assert(loop.executor.isCurrent, "only a task of the loop may park on it")
        if isPending {
            isPending = false
            return .ready
        }
        if deadline <= loop.now { return .deadline }
        timer.set(deadline)
        return await bay.stand()
    }

    /// Ends the wait, if there is one; otherwise the next one.
    package func wake() {
        if bay.isTaken { resume(.ready) } else { isPending = true }
    }

    /// A socket's change that comes between looking and parking must not be lost, so it counts as a wake-up too.
    package func becameReady(_ stream: Stream) { wake() }

    /// Leaves the timer queue. Call when the task that parks here ends.
    package func close() { timer.cancel() }

    private func resume(_ wake: Wake) {
        guard let job = bay.leave(wake) else { return }
        timer.set(.never)
        loop.executor.makeReady(job)
    }
}

/// Where one task stands while it is parked: an executor that runs nothing. It keeps the job that is enqueued on it,
/// which is the suspended task, until the loop takes it away to run it itself.
///
/// A task that calls ``stand()`` hops to this executor, so is enqueued, so sleeps; and finds itself back on its loop
/// when the call returns. That is the shortest way to suspend: about 700 instructions; a continuation takes 1,900.
///
/// - Isolation: the loop's thread, which is the only one that the parked task ever runs on.
private actor Bay: SerialExecutor {
    // Only the loop's thread touches these: the task that enqueues itself runs there, and so does who wakes it.
    nonisolated(unsafe) private var job: UnownedJob?
    nonisolated(unsafe) private var wake = Parking.Wake.ready

    nonisolated var unownedExecutor: UnownedSerialExecutor { asUnownedSerialExecutor() }

    nonisolated func enqueue(_ job: consuming ExecutorJob) { self.job = UnownedJob(job) }

    /// Returns when the loop has taken the task back: why.
    @inline(never)  // Inlined, there would be nothing left to hop for.
    func stand() -> Parking.Wake { wake }

    nonisolated var isTaken: Bool { job != nil }

    nonisolated func leave(_ wake: Parking.Wake) -> UnownedJob? {
        guard let parked = job else { return nil }
        job = nil
        self.wake = wake
        return parked
    }
}

/// What the loop calls, on its thread, when something changed on a stream: it became readable or writable, or broke.
package protocol ReadinessHandler: AnyObject {
    func becameReady(_ stream: Stream)
}
