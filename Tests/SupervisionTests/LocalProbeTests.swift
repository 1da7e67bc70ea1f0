import Glibc
import Testing

@testable import Supervision

@Suite struct LocalProbeTests {
    /// Listens on a port that the kernel chose and answers one connection with `reply`.
    private func port(answering reply: String?) throws -> UInt16 {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let named = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 1) == 0 && getsockname(listener, $0, &size) == 0
            }
        }
        try #require(named)
        detachThread {
            let connection = accept(listener, nil, nil)
            close(listener)
            var request = [UInt8](repeating: 0, count: 512)
            _ = recv(connection, &request, request.count, 0)
            if var reply { reply.withUTF8 { _ = send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) } }
            close(connection)
        }
        return UInt16(bigEndian: address.sin_port)
    }

    @Test func `only a 200 counts`() throws {
        #expect(LocalProbe.answers(port: try port(answering: "HTTP/1.1 200 OK\r\n\r\n"), path: "/health"))
        #expect(!LocalProbe.answers(port: try port(answering: "HTTP/1.1 503 Loading\r\n\r\n"), path: "/health"))
        #expect(!LocalProbe.answers(port: try port(answering: "HTTP/1.1"), path: "/health"))
        #expect(!LocalProbe.answers(port: try port(answering: nil), path: "/health"))
    }

    @Test func `a socket that isn't there does not answer`() throws {
        let scratch = try Scratch()
        #expect(!LocalProbe.redisAnswers(socket: scratch.path("none")))
        #expect(!LocalProbe.redisAnswers(socket: "/" + String(repeating: "x", count: 200)))
    }
}
