import CLinux
import GatewayCore
import Glibc

/// Accepts connections on one address, for one loop.
///
/// With `SO_REUSEPORT` each loop has a listener of its own on the same address and the kernel spreads connections.
/// - Isolation: the loop's thread.
package final class Listener: EventSource {
    /// Connections accepted in one turn of the loop, so that a flood leaves others their turn.
    private static let acceptsPerTurn = 64
    /// Times that many are accepted at the end: the largest backlog that there can be.
    private static let turnsOfClosing = 1024
    /// Bytes that the kernel holds unsent for one connection. Without it that is megabytes for a client that reads
    /// nothing, and one that reads slowly frees so few of them that it seems to read nothing.
    private static let unsentBytesMax: Int32 = 128 << 10

    private let loop: EventLoop
    /// Takes over the descriptor of each new connection.
    private let onAccept: (Int32) -> Void
    private let timer: LoopTimer
    package private(set) var isPaused = false
    private var isClosed = false

    /// - Parameter descriptor: from ``open(_:backlog:sharesPort:)``.
    package init(on loop: EventLoop, descriptor: Int32, onAccept: @escaping (Int32) -> Void) throws(SocketError) {
        self.loop = loop
        self.onAccept = onAccept
        timer = LoopTimer(on: loop)
        super.init(descriptor: descriptor)
        try loop.add(self, edgeTriggered: false)
        timer.onFire { [unowned self] in resume() }
    }

    /// Binds and listens. Returns the descriptor.
    ///
    /// - Throws: `EADDRINUSE` and whatever else the kernel says, with the address in the text.
    package static func open(
        _ address: SocketAddress, backlog: Int32 = 4096, sharesPort: Bool
    ) throws(SocketError) -> Int32 {
        let descriptor = socket(
            address.family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SocketError(errno, "socket") }
        var on: Int32 = 1
        let size = socklen_t(MemoryLayout<Int32>.size)
        if case .unix(let path) = address.kind {
            unlink(path)
        } else {
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size)
            // Accepted sockets inherit it.
            var unsent = unsentBytesMax
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, &unsent, size)
            if sharesPort { setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, size) }
        }
        var bound: Int32 = -1
        do throws(SocketError) {
            bound = try address.withRaw { bind(descriptor, $0, $1) }
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        guard bound == 0, listen(descriptor, backlog) == 0 else {
            let error = SocketError(errno, "listen on \(address)")
            Glibc.close(descriptor)
            throw error
        }
        return descriptor
    }

    /// The port that the kernel chose, where the address asked for port 0.
    package static func port(of descriptor: Int32) -> UInt16 {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                getsockname(descriptor, raw, &size) == 0 ? SocketAddress(raw: raw)?.port ?? 0 : 0
            }
        }
    }

    /// For a listening socket that another process opened: how many connections may wait, as this one wants it.
    package static func adopt(_ descriptor: Int32, backlog: Int32) { listen(descriptor, backlog) }

    /// Stops accepting and closes the listening socket. Connections waiting in its queue are accepted first; there are
    /// at most as many as its backlog.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        var turns = 0
        while turns < Self.turnsOfClosing, acceptWaiting() { turns += 1 }
        leave()
    }

    /// Stops accepting and closes this process's descriptor. Another process has one too, so that the socket and the
    /// connections in its queue live on.
    package func handOver() {
        guard !isClosed else { return }
        isClosed = true
        leave()
    }

    private func leave() {
        timer.cancel()
        timer.onFire(nil)
        loop.pause(self)
        Glibc.close(descriptor)
    }

    override func ready(_ events: UInt32) { _ = acceptWaiting() }

    /// - Returns: whether more may be waiting.
    private func acceptWaiting() -> Bool {
        for _ in 0..<Self.acceptsPerTurn {
            let accepted = weir_accept(descriptor)
            if accepted >= 0 {
                onAccept(accepted)
                continue
            }
            switch errno {
            case EINTR, ECONNABORTED, EPROTO: continue
            case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                // Out of descriptors: the queue keeps the connections; look again when some may have been closed.
                isPaused = true
                loop.pause(self)
                timer.set(loop.now + .milliseconds(100))
                return false
            default: return false
            }
        }
        return true
    }

    private func resume() {
        guard !isClosed else { return }
        isPaused = false
        if (try? loop.add(self, edgeTriggered: false)) == nil { timer.set(loop.now + .milliseconds(100)) }
    }
}
