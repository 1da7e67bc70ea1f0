import Glibc

/// Where lines of one kind go.
package enum LogDestination: Equatable, Sendable {
    case off
    case standardOutput
    case standardError
    /// Appended to; made with mode 0640 if it isn't there. Its folder must be.
    case file(String)
}

/// A log file could not be opened.
package struct LogFileError: Error, Equatable, Sendable, CustomStringConvertible {
    package let path: String
    package let errno: Int32

    package var description: String { "can't open the log file \(path): \(String(cString: strerror(errno)))" }
}

/// An open ``LogDestination``. Used by one thread at a time.
///
/// - Owns: the file's descriptor, closed at the end; never the standard ones.
struct LogSink: ~Copyable {
    private let destination: LogDestination
    private var descriptor: Int32

    init(_ destination: LogDestination) throws(LogFileError) {
        self.destination = destination
        descriptor =
            switch destination {
            case .off: -1
            case .standardOutput: STDOUT_FILENO
            case .standardError: STDERR_FILENO
            case .file(let path): try Self.open(path)
            }
    }

    deinit { if case .file = destination { close(descriptor) } }

    /// Opens the file's path again, so that a renamed file is let go. If that fails, the old file stays in use.
    mutating func reopen() throws(LogFileError) {
        guard case .file(let path) = destination else { return }
        let fresh = try Self.open(path)
        close(descriptor)
        descriptor = fresh
    }

    /// Writes all bytes, waiting at most a second for a pipe or terminal that takes none.
    /// - Returns: how many bytes were written, and the error that ended it early, if one did.
    func write(_ bytes: UnsafeRawBufferPointer) -> (written: Int, errno: Int32?) {
        guard descriptor >= 0, let base = bytes.baseAddress else { return (bytes.count, nil) }
        var written = 0
        while written < bytes.count {
            let result = Glibc.write(descriptor, base + written, min(bytes.count - written, LineBuffer.fullPiece))
            if result > 0 {
                written += result
            } else if result < 0, errno == EINTR {
                continue
            } else if result < 0, errno == EAGAIN {
                var poller = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                if poll(&poller, 1, 1000) <= 0 { return (written, EAGAIN) }
            } else {
                return (written, result < 0 ? errno : EIO)
            }
        }
        return (written, nil)
    }

    private static func open(_ path: String) throws(LogFileError) -> Int32 {
        let descriptor = Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw LogFileError(path: path, errno: errno) }
        return descriptor
    }
}
