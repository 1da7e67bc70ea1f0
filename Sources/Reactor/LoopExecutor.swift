import CLinux
import Glibc
import Synchronization

/// Runs the jobs of every task that lives on one loop, on that loop's thread.
///
/// It is a serial executor, and a task executor for tasks that are not isolated to the loop's worker
/// (``EventLoop/spawn(_:)``): without a preference for it, each of their resumptions would take the global pool's way.
/// Jobs enqueued from the loop's own thread go into a plain ring, where parked tasks that were called stand too; those
/// from elsewhere through a lock and an eventfd that ends the loop's wait.
///
/// - Isolation: ``enqueue(_:)`` may be called from any thread, everything else from the loop's.
package final class LoopExecutor: SerialExecutor, TaskExecutor {
    /// The eventfd that other threads write to.
    let wakeDescriptor: Int32
    private let thread = Atomic<UInt>(0)
    private let foreign = Mutex<[UnownedJob]>([])
    /// Only the loop's thread touches it: `enqueue` compares the thread before, and ``runReadyJobs()`` is the loop's.
    nonisolated(unsafe) private var ring = ReadyRing()

    init() {
        wakeDescriptor = weir_eventfd()
        precondition(wakeDescriptor >= 0, "no descriptor left for a loop's eventfd")
    }

    deinit { close(wakeDescriptor) }

    /// Whether the caller is the loop's thread.
    package var isCurrent: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

    /// From here on the calling thread is the loop's.
    func adoptCurrentThread() { thread.store(UInt(pthread_self()), ordering: .relaxed) }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if isCurrent {
            ring.append(.job(job))
        } else {
            let wasEmpty = foreign.withLock { jobs in
                jobs.append(job)
                return jobs.count == 1
            }
            if wasEmpty { eventfd_write(wakeDescriptor, 1) }
        }
    }

    /// Lets what is parked go on, with the others that are ready. From the loop's thread.
    @inline(__always)
    func makeReady(_ parking: Parking) { ring.append(.parked(.passUnretained(parking))) }

    var hasReadyJobs: Bool { !ring.isEmpty }

    /// Takes over what other threads enqueued. Called when the eventfd is readable.
    func collectForeignJobs() {
        var count: eventfd_t = 0
        eventfd_read(wakeDescriptor, &count)
        let jobs = foreign.withLock { jobs in
            let taken = jobs
            jobs.removeAll(keepingCapacity: true)
            return taken
        }
        for job in jobs { ring.append(.job(job)) }
    }

    /// Jobs run in one turn of the loop. Such a job is a whole request's worth of work, while what a socket brings is
    /// mostly one event to pass on: with all the jobs of a burst in one turn, the events of running streams would wait
    /// for hundreds of new requests. With fewer, the sends of a turn would be too few to save wake-ups.
    private static let jobsPerTurn = 64

    /// Runs jobs that are ready now; those that they make ready wait for the next call, so that sockets get a turn.
    ///
    /// They run as the loop's serial executor alone: with a task executor beside it, each return from a suspension of a
    /// task that doesn't prefer that one would be another job.
    func runReadyJobs() {
        let serial = asUnownedSerialExecutor()
        var left = min(ring.count, Self.jobsPerTurn)
        while left > 0, let work = ring.popFirst() {
            switch work {
            case .job(let job): job.runSynchronously(on: serial)
            case .parked(let parking): parking._withUnsafeGuaranteedRef { $0.goOn(on: serial) }
            }
            left -= 1
        }
    }

    package func checkIsolated() { precondition(isCurrent, "not on the loop's thread") }
    package func isIsolatingCurrentContext() -> Bool? { isCurrent }
}
