import Glibc
import Reactor
import Testing

/// Addresses as logs show them.
@Suite struct SocketAddressTests {
    @Test func `an address of four octets is written as the C library writes it`() {
        for octet in UInt32(0)...255 {
            let address = (octet << 24 | (255 - octet) << 16 | octet / 3 << 8 | octet ^ 0x5A).bigEndian
            var text = [CChar](repeating: 0, count: Int(INET_ADDRSTRLEN))
            var raw = in_addr(s_addr: address)
            _ = inet_ntop(AF_INET, &raw, &text, socklen_t(text.count))
            let expected = text.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
            #expect(SocketAddress(.v4(address)).host == expected)
        }
    }

    @Test func `an address in figures is read and written alike`() {
        for text in ["0.0.0.0", "127.0.0.1", "255.255.255.255", "10.20.30.4", "::1", "fd00::a:1", "2001:db8::7"] {
            #expect(SocketAddress(literal: text, port: 80)?.host == text)
        }
        #expect(SocketAddress(literal: "10.0.0.1", port: 80)?.description == "10.0.0.1:80")
        #expect(SocketAddress(literal: "::1", port: 80)?.description == "[::1]:80")
        #expect(SocketAddress(literal: "replica.test") == nil)
    }
}
