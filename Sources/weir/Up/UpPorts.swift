import GatewayServer
import Glibc
import Wire

/// The ports of a `weir up`: chosen at its first start, kept as long as they are free.
///
/// They lie below those that Linux gives to outgoing connections (32768 and up), so that nothing takes a replica's port
/// while it is being started again.
struct UpPorts: Equatable {
    var replicas: [UInt16] = []
    var metrics: UInt16 = 0

    private static let range: ClosedRange<UInt16> = 20_000...32_000
    private static let usualMetrics: UInt16 = 9901

    /// Those of the last start where they are still free, and new ones otherwise.
    ///
    /// - Throws: `.problem` when there is no free port.
    static func choose(count: Int, lastTime: [UInt8]?) throws(CommandFailure) -> UpPorts {
        let last = lastTime.flatMap { try? JSONValue.read($0.span) }
        var ports = UpPorts()
        var candidates = (last?["replicas"]?.array ?? []).compactMap { $0.int.flatMap { UInt16(exactly: $0) } }[...]
        while ports.replicas.count < count {
            ports.replicas.append(try free(candidates.popFirst()))
        }
        let metrics = last?["metrics"]?.int.flatMap { UInt16(exactly: $0) } ?? usualMetrics
        ports.metrics = try free(metrics)
        return ports
    }

    /// Any one that is free.
    static func any() throws(CommandFailure) -> UInt16 { try free(nil) }

    var text: String {
        var writer = ByteWriter()
        writer.append(
            json: .object([
                .init(name: "replicas", value: .array(replicas.map { .integer(Int($0)) })),
                .init(name: "metrics", value: .integer(Int(metrics))),
            ]))
        return writer.bytes.text + "\n"
    }

    /// `wanted` if it is free, else a random one. Bound: a thousand tries.
    private static func free(_ wanted: UInt16?) throws(CommandFailure) -> UInt16 {
        if let wanted, wanted > 0, isFree(wanted), claim(wanted) { return wanted }
        for _ in 0..<1_000 {
            let port = UInt16.random(in: range)
            if isFree(port), claim(port) { return port }
        }
        throw CommandFailure(.problem, "no free port between \(range.lowerBound) and \(range.upperBound)")
    }

    /// Takes the port for this `weir up`, once and until the process ends: nothing listens there for some seconds, in
    /// which another one may start.
    private static func claim(_ port: UInt16) -> Bool { HeldName.take("weir-up-port-\(port)") != nil }

    /// Whether nobody listens on the port of this IPv4 address; `address` in network order.
    static func isFree(_ port: UInt16, address: in_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        // Connections of an earlier run that are still being forgotten don't count.
        var on: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr = address
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
        } == 0 && listen(descriptor, 1) == 0
    }
}
