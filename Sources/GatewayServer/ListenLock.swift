import GatewayConfig
import Glibc

/// Keeps a second gateway off the same address: with `SO_REUSEPORT` the kernel would give both a share.
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
        guard let held = HeldName.take("weir-listen-\(address.host):\(address.port)") else {
            throw StartProblem("another weir listens on \(address.host):\(address.port) already")
        }
        descriptor = held
    }

    func release() { if descriptor >= 0 { close(descriptor) } }
}
