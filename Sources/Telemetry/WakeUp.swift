import Glibc

/// Wakes a thread that waits. Signals before a wait count as one.
///
/// - Owns: a pair of sockets, closed at the end.
final class WakeUp: Sendable {
    private let readEnd: Int32
    private let writeEnd: Int32

    init() {
        var ends: InlineArray<2, Int32> = [-1, -1]
        var storage = ends.mutableSpan
        // Not a pipe: its flags could only be set after a child may have inherited it.
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let result = storage.withUnsafeMutableBufferPointer { socketpair(AF_UNIX, kind, 0, $0.baseAddress) }
        precondition(result == 0, "no descriptor left for the log writer")
        readEnd = ends[0]
        writeEnd = ends[1]
    }

    deinit {
        close(readEnd)
        close(writeEnd)
    }

    /// Never blocks: a full socket has a signal in it already.
    func signal() {
        var byte: UInt8 = 1
        _ = send(writeEnd, &byte, 1, Int32(MSG_NOSIGNAL))
    }

    /// Returns after a signal (consuming it) or after `milliseconds`; -1 waits as long as it takes.
    /// - Returns: whether there was a signal.
    @discardableResult
    func wait(milliseconds: Int32) -> Bool {
        var poller = pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0)
        while poll(&poller, 1, milliseconds) < 0, errno == EINTR {}
        var wasSignalled = false
        var byte: UInt64 = 0
        // Ends when the socket is empty: its buffer is bounded.
        while read(readEnd, &byte, 8) > 0 { wasSignalled = true }
        return wasSignalled
    }
}
