#if Engine
import Glibc
import Testing
import Wire

/// The real `weir-replica` of this build, on a port that the kernel chose.
final class ReplicaProcess {
    let pid: pid_t
    private(set) var port: UInt16 = 0

    /// Starts it and waits for the line that says where it listens.
    init(model: String = TinyModel.file, _ options: [String] = []) throws {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw Problem("pipe") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        posix_spawn_file_actions_addclose(&actions, ends[1])
        let arguments = [Self.executable, "--model", model, "--port", "0"] + options
        let strings = arguments.map { strdup($0) }
        defer { for string in strings { free(string) } }
        var started: pid_t = 0
        let code = posix_spawn(&started, Self.executable, &actions, nil, strings + [nil], environ)
        close(ends[1])
        defer { close(ends[0]) }
        guard code == 0 else { throw Problem("cannot start \(Self.executable)") }
        pid = started
        var line = ""
        var byte: UInt8 = 0
        while read(ends[0], &byte, 1) == 1, byte != UInt8(ascii: "\n") { line.append(Character(Unicode.Scalar(byte))) }
        guard let found = line.split(separator: ":").last.flatMap({ UInt16($0) }) else {
            throw Problem("the replica said '\(line)'")
        }
        port = found
    }

    deinit {
        kill(pid, SIGKILL)
        _ = waitForEnd()
    }

    /// Beside the test's own executable.
    private static var executable: String {
        var path = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &path, path.count)
        let own = String(decoding: path.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let folder = own.split(separator: "/").dropLast().reduce(into: "") { $0 += "/" + $1 }
        let beside = folder + "/weir-replica"
        if access(beside, X_OK) == 0 { return beside }
        // A test helper of the toolchain runs the tests; the build's folder is in its arguments.
        for argument in CommandLine.arguments where argument.contains(".xctest") {
            let folder = argument.split(separator: "/").prefix { !$0.contains(".xctest") }
            return folder.reduce(into: "") { $0 += "/" + $1 } + "/weir-replica"
        }
        return beside
    }

    /// Waits until the model is loaded.
    func ready() throws -> ReplicaProcess {
        for _ in 0..<1_000 {
            if try get("/health").status == 200 { return self }
            usleep(10_000)
        }
        throw Problem("never ready")
    }

    func signal(_ number: Int32) { kill(pid, number) }

    /// The exit status; the negated signal if one ended it; `nil` if it was waited for before.
    func waitForEnd() -> Int32? {
        var status: Int32 = 0
        guard waitpid(pid, &status, 0) == pid else { return nil }
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : -(status & 0x7F)
    }

    struct Problem: Error {
        let what: String
        init(_ what: String) { self.what = what }
    }

    struct Reply {
        var status: Int
        var head: String
        var body: String

        var json: JSONValue { get throws { try JSONValue.read(body) } }
        /// The data of each event of a stream, in order.
        var events: [String] {
            body.split(separator: "\n\n").filter { $0.hasPrefix("data: ") }.map { String($0.dropFirst(6)) }
        }
    }

    func get(_ path: String) throws -> Reply {
        try Exchange(port, "GET \(path) HTTP/1.0\r\n\r\n").reply()
    }

    func post(_ path: String, _ body: String) throws -> Reply {
        try begin(path, body).reply()
    }

    /// Sends a request whose reply is read later. HTTP/1.0, so that the reply ends with the connection and has no
    /// chunks.
    func begin(_ path: String, _ body: String) throws -> Exchange {
        try Exchange(port, "POST \(path) HTTP/1.0\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)")
    }
}

/// One request on one connection.
final class Exchange {
    private let descriptor: Int32
    private(set) var received: [UInt8] = []

    init(_ port: UInt16, _ request: String) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else {
            close(descriptor)
            throw ReplicaProcess.Problem("cannot connect")
        }
        var request = request
        request.withUTF8 { _ = send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    }

    deinit { close(descriptor) }

    /// Reads until `text` has come. - Out: false if the connection ended before.
    func wait(for text: String) -> Bool {
        while !String(decoding: received, as: UTF8.self).contains(text) {
            guard receive() else { return false }
        }
        return true
    }

    func reply() throws -> ReplicaProcess.Reply {
        while receive() {}
        let text = String(decoding: received, as: UTF8.self)
        let lines = text.split(separator: "\r\n", maxSplits: 1, omittingEmptySubsequences: false)
        let words = lines.first?.split(separator: " ") ?? []
        guard words.count >= 2, let status = Int(words[1]) else {
            throw ReplicaProcess.Problem("no reply: '\(text)'")
        }
        var head: [Substring] = []
        var body = ""
        var isHead = true
        for line in text.split(separator: "\r\n", omittingEmptySubsequences: false) {
            if isHead, line.isEmpty { isHead = false } else if isHead { head.append(line) } else { body += line }
        }
        return ReplicaProcess.Reply(status: status, head: head.joined(separator: "\n"), body: body)
    }

    private func receive() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return false }
        received += buffer[..<count]
        return true
    }
}
#endif
