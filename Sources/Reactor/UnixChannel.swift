import CLinux
import GatewayCore
import Glibc

/// A blocking Unix socket on which two processes of ours exchange lines and open descriptors.
///
/// For threads of their own and for the start of a process: never on a loop.
/// - Owns: the descriptor, until ``close()``.
package struct UnixChannel: Sendable {
    /// Longest line that is read.
    package static let lineBytesMax = 1 << 20

    private let descriptor: Int32

    /// Who is at the other end, as the kernel knows it since the connection was made.
    package struct Peer: Equatable, Sendable {
        package let process: Int32
        package let user: UInt32
    }

    /// - Parameter timeout: for every later call that waits.
    package init(descriptor: Int32, timeout: Interval) {
        self.descriptor = descriptor
        var time = timeval(
            tv_sec: Int(timeout.nanoseconds / 1_000_000_000), tv_usec: Int(timeout.nanoseconds % 1_000_000_000 / 1_000))
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, size)
    }

    /// Connects to a listener at `path`.
    ///
    /// - Throws: `ENOENT` and `ECONNREFUSED` when nobody listens there, and what else the kernel says.
    package static func connect(to path: String, timeout: Interval) throws(SocketError) -> UnixChannel {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SocketError(errno, "socket") }
        let channel = UnixChannel(descriptor: descriptor, timeout: timeout)
        do throws(SocketError) {
            let result = try SocketAddress.unix(path).withRaw { Glibc.connect(descriptor, $0, $1) }
            guard result == 0 else { throw SocketError(errno, "connect to \(path)") }
        } catch {
            channel.close()
            throw error
        }
        return channel
    }

    /// Sends one datagram to the socket at `path`; one that begins with `@` is in the abstract namespace.
    package static func sendDatagram(_ text: String, to path: String) {
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { Glibc.close(descriptor) }
        var raw = sockaddr_un()
        raw.sun_family = sa_family_t(AF_UNIX)
        var name = Array(path.utf8)
        guard name.count < MemoryLayout.size(ofValue: raw.sun_path) else { return }
        if name.first == UInt8(ascii: "@") { name[0] = 0 }
        withUnsafeMutableBytes(of: &raw.sun_path) { $0.copyBytes(from: name) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
        let bytes = Array(text.utf8)
        withUnsafePointer(to: &raw) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), $0, length)
            }
        }
    }

    /// Waits for the next connection to a blocking listener. - Returns: nil when the listener is of no use any more.
    package static func accept(from listener: Int32, timeout: Interval) -> UnixChannel? {
        while true {
            let descriptor = weir_accept_blocking(listener)
            if descriptor >= 0 { return UnixChannel(descriptor: descriptor, timeout: timeout) }
            guard errno == EINTR || errno == ECONNABORTED else { return nil }
        }
    }

    package func close() { Glibc.close(descriptor) }

    package var peer: Peer? {
        var process: Int32 = 0
        var user: UInt32 = 0
        guard weir_peer(descriptor, &process, &user) == 0 else { return nil }
        return Peer(process: process, user: user)
    }

    // MARK: Lines

    /// Sends `text` and a line end. - Throws: what the kernel says; `EAGAIN` when the other side takes nothing.
    package func send(line text: String) throws(SocketError) {
        var bytes = Array((text + "\n").utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw SocketError(errno, "send") }
            bytes = bytes.dropFirst(count)
        }
    }

    /// The next line, without its end. Reads byte by byte, so that descriptors sent behind it stay where they are.
    ///
    /// - Returns: nil at the end of the connection, after the time-out, or when the line is too long.
    package func receiveLine() -> String? {
        var bytes: [UInt8] = []
        while bytes.count < Self.lineBytesMax {
            var byte: UInt8 = 0
            let count = recv(descriptor, &byte, 1, 0)
            if count < 0, errno == EINTR { continue }
            guard count == 1 else { return nil }
            if byte == UInt8(ascii: "\n") { return String(validating: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return nil
    }

    // MARK: Descriptors

    /// Sends descriptors, which stay open here too.
    package func send(descriptors: [Int32]) throws(SocketError) {
        var rest = descriptors[...]
        while !rest.isEmpty {
            let batch = Array(rest.prefix(Int(WEIR_DESCRIPTORS_MAX)))
            guard weir_send_descriptors(descriptor, batch, batch.count) == 0 else {
                throw SocketError(errno, "send descriptors")
            }
            rest = rest.dropFirst(batch.count)
        }
    }

    /// Takes `count` descriptors. - Throws: when fewer come; those that came are closed.
    package func receiveDescriptors(_ count: Int) throws(SocketError) -> [Int32] {
        var found: [Int32] = []
        while found.count < count {
            var batch = [Int32](repeating: -1, count: Int(WEIR_DESCRIPTORS_MAX))
            let came = weir_receive_descriptors(descriptor, &batch, batch.count)
            if came < 0, errno == EINTR { continue }
            guard came > 0 else {
                let code = came < 0 ? errno : ECONNRESET
                for each in found { Glibc.close(each) }
                throw SocketError(code, "receive descriptors")
            }
            found += batch[..<Int(came)]
        }
        return found
    }
}
