import Glibc

/// The variables that this process was started with.
enum Environment {
    /// Longest environment that is read. Source: execve(2), which allows at most 6 MiB for it and the arguments.
    static let bytesMax = 6 << 20

    /// Without those whose names or values are not UTF-8. Source: proc(5), `/proc/pid/environ`.
    ///
    /// Read from the kernel, because `environ` is a global variable that any thread may change.
    static var current: [String: String] {
        let descriptor = open("/proc/self/environ", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [:] }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while bytes.count < bytesMax {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        var variables: [String: String] = [:]
        for pair in bytes.split(separator: 0) {
            guard let equals = pair.firstIndex(of: UInt8(ascii: "=")),
                let name = String(validating: pair[..<equals], as: UTF8.self),
                let value = String(validating: pair[(equals + 1)...], as: UTF8.self)
            else { continue }
            variables[name] = value
        }
        return variables
    }
}
