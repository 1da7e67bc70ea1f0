import GatewayCore

/// The one place where a task on a loop suspends: it parks here until one of its sockets is ready, its deadline passes,
/// or somebody wakes it.
///
/// A wake-up carries no promise: the task looks at its sockets again and parks anew if there is nothing to do. That
/// lets one task wait for its client and its replica at once.
///
/// - Cost: a suspension is about 1,900 instructions; so try first, park only when the socket would block.
/// - Isolation: the loop's thread; one task at a time.
package final class Parking: ReadinessHandler {
    package enum Wake: Sendable { case ready, deadline }

    package let loop: EventLoop
    private var continuation: UnsafeContinuation<Wake, Never>?
    private let timer: LoopTimer
    /// A wake-up that came while nobody was parked: the next park returns at once.
    private var isPending = false

    package init(on loop: EventLoop) {
        self.loop = loop
        timer = LoopTimer(on: loop)
        timer.onFire { [unowned self] in resume(.deadline) }
    }

    /// Suspends until the next wake-up or until `deadline`.
    package func park(until deadline: Moment) async -> Wake {
        if isPending {
            isPending = false
            return .ready
        }
        if deadline <= loop.now { return .deadline }
        timer.set(deadline)
        return await withUnsafeContinuation { parked in
            // Between the look above and this line the loop may have turned: other jobs ran, or the timer has fired.
            if isPending {
                isPending = false
                parked.resume(returning: .ready)
            } else if deadline <= loop.now {
                parked.resume(returning: .deadline)
            } else {
                continuation = parked
            }
        }
    }

    /// Ends the wait, if there is one; otherwise the next one.
    package func wake() {
        if continuation == nil { isPending = true } else { resume(.ready) }
    }

    /// A socket's change that comes between looking and parking must not be lost, so it counts as a wake-up too.
    package func becameReady(_ stream: Stream) { wake() }

    /// Leaves the timer queue. Call when the task that parks here ends.
    package func close() { timer.cancel() }

    private func resume(_ wake: Wake) {
        guard let parked = continuation else { return }
        continuation = nil
        timer.set(.never)
        parked.resume(returning: wake)
    }
}

/// What the loop calls, on its thread, when something changed on a stream: it became readable or writable, or broke.
package protocol ReadinessHandler: AnyObject {
    func becameReady(_ stream: Stream)
}
