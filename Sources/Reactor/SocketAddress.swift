import CLinux
import Glibc

/// Where a socket listens or connects: IPv4, IPv6 or a Unix path. Resolved once, then copied.
package struct SocketAddress: Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        case v4(UInt32)  // network byte order
        case v6([UInt8], scope: UInt32)
        case unix(String)
    }
    package let kind: Kind
    package var port: UInt16

    package init(_ kind: Kind, port: UInt16 = 0) {
        self.kind = kind
        self.port = port
    }

    package static func unix(_ path: String) -> SocketAddress { SocketAddress(.unix(path)) }
    package static func loopback(port: UInt16) -> SocketAddress {
        SocketAddress(.v4(UInt32(0x7F00_0001).bigEndian), port: port)
    }

    /// All addresses of `host`. Blocks while the resolver works: never call it on a loop.
    package static func resolve(host: String, port: UInt16) throws(SocketError) -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var list: UnsafeMutablePointer<addrinfo>?
        var result = getaddrinfo(host, nil, &hints, &list)
        if result != 0 {
            hints.ai_flags = AI_NUMERICHOST
            result = getaddrinfo(host, nil, &hints, &list)
        }
        guard result == 0 else { throw SocketError(result == EAI_SYSTEM ? errno : ENOENT, "resolve \(host)") }
        defer { freeaddrinfo(list) }
        var found: [SocketAddress] = []
        var next = list
        while let entry = next {
            if let address = entry.pointee.ai_addr.flatMap({ SocketAddress(raw: $0) }) {
                found.append(SocketAddress(address.kind, port: port))
            }
            next = entry.pointee.ai_next
        }
        return found
    }

    init?(raw: UnsafePointer<sockaddr>) {
        switch Int32(raw.pointee.sa_family) {
        case AF_INET:
            self = raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                SocketAddress(.v4($0.pointee.sin_addr.s_addr), port: UInt16(bigEndian: $0.pointee.sin_port))
            }
        case AF_INET6:
            self = raw.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { pointer in
                let bytes = withUnsafeBytes(of: pointer.pointee.sin6_addr) { Array($0) }
                return SocketAddress(
                    .v6(bytes, scope: pointer.pointee.sin6_scope_id),
                    port: UInt16(bigEndian: pointer.pointee.sin6_port))
            }
        case AF_UNIX: self = SocketAddress(.unix(""))
        default: return nil
        }
    }

    var family: Int32 {
        switch kind {
        case .v4: AF_INET
        case .v6: AF_INET6
        case .unix: AF_UNIX
        }
    }

    /// Calls `body` with the address as the kernel wants it.
    func withRaw<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) throws(SocketError) -> Result {
        switch kind {
        case .v4(let address):
            var raw = sockaddr_in()
            raw.sin_family = sa_family_t(AF_INET)
            raw.sin_port = port.bigEndian
            raw.sin_addr.s_addr = address
            return Self.rebound(&raw, body)
        case .v6(let bytes, let scope):
            var raw = sockaddr_in6()
            raw.sin6_family = sa_family_t(AF_INET6)
            raw.sin6_port = port.bigEndian
            raw.sin6_scope_id = scope
            withUnsafeMutableBytes(of: &raw.sin6_addr) { $0.copyBytes(from: bytes) }
            return Self.rebound(&raw, body)
        case .unix(let path):
            var raw = sockaddr_un()
            raw.sun_family = sa_family_t(AF_UNIX)
            let bytes = Array(path.utf8)
            guard bytes.count < MemoryLayout.size(ofValue: raw.sun_path) else {
                throw SocketError(ENAMETOOLONG, "socket path \(path)")
            }
            withUnsafeMutableBytes(of: &raw.sun_path) { $0.copyBytes(from: bytes) }
            return Self.rebound(&raw, body)
        }
    }

    private static func rebound<Raw, Result>(
        _ raw: inout Raw, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        withUnsafePointer(to: &raw) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<Raw>.size)) }
        }
    }
}

extension SocketAddress: CustomStringConvertible {
    /// The address without its port, as logs show it.
    package var host: String {
        switch kind {
        case .unix(let path): return path.isEmpty ? "unix" : path
        case .v4(let address): return Self.dotted(address)
        case .v6(let bytes, _):
            var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
            _ = bytes.withUnsafeBytes { inet_ntop(AF_INET6, $0.baseAddress, &text, socklen_t(text.count)) }
            return text.withUnsafeBufferPointer { String(cString: $0.baseAddress.unsafelyUnwrapped) }
        }
    }

    /// So short that it takes no memory of its own: each connection has one.
    private static func dotted(_ address: UInt32) -> String {
        String(unsafeUninitializedCapacity: 15) { text in
            var count = 0
            func put(_ byte: UInt8) {
                text[count] = byte
                count += 1
            }
            withUnsafeBytes(of: address) { octets in
                for octet in octets {
                    if count > 0 { put(UInt8(ascii: ".")) }
                    if octet >= 100 { put(UInt8(ascii: "0") + octet / 100) }
                    if octet >= 10 { put(UInt8(ascii: "0") + octet / 10 % 10) }
                    put(UInt8(ascii: "0") + octet % 10)
                }
            }
            return count
        }
    }

    package var description: String {
        switch kind {
        case .unix(let path): "unix:\(path)"
        case .v4: "\(host):\(port)"
        case .v6: "[\(host)]:\(port)"
        }
    }
}

extension SocketAddress {
    /// 4 or 16 bytes in network order; an IPv4 address inside IPv6 counts as IPv4. Nil for Unix sockets.
    package var bytes: [UInt8]? {
        switch kind {
        case .v4(let address): withUnsafeBytes(of: address) { Array($0) }
        case .v6(let bytes, _):
            bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
                ? Array(bytes[12...]) : bytes
        case .unix: nil
        }
    }

    /// The address in `text`, if it is one: no name is looked up.
    package init?(literal text: String, port: UInt16 = 0) {
        var v4 = in_addr()
        if inet_pton(AF_INET, text, &v4) == 1 {
            self.init(.v4(v4.s_addr), port: port)
            return
        }
        var v6 = in6_addr()
        guard inet_pton(AF_INET6, text, &v6) == 1 else { return nil }
        self.init(.v6(withUnsafeBytes(of: v6) { Array($0) }, scope: 0), port: port)
    }
}
