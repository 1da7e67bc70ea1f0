import Balancing
import GatewayCore
import Glibc
import Synchronization

/// Keeps processes running, in stages, until it is told to stop.
///
///     let supervisor = Supervisor(stages: [[redis], [replicaA, replicaB]]) { print($0.sentence) }
///     StopSignals.watch { supervisor.stop(force: $0 > 1) }
///     let end = supervisor.run()                 // returns when every process has ended
///
/// A stage starts when everything in the one before has been ready once. Stopping goes backwards, stage by stage. A
/// process that ends is started again as its ``RestartSettings`` say; one that ends too often without ever having been
/// ready ends the whole: there is no use in waiting for it.
/// - Isolation: everything happens on the thread that calls ``run()``; ``stop(force:)``, ``restart(_:)`` and
///   ``statuses`` are for any thread.
package final class Supervisor: Sendable {
    /// Why ``run()`` returned.
    package enum End: Equatable, Sendable {
        case stopped
        /// A service ended too often before it was ever ready; all others were stopped.
        case failed(service: String, reason: String)
    }

    package struct Status: Equatable, Sendable {
        package let name: String
        package let state: ServiceState
        /// `nil` while it does not run.
        package let pid: Int32?
        package let restarts: Int
    }

    struct Requests {
        var stop = false
        var force = false
        var restarts: [String] = []
    }

    let stages: [[ServiceSettings]]
    let onEvent: @Sendable (SupervisorEvent) -> Void
    let clock: @Sendable () -> Moment
    private let requests = Mutex(Requests())
    private let published: Mutex<[Status]>
    let wake = Latch()

    /// - Parameter onEvent: called on the supervising thread; must not wait for the supervisor.
    package init(
        stages: [[ServiceSettings]], clock: @escaping @Sendable () -> Moment = { .monotonic },
        onEvent: @escaping @Sendable (SupervisorEvent) -> Void
    ) {
        let names = stages.joined().map(\.name)
        precondition(Set(names).count == names.count)
        self.stages = stages
        self.clock = clock
        self.onEvent = onEvent
        published = Mutex(names.map { Status(name: $0, state: .waiting, pid: nil, restarts: 0) })
    }

    /// Runs everything until ``stop(force:)`` or a failure to start. Blocks the calling thread. Call it once.
    ///
    /// - Throws: ``SpawnError`` when the shell that guards against orphans can't be started; nothing was started then.
    package func run() throws(SpawnError) -> End {
        let guardian = try OrphanGuard()
        var run = SupervisorRun(self, guardian: guardian)
        let end = run.untilAllEnded()
        guardian.close()
        _ = guardian.waitForEnd(within: .seconds(5))
        return end
    }

    /// Ends everything, last stage first; with `force`, at once.
    package func stop(force: Bool = false) {
        requests.withLock { requests in
            requests.stop = true
            if force { requests.force = true }
        }
        wake.set()
    }

    /// Ends one service gently and starts it again. An unknown name does nothing.
    package func restart(_ service: String) {
        requests.withLock { requests in
            if !requests.restarts.contains(service) { requests.restarts.append(service) }
        }
        wake.set()
    }

    /// What every service is doing, in the order of the stages.
    package var statuses: [Status] { published.withLock { $0 } }

    /// What was asked for since the last call; a stop stays.
    func takeRequests() -> Requests {
        requests.withLock { requests in
            defer { requests.restarts = [] }
            return requests
        }
    }

    func publish(_ statuses: [Status]) { published.withLock { $0 = statuses } }
}

extension Moment {
    /// The kernel's monotonic clock.
    package static var monotonic: Moment {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Moment(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}
