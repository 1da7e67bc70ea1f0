import GatewayCore

/// The one place where a task on a loop suspends: it parks here until one of its sockets is ready, its deadline passes,
/// or somebody wakes it.
///
/// A wake-up carries no promise: the task looks at its sockets again and parks anew if there is nothing to do. That
/// lets one task wait for its client and its replica at once.
///
/// - Cost: see ``Bay``; so try first, park only when the socket would block. A task that is always woken for the same
///   few steps leaves a ``Deputy`` behind, which takes them without it for a tenth of that.
/// - Isolation: the loop's thread; one task at a time.
package final class Parking: ReadinessHandler {
    package enum Wake: Sendable { case ready, deadline }

    private enum State {
        /// The task or its deputy runs.
        case awake
        /// It runs and was woken meanwhile: its next wait ends at once.
        case woken
        case parked
        /// It is among what the loop runs next.
        case called
    }

    package let loop: EventLoop
    private let executor: LoopExecutor
    private let bay: Bay
    private let timer: LoopTimer
    private var state = State.awake
    /// Why it was called.
    private var cause = Wake.ready
    /// Who goes on instead of the task that is parked. Released when the task is resumed.
    private var post: Unmanaged<Post>?

    package init(on loop: EventLoop) {
        self.loop = loop
        executor = loop.executor
        bay = Bay()
        timer = LoopTimer(on: loop)
        timer.onFire { [unowned self] in call(.deadline) }
    }

    /// Suspends until the next wake-up or until `deadline`.
    package func park(until deadline: Moment) async -> Wake {
        assert(executor.isCurrent, "only a task of the loop may park on it")
        if let wake = takeWake(deadline) { return wake }
        stay(until: deadline)
        return await bay.stand()
    }

    /// Suspends until `deputy` needs the task. At each wake-up the loop lets the deputy go on instead of the task.
    package func park(until deadline: Moment, deputy: any Deputy) async {
        assert(executor.isCurrent, "only a task of the loop may park on it")
        post = .passRetained(Post(deputy))
        stayOrTakeTurn(deadline)
        _ = await bay.stand()
    }

    /// Ends the wait, if there is one; otherwise the next one.
    package func wake() {
        if state == .awake { state = .woken } else { call(.ready) }
    }

    /// A socket's change that comes between looking and parking must not be lost, so it counts as a wake-up too.
    package func becameReady(_ stream: Stream) { wake() }

    /// Leaves the timer queue. Call when the task that parks here ends.
    package func close() { timer.cancel() }

    /// Why a wait that is about to begin is over already; nil if it is not.
    private func takeWake(_ deadline: Moment) -> Wake? {
        if state == .woken {
            state = .awake
            return .ready
        }
        return deadline <= loop.now ? .deadline : nil
    }

    private func stay(until deadline: Moment) {
        state = .parked
        timer.set(deadline)
    }

    /// A deputy that is to go on already does so among the others that are ready, so that they have their turn.
    private func stayOrTakeTurn(_ deadline: Moment) {
        let wake = takeWake(deadline)
        stay(until: deadline)
        if let wake { call(wake) }
    }

    private func call(_ wake: Wake) {
        guard state == .parked else { return }
        state = .called
        cause = wake
        timer.set(.never)
        executor.makeReady(self)
    }

    /// Its turn: the deputy goes on, or else the task.
    func goOn(on executor: UnownedSerialExecutor) {
        state = .awake
        if let post {
            if let deadline = post._withUnsafeGuaranteedRef({ $0.deputy.goOn(cause) }) {
                return stayOrTakeTurn(deadline)
            }
            self.post = nil
            post.release()
        }
        bay.leave(cause)?.runSynchronously(on: executor)
    }
}

/// What stands in for a parked task: the steps that it takes again and again, without its being resumed for them.
///
/// Resuming costs about 1,000 instructions, and a task that suspends in the middle of a step holds that step's frames.
package protocol Deputy: AnyObject {
    /// Goes as far as it gets without waiting, on the loop's thread.
    ///
    /// - Returns: until when to stay parked, at most; nil when only the task can go on.
    func goOn(_ wake: Parking.Wake) -> Moment?
}

/// Holds a deputy where it is called without counting a reference: in a `let`.
private final class Post {
    let deputy: any Deputy
    init(_ deputy: any Deputy) { self.deputy = deputy }
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
