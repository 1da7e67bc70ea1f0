import Glibc

/// A signal between threads that `poll` can wait for: set until ``clear()``.
///
/// - Owns: a pair of sockets, closed at the end.
final class Latch: Sendable {
    /// Readable while the latch is set.
    let descriptor: Int32
    private let writeEnd: Int32

    init() {
        (descriptor, writeEnd) = socketPair()
        _ = setFlags(descriptor)
        _ = setFlags(writeEnd)
    }

    deinit {
        close(descriptor)
        close(writeEnd)
    }

    /// Never blocks: a full socket says the same.
    func set() {
        var byte: UInt8 = 1
        _ = send(writeEnd, &byte, 1, Int32(MSG_NOSIGNAL))
    }

    func clear() {
        var bytes: UInt64 = 0
        // Ends when the socket is empty: its buffer is bounded.
        while read(descriptor, &bytes, 8) > 0 {}
    }

    /// Whether it is set now or gets set within `milliseconds`; -1 waits as long as it takes.
    func wait(milliseconds: Int32) -> Bool {
        var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        while true {
            let result = poll(&poller, 1, milliseconds)
            if result >= 0 || errno != EINTR { return result > 0 }
        }
    }

    private func setFlags(_ end: Int32) -> Int32 { fcntl(end, F_SETFL, O_NONBLOCK) }
}

/// Two connected sockets that no child inherits. A pipe's flags could only be set after a child may have.
func socketPair() -> (Int32, Int32) {
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    let result = socketpair(AF_UNIX, kind, 0, &ends)
    precondition(result == 0, "no descriptor left to watch a child process")
    return (ends[0], ends[1])
}

func errorText(_ number: Int32) -> String { String(cString: strerror(number)) }
