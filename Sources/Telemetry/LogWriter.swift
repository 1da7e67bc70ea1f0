import GatewayCore
import Glibc
import Synchronization
import Wire

/// The one thread that writes log lines, so that no loop ever waits for a disk or a terminal.
///
///     let writer = try LogWriter(
///         access: .file("access.log"), loops: 2, bytesMaxPerLoop: 1 << 20, events: .standardError)
///     writer.start()
///     writer.access(loop: 0)?.append(record, requestID: id, model: model)   // on loop 0
///     writer.events.log(.info, "started", "Listening on \(address).")
///     writer.reopen()                                                       // after the file was renamed
///     writer.stop(within: .seconds(2))                                      // everything so far is on its way out
///
/// Lines leave within 50 ms, or earlier when a buffer has a full piece of them. With nothing to write the thread
/// sleeps for good.
/// - Owns: the thread, from ``start()`` to ``stop(within:)``; the files.
package final class LogWriter: Sendable {
    struct Sinks: ~Copyable {
        var access: LogSink
        var events: LogSink
        /// What is being written; exchanged with a loop's buffer.
        var lines = OwnedLines()
    }

    /// Operator events; from any thread.
    package let events: EventLog
    private let accessBuffers: [LineBuffer]
    private let eventBuffer: LineBuffer
    /// Locked by the thread that writes: the writer, or who stops it when it never started.
    private let sinks: Mutex<Sinks>
    private let wake: WakeUp
    private let finished = WakeUp()
    private let isStarted = Atomic<Bool>(false)
    private let shouldStop = Atomic<Bool>(false)
    private let shouldReopen = Atomic<Bool>(false)

    /// How long lines wait for company.
    static let intervalMilliseconds: Int32 = 50
    /// Rounds without a line after which the thread sleeps until it is woken.
    static let idleRounds = 20
    /// Above this a buffer's memory is given back after it was written.
    static let keptBytes = 1 << 17

    /// Opens the destinations. Nothing is written before ``start()``; lines wait.
    package init(
        access: LogDestination, loops: Int, bytesMaxPerLoop: Int, events: LogDestination,
        level: EventLog.Level = .info, clock: @escaping @Sendable () -> WallTime = { .now }
    ) throws(LogFileError) {
        let wake = WakeUp()
        self.wake = wake
        let accessSink = try LogSink(access)
        sinks = Mutex(Sinks(access: accessSink, events: try LogSink(events)))
        accessBuffers =
            access == .off ? [] : (0..<loops).map { _ in LineBuffer(bytesMax: bytesMaxPerLoop, wake: wake) }
        eventBuffer = LineBuffer(bytesMax: 1 << 18, wake: wake)
        self.events = EventLog(buffer: eventBuffer, level: level, clock: clock)
    }

    /// Where loop number `loop` puts its access lines; `nil` when the access log is off.
    package func access(loop: Int) -> LineBuffer? { accessBuffers.isEmpty ? nil : accessBuffers[loop] }

    /// Starts the thread. A second call does nothing.
    package func start() {
        guard !isStarted.exchange(true, ordering: .acquiringAndReleasing) else { return }
        Thread.detach { self.run() }
    }

    /// Opens log files by their path again, soon: what a log rotation asks for.
    package func reopen() {
        shouldReopen.store(true, ordering: .releasing)
        wake.signal()
    }

    /// Writes what waits and ends the thread. Gives up on a destination that takes nothing after `limit`.
    /// - Returns: whether everything was handed to the kernel.
    @discardableResult
    package func stop(within limit: Interval) -> Bool {
        guard isStarted.load(ordering: .acquiring) else {
            drain()
            return true
        }
        shouldStop.store(true, ordering: .releasing)
        wake.signal()
        return finished.wait(milliseconds: Int32(clamping: limit.millisecondsRoundedUp))
    }

    /// Lines lost so far, for want of room or because they could not be written.
    package var dropped: (access: Int, events: Int) {
        (accessBuffers.reduce(0) { $0 + $1.dropped }, eventBuffer.dropped + events.suppressed)
    }

    /// Adds `weir_log_lines_dropped_total`; a source for ``Telemetry/addSource(_:)``.
    package func append(to page: inout MetricsPage) {
        let dropped = dropped
        page.family("weir_log_lines_dropped_total", .counter, "Log lines lost: no room, too many, or not writable.")
        page.sample(["log": "access"], dropped.access)
        page.sample(["log": "events"], dropped.events)
    }

    private func run() {
        var idle = 0
        while true {
            let stops = shouldStop.load(ordering: .acquiring)
            if shouldReopen.exchange(false, ordering: .acquiringAndReleasing) { reopenSinks() }
            idle = drain() ? 0 : idle + 1
            if stops { break }
            if idle < Self.idleRounds {
                wake.wait(milliseconds: Self.intervalMilliseconds)
            } else if allowSleep() {
                wake.wait(milliseconds: -1)
                // The line that woke us gets company, unless we were woken to stop.
                if !shouldStop.load(ordering: .acquiring) { wake.wait(milliseconds: Self.intervalMilliseconds) }
                idle = 0
            }
        }
        finished.signal()
    }

    /// Every buffer must agree; one that holds a line is written first.
    private func allowSleep() -> Bool {
        var allowed = eventBuffer.allowSleep()
        for buffer in accessBuffers where allowed { allowed = buffer.allowSleep() }
        return allowed
    }

    /// Writes everything that waits. - Returns: whether there was anything.
    @discardableResult
    private func drain() -> Bool {
        sinks.withLock { sinks in
            var wroteAny = write(eventBuffer, isAccess: false, &sinks)
            for buffer in accessBuffers where write(buffer, isAccess: true, &sinks) { wroteAny = true }
            return wroteAny
        }
    }

    private func write(_ buffer: LineBuffer, isAccess: Bool, _ sinks: inout Sinks) -> Bool {
        _ = buffer.take(into: &sinks.lines)
        guard !sinks.lines.bytes.isEmpty else { return false }
        let (written, errno) = sinks.lines.bytes.withUnsafeBytes { bytes in
            isAccess ? sinks.access.write(bytes) : sinks.events.write(bytes)
        }
        if let errno {
            buffer.countDropped(Self.lines(in: sinks.lines.bytes, after: written))
            if isAccess {
                let reason = String(cString: strerror(errno))
                events.log(.error, "log_write_failed", "Access log lines could not be written: \(reason).")
            }
        }
        // The emptied buffer goes to the loop that is drained next; a burst's memory does not stay.
        let isBurst = sinks.lines.bytes.count > Self.keptBytes
        if isBurst { sinks.lines.bytes.release() } else { sinks.lines.bytes.removeAll() }
        return true
    }

    private func reopenSinks() {
        sinks.withLock { sinks in
            do throws(LogFileError) {
                try sinks.access.reopen()
                try sinks.events.reopen()
            } catch {
                events.log(.error, "log_reopen_failed", "The old log file stays in use: \(error).")
            }
        }
    }

    private static func lines(in writer: borrowing ByteWriter, after written: Int) -> Int {
        let bytes = writer.bytes
        var lines = 0
        for index in written..<bytes.count where bytes[index] == 0x0A { lines += 1 }
        return lines
    }
}
