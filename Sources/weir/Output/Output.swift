import Glibc

/// Where text goes: results to standard output, everything else to standard error.
enum Output {
    /// One line, or several, on standard output.
    static func line(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }

    /// A document as it came, with a line end.
    static func document(_ bytes: [UInt8]) {
        write(bytes.last == UInt8(ascii: "\n") ? bytes : bytes + [UInt8(ascii: "\n")], to: STDOUT_FILENO)
    }

    /// `weir: message` on standard error.
    static func complain(_ message: String) { write("weir: \(message)\n", to: STDERR_FILENO) }

    /// A line on standard error that is no complaint.
    static func note(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    private static func write(_ text: String, to descriptor: Int32) { write(Array(text.utf8), to: descriptor) }

    /// Unbuffered, so that a reader sees a line when it is said. A reader that left ends the output, not the command.
    private static func write(_ bytes: [UInt8], to descriptor: Int32) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
