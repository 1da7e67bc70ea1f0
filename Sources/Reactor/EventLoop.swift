import CLinux
import GatewayCore
import Glibc

/// An epoll loop: waits for sockets, timers and jobs, and runs what became ready, all on one thread.
///
/// Descriptors are registered once, edge-triggered, for both directions; a source remembers what it may do until the
/// kernel says "would block". So a request costs no `epoll_ctl`.
///
/// - Isolation: the loop's thread. Not `Sendable` on purpose.
/// - Owns: the epoll descriptor, every registered source until it is removed, and the timers.
package final class EventLoop {
    /// Events taken from the kernel in one turn.
    private static let batch = 256
    /// A turn that only passed bytes on, as of streams, lasts at least so long: what comes meanwhile is one more event
    /// for the next turn, or joins one, where it would have been a wake-up, a read and a send of its own.
    private static let relayTurn = Interval.microseconds(100)
    /// Sends that are gathered before they are made though the turn goes on: after a pause the first events would else
    /// wait for the work on hundreds of others.
    private static let sendsPerPart = 32
    /// How often jobs that are ready are run after the loop was stopped.
    private static let lastRounds = 1_024

    package let executor: LoopExecutor
    /// Monotonic time, read once per turn. Everything that decides by time is given this.
    package private(set) var now: Moment
    /// Wall time of the current turn.
    package private(set) var wallNow: WallTime
    /// Where bytes are received before anybody owns them; valid until the next suspension or receive.
    package let scratch: UnsafeMutableRawBufferPointer

    package unowned(unsafe) var worker: Worker?  // The worker owns the loop, so it lives longer.
    /// What the assembly keeps on this loop, for work that reaches it from other threads.
    package var resident: AnyObject?
    private let epoll: Int32
    private var sources = SourceTable()
    /// Sources that left, while they are released. Empty otherwise.
    private var leavers: [EventSource] = []
    package let timers = TimerQueue()
    private var isStopping = false
    /// Streams with bytes left from this turn.
    private var revisits: [Stream] = []
    private var sends = SendQueue()

    init(executor: LoopExecutor) {
        self.executor = executor
        epoll = weir_epoll_create()
        precondition(epoll >= 0, "no descriptor left for a loop")
        scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 64)
        now = Self.monotonic()
        wallNow = Self.wall()
        _ = weir_epoll_add(epoll, executor.wakeDescriptor, WEIR_EPOLLIN, .max)
    }

    deinit {
        scratch.deallocate()
        close(epoll)
    }

    /// Starts a task on this loop. `operation` runs on the loop's thread, as every class it captures demands.
    package func spawn(_ operation: @escaping () async -> Void) {
        // The closure never leaves the loop: the task prefers its executor and `perform` is isolated to its worker.
        nonisolated(unsafe) let operation = operation
        guard let worker else { preconditionFailure("a loop without its worker") }
        Task(executorPreference: executor) { await worker.perform(operation) }
    }

    /// Starts a task on this loop that costs less to suspend: `function` is isolated to the loop's worker, so that its
    /// task needs no preference for an executor, which each suspension would look up.
    ///
    /// - Parameter function: the name of a function, never a closure. A closure is isolated to nobody, and each return
    ///   to it from a function that suspended would pass through the global pool.
    package func run(function: nonisolated(nonsending) @escaping () async -> Void) {
        guard let worker else { preconditionFailure("a loop without its worker") }
        // It never leaves the loop: this is called on it, and the task is isolated to its worker.
        nonisolated(unsafe) let function = function
        worker.assumeIsolated { $0.start(function) }
    }

    // MARK: Sources

    /// Registers `source` for reading and writing, edge-triggered (or for reading, level-triggered).
    ///
    /// - Throws: `errno` if the kernel refuses.
    func add(_ source: EventSource, edgeTriggered: Bool = true) throws(SocketError) {
        let events = edgeTriggered ? WEIR_EPOLLIN | WEIR_EPOLLOUT | WEIR_EPOLLRDHUP | WEIR_EPOLLET : WEIR_EPOLLIN
        let data = sources.add(source, source.descriptor)
        guard weir_epoll_add(epoll, source.descriptor, events, data) == 0 else {
            let code = errno
            sources.remove(source, source.descriptor)
            throw SocketError(code, "epoll_ctl")
        }
    }

    /// Forgets `source`. Closing its descriptor, which follows, removes it from the kernel's list.
    func remove(_ source: EventSource) { sources.remove(source, source.descriptor) }

    /// Takes `source` off the kernel's list, for a descriptor that stays open (a paused listener).
    func pause(_ source: EventSource) {
        _ = weir_epoll_remove(epoll, source.descriptor)
        remove(source)
    }

    /// Calls the handler of `stream` again in the next turn: for one that stopped early so that others get theirs.
    package func revisit(_ stream: Stream) { revisits.append(stream) }

    // MARK: Sending

    /// Sends a short piece at the end of the turn.
    @inline(__always)
    func sendLater(_ bytes: UnsafeRawBufferPointer, to stream: Stream, lane: Int) {
        if sends.hasRoom(for: bytes.count) { return sends.append(bytes, to: stream.descriptor, lane: lane) }
        sendInPieces(bytes, to: stream, lane: lane)
    }

    /// The same for two pieces of one message.
    @inline(__always)
    func sendLater(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer, to stream: Stream, lane: Int
    ) {
        guard sends.hasRoom(for: first.count &+ second.count) else {
            sendInPieces(first, to: stream, lane: lane)
            return sendInPieces(second, to: stream, lane: lane)
        }
        sends.append(first, to: stream.descriptor, lane: lane)
        sends.append(second, to: stream.descriptor, lane: lane)
    }

    @inline(never)
    private func sendInPieces(_ bytes: UnsafeRawBufferPointer, to stream: Stream, lane: Int) {
        sendGathered()
        // What made room may have found it full.
        if stream.canWrite { return sends.append(bytes, to: stream.descriptor, lane: lane) }
        stream.keep(bytes)
    }

    /// Sends what was gathered now, if some of it is for `stream`.
    func sendGathered(for stream: Stream) {
        if sends.holds(stream.descriptor) { sendGathered() }
    }

    private func sendGathered() {
        if sends.isEmpty { return }
        sends.makeAll { descriptor, rest in
            (sources[descriptor]?.takeUnretainedValue() as? Stream)?.keep(rest)
        }
    }

    // MARK: Running

    /// Makes ``run()`` return after the current turn.
    package func stop() { isStopping = true }

    func run() {
        withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: Self.batch) { events in
            sendGathered()
            while !isStopping {
                turn(events)
            }
        }
        // Tasks that are about to end have a few steps left, each of them a job: nobody would run them later.
        var left = Self.lastRounds
        while executor.hasReadyJobs, left > 0 {
            executor.runReadyJobs()
            left -= 1
        }
        sendGathered()
    }

    private func turn(_ events: UnsafeMutableBufferPointer<epoll_event>) {
        let timeout = executor.hasReadyJobs || !revisits.isEmpty ? 0 : timers.millisecondsUntilNext(now: now)
        let count = epoll_wait(epoll, events.baseAddress, Int32(events.count), timeout)
        now = Self.monotonic()
        wallNow = Self.wall()
        if count > 0 {
            for index in 0..<Int(count) {
                let event = events.baseAddress.unsafelyUnwrapped + index
                dispatch(events: event.pointee.events, data: weir_epoll_data(event))
                if sends.count >= Self.sendsPerPart { sendGathered() }
            }
        }
        if !revisits.isEmpty {
            let streams = revisits
            revisits.removeAll(keepingCapacity: true)
            for stream in streams where !stream.isClosed { stream.handler?.becameReady(stream) }
        }
        timers.fire(now: now)
        // The events of streams are passed on before requests are worked on.
        let hasPassedOn = !sends.isEmpty
        sendGathered()
        if executor.hasReadyJobs {
            executor.runReadyJobs()
            sendGathered()
        } else if hasPassedOn {
            pause(until: now + Self.relayTurn)
        }
        if sources.hasLeavers { releaseLeavers() }
    }

    /// Not in the table's own array: what a source releases at its end may take others out of the table.
    private func releaseLeavers() {
        sources.exchangeLeavers(&leavers)
        leavers.removeAll(keepingCapacity: true)
    }

    private func pause(until end: Moment) {
        let left = (end - Self.monotonic()).nanoseconds
        guard left > 0 else { return }
        var time = timespec(tv_sec: 0, tv_nsec: Int(left))
        nanosleep(&time, nil)
    }

    private func dispatch(events: UInt32, data: UInt64) {
        if data == .max { return executor.collectForeignJobs() }
        sources.find(data)?._withUnsafeGuaranteedRef { $0.ready(events) }
    }

    /// The cores that this process may run on, which a container or `taskset` makes fewer than there are.
    package static var usableCores: Int { max(1, Int(weir_usable_cores())) }

    /// Gives memory that was freed back to the kernel. O(heap): a millisecond or so; for after a peak.
    package static func returnFreeMemory() { weir_return_free_memory() }

    package static func monotonic() -> Moment {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Moment(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    package static func wall() -> WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(nanosecondsSinceEpoch: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}

/// Something with a descriptor that the loop calls when the kernel reports it ready.
package class EventSource {
    /// Changes only between two times in the loop, as of a stream that is used again.
    package internal(set) final var descriptor: Int32

    init(descriptor: Int32) { self.descriptor = descriptor }

    /// `events` is the kernel's bit set (`EPOLLIN` …).
    func ready(_ events: UInt32) { preconditionFailure("a source must say what it does when ready") }
}

extension Worker {
    fileprivate func start(_ function: nonisolated(nonsending) sending @escaping () async -> Void) {
        Task {
            _ = self  // What makes the task this worker's, from its first instruction.
            await function()
        }
    }
    fileprivate func perform(_ operation: sending () async -> Void) async { await operation() }
}
