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

    package var description: String { "\(operation): \(String(cString: strerror(code)))" }
}
