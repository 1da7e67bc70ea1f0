import GatewayConfig
import Glibc

/// Keeps a second gateway off the same address: with `SO_REUSEPORT` the kernel would give both a share.
///
/// A Unix socket in the abstract namespace: it needs no file and ends with the process.
struct ListenLock {
    /// -1 for none.
    private let descriptor: Int32
    /// For the process that takes over; nil for none.
    var shared: Int32? { descriptor < 0 ? nil : descriptor }

    /// The lock of the process before.
    init(inherited: Int32) { descriptor = inherited }

    /// - Throws: ``StartProblem`` when another gateway of this user or any other holds the address.
    init(_ address: HostPort) throws {
        guard address.port != 0 else {
            descriptor = -1
            return
        }
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw StartProblem("no descriptor left for the lock of \(address.host)") }
        var raw = sockaddr_un()
        raw.sun_family = sa_family_t(AF_UNIX)
        let name = Array("weir-listen-\(address.host):\(address.port)".utf8.prefix(100))
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
            throw StartProblem("another weir listens on \(address.host):\(address.port) already")
        }
    }

    func release() { if descriptor >= 0 { close(descriptor) } }
}
