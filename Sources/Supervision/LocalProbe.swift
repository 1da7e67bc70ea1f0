import Glibc

/// Asks a process on this machine whether it can be used. Each question takes at most about 200 ms.
package enum LocalProbe {
    private static let waitMilliseconds: Int32 = 100

    /// Whether a GET of `path` on 127.0.0.1 is answered with 200.
    package static func answers(port: UInt16, path: String) -> Bool {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                exchange(
                    AF_INET, $0, size, "GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                    expecting: "HTTP/1.1 200")
            }
        }
    }

    /// Whether a redis-server on this socket answers a PING; one that still loads its data doesn't.
    package static func redisAnswers(socket path: String) -> Bool {
        guard var address = unixAddress(path) else { return false }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                exchange(AF_UNIX, $0, size, "PING\r\n", expecting: "+PONG")
            }
        }
    }

    /// `nil` when the path is longer than a socket's may be.
    static func unixAddress(_ path: String) -> sockaddr_un? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return address
    }

    private static func exchange(
        _ family: Int32, _ address: UnsafePointer<sockaddr>, _ size: socklen_t, _ request: String,
        expecting expected: String
    ) -> Bool {
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let descriptor = socket(family, kind, 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        if connect(descriptor, address, size) != 0 {
            guard errno == EINPROGRESS, wait(descriptor, for: POLLOUT) else { return false }
        }
        var request = request
        let sent = request.withUTF8 { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        guard sent == request.utf8.count else { return false }
        var reply: [UInt8] = []
        // The expected beginning comes in one piece, or in a few; never in more than its own number of bytes.
        while reply.count < expected.utf8.count, wait(descriptor, for: POLLIN) {
            var chunk = [UInt8](repeating: 0, count: 64)
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { return false }
            reply += chunk[0..<count]
        }
        return reply.starts(with: expected.utf8)
    }

    private static func wait(_ descriptor: Int32, for event: Int32) -> Bool {
        var poller = pollfd(fd: descriptor, events: Int16(event), revents: 0)
        return poll(&poller, 1, waitMilliseconds) > 0
    }
}
