import GatewayCore
import Synchronization
import Wire

/// Lines that wait for the ``LogWriter``, in bounded memory: what does not fit is dropped and counted.
///
/// One per loop, so that no two loops meet at it; the writer takes all lines at once by exchanging two buffers.
/// - Cost: an append is an uncontended lock and the formatting itself; a system call only to wake a sleeping writer or
///   once per `fullPiece` bytes.
/// - Isolation: any thread; the lock is held while one line is formatted or two buffers are exchanged.
package final class LineBuffer: Sendable {
    /// What one append did to the buffer.
    private enum Effect { case quiet, shouldWake }

    struct State: ~Copyable {
        var lines = ByteWriter()
        var lineCount = 0
        var timestamp = TimestampText()
        var dropped = 0
        /// The writer sleeps until told: the next line wakes it.
        var writerSleeps = true
        var askedForWrite = false
    }

    /// With so many bytes the writer is asked to write, be its time come or not. Files take pieces of this size at the
    /// least cost: a few times less than half a megabyte at once (ext4, Linux 6.18), and the memory stays in the cache.
    static let fullPiece = 64 << 10

    /// Bytes of lines that may wait. Lines are dropped above it.
    package let bytesMax: Int
    private let state: Mutex<State>
    private let wake: WakeUp

    init(bytesMax: Int, wake: WakeUp) {
        self.bytesMax = bytesMax
        self.wake = wake
        state = Mutex(State())
    }

    /// Appends what `format` writes: one or more whole lines, each with its line feed, 16 KiB at most.
    package func append(_ format: (inout ByteWriter, inout TimestampText) -> Void) { add(format) }

    /// Appends the access line of `record`. The parameters are ``AccessRecord``'s: passed one by one and to no closure,
    /// so that nobody counts references to them.
    package func append(
        _ record: AccessRecord, requestID: Span<UInt8>, principal: Span<UInt8>, request: LogText, fallback: LogText?,
        replica: LogText, client: Span<UInt8>
    ) {
        add { lines, timestamp in
            record.append(
                to: &lines, timestamp: &timestamp, requestID: requestID, principal: principal, request: request,
                fallback: fallback, replica: replica, client: client)
        }
    }

    @inline(__always)
    private func add(_ format: (inout ByteWriter, inout TimestampText) -> Void) {
        let effect = state.withLock { state -> Effect in
            if state.lines.count >= bytesMax {
                state.dropped += 1
                return .quiet
            }
            let before = state.lines.count
            format(&state.lines, &state.timestamp)
            if state.lines.count > bytesMax {
                state.lines.truncate(to: before)
                state.dropped += 1
                return .quiet
            }
            state.lineCount += 1
            if state.writerSleeps {
                state.writerSleeps = false
                return .shouldWake
            }
            if !state.askedForWrite, state.lines.count > min(Self.fullPiece, bytesMax / 2) {
                state.askedForWrite = true
                return .shouldWake
            }
            return .quiet
        }
        if case .shouldWake = effect { wake.signal() }
    }

    /// Lines that were lost, for want of room or because they could not be written.
    package var dropped: Int { state.withLock { $0.dropped } }

    /// Exchanges the waiting lines with `empty` and says how many there are.
    func take(into empty: inout OwnedLines) -> Int {
        state.withLock { state in
            swap(&state.lines, &empty.bytes)
            let count = state.lineCount
            state.lineCount = 0
            state.askedForWrite = false
            state.writerSleeps = false
            return count
        }
    }

    /// Says that the writer will sleep until woken, unless a line is waiting already.
    func allowSleep() -> Bool {
        state.withLock { state in
            state.writerSleeps = state.lines.isEmpty
            return state.writerSleeps
        }
    }

    var isWriterAsleep: Bool { state.withLock { $0.writerSleeps } }

    func countDropped(_ lines: Int) { state.withLock { $0.dropped += lines } }
}

/// A ``ByteWriter`` that may move from a lock's inside to the writer's thread.
struct OwnedLines: ~Copyable, @unchecked Sendable {
    // Sendable: the writer owns its memory alone and can't be copied, so whoever holds this value is the only user.
    var bytes = ByteWriter()
}
