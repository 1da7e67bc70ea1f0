import Glibc
import Synchronization

/// A real `redis-server` on a Unix socket in a directory of its own, for one test or one suite.
///
/// It keeps nothing on disk. It is ended, by its process id, when the last reference goes, or with the test process.
public final class RedisServer: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    /// Where it listens.
    public let socketPath: String
    private let directory: String
    private let arguments: [String]
    private let process: Mutex<pid_t>

    /// Starts a server and waits until it answers.
    ///
    /// - Parameter options: more of `redis.conf`, such as `["--requirepass", "secret"]`.
    public init(options: [String] = []) throws {
        var template = Array("/tmp/weir-redis-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(description: "no temporary directory") }
        directory = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        socketPath = directory + "/redis.sock"
        arguments =
            [
                "redis-server", "--port", "0", "--unixsocket", socketPath, "--dir", directory, "--save", "",
                "--appendonly", "no", "--daemonize", "no", "--logfile", directory + "/log",
                "--enable-debug-command", "yes",
            ] + options
        process = Mutex(0)
        Self.remains.withLock { remains in
            if remains.isEmpty { atexit { RedisServer.removeAll() } }
            remains[directory] = 0
        }
        try start()
    }

    deinit {
        kill()
        _ = Self.remains.withLock { $0.removeValue(forKey: directory) }
        Self.remove(directory)
    }

    /// Starts it again, empty, after ``kill()``.
    public func start() throws {
        unlink(socketPath)
        var child = pid_t()
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
        pointers.append(nil)
        defer { for pointer in pointers { free(pointer) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] {
            posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
        }
        let result = posix_spawnp(&child, "redis-server", &actions, nil, pointers, environ)
        guard result == 0 else { throw Failure(description: "redis-server: \(String(cString: strerror(result)))") }
        let started = child
        process.withLock { $0 = started }
        Self.remains.withLock { $0[directory] = started }
        try waitUntilReady()
    }

    /// Ends it as a crash would.
    public func kill() {
        let child = process.withLock { child in
            defer { child = 0 }
            return child
        }
        guard child > 0 else { return }
        Self.remains.withLock { $0[directory] = 0 }
        Glibc.kill(child, SIGKILL)
        waitpid(child, nil, 0)
    }

    /// Stops it where it is: connections stay open, nothing is answered.
    public func pause() { process.withLock { _ = Glibc.kill($0, SIGSTOP) } }

    /// Ends ``pause()``.
    public func resume() { process.withLock { _ = Glibc.kill($0, SIGCONT) } }

    /// What to clean up when the process ends: directories, and the server that runs in each (0 for none).
    private static let remains = Mutex<[String: pid_t]>([:])

    private static func removeAll() {
        remains.withLock { remains in
            for (directory, child) in remains {
                if child > 0 {
                    Glibc.kill(child, SIGKILL)
                    waitpid(child, nil, 0)
                }
                remove(directory)
            }
        }
    }

    private static func remove(_ directory: String) {
        unlink(directory + "/log")
        unlink(directory + "/redis.sock")
        rmdir(directory)
    }

    /// At most ten seconds.
    private func waitUntilReady() throws {
        for _ in 0..<1_000 {
            if answers() { return }
            usleep(10_000)
        }
        kill()
        throw Failure(description: "redis-server did not answer")
    }

    /// Any reply will do: with a password set, PING is refused.
    private func answers() -> Bool {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: socketPath.utf8) }
        let connected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard connected == 0, send(descriptor, "PING\r\n", 6, Int32(MSG_NOSIGNAL)) == 6 else { return false }
        var first: UInt8 = 0
        return recv(descriptor, &first, 1, 0) == 1
    }
}
