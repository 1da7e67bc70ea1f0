import Glibc

/// A name that one process of this machine can have at a time.
///
/// A Unix socket in the abstract namespace: it needs no file and ends with the process.
package enum HeldName {
    /// - Returns: a descriptor that holds the name as long as it is open; nil when somebody has it, or no descriptor is
    ///   left. The name counts up to its hundredth byte.
    package static func take(_ name: String) -> Int32? {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        var raw = sockaddr_un()
        raw.sun_family = sa_family_t(AF_UNIX)
        let name = Array(name.utf8.prefix(100))
        withUnsafeMutableBytes(of: &raw.sun_path) { path in
            path[0] = 0
            for (index, byte) in name.enumerated() { path[index + 1] = byte }
        }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + 1 + name.count)
        let result = withUnsafePointer(to: &raw) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        }
        guard result == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }
}
