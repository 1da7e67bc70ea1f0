import Glibc

/// A system call on a socket failed.
package struct SocketError: Error, Equatable, Sendable, CustomStringConvertible {
    package let code: Int32
    /// The call, for the log.
    package let operation: String

    package init(_ code: Int32, _ operation: String) {
        self.code = code
        self.operation = operation
    }

    /// A broken protocol is told by the operation; the kernel's words for it would add nothing.
    package var description: String {
        code == EPROTO ? operation : "\(operation): \(String(cString: strerror(code)))"
    }
}
