import GatewayConfig
import Glibc

/// The folder that a `weir up` lives in: what makes a second start the same as the first.
///
///     up.lock          held while it runs
///     ports            the ports of its replicas and of its metrics page
///     weir.yaml        the configuration, written at every start
///     admin.sock       the gateway's admin socket
///     up.sock          where the gateway asks for the restart of a replica
///     redis/           the private redis-server's data
///     logs/            one file for each process, and the access log
struct UpState {
    /// A log larger than this is set aside at the next start; one older log is kept.
    static let logBytesMax = 16 << 20

    let directory: String
    private let lock: Int32

    /// Makes the folder if needed and takes its lock, which ends with the process.
    ///
    /// - Throws: `.problem` when another `weir up` has it or it can't be made.
    init(directory: String) throws(CommandFailure) {
        self.directory = directory
        let socket = "\(directory)/redis/redis.sock"
        guard socket.utf8.count <= AdminSocket.pathBytesMax else {
            throw CommandFailure(
                .problem,
                "the path \(directory) is too long for the sockets in it; name a shorter one with --state DIR")
        }
        try Self.makeFolder(directory)
        try Self.makeFolder("\(directory)/logs")
        lock = try Self.take("\(directory)/up.lock", of: directory)
    }

    /// As given, or `up` in the state directory; always absolute.
    static func directory(given: String?, _ environment: [String: String]) -> String {
        guard let given else { return GatewaySettings.stateDirectory(environment) + "/up" }
        guard !given.hasPrefix("/"), let here = getcwd(nil, 0) else { return given }
        defer { free(here) }
        return String(cString: here) + "/" + given
    }

    var configFile: String { "\(directory)/weir.yaml" }
    var portsFile: String { "\(directory)/ports" }
    var adminSocket: String { "\(directory)/admin.sock" }
    var supervisorSocket: String { "\(directory)/up.sock" }
    var redisDirectory: String { "\(directory)/redis" }
    func log(_ name: String) -> String { "\(directory)/logs/\(name).log" }

    /// Sets large logs aside, so that they don't grow for ever.
    func setAsideLogs(_ names: [String]) {
        for name in names {
            var facts = stat()
            if stat(log(name), &facts) == 0, facts.st_size > Self.logBytesMax { rename(log(name), log(name) + ".1") }
        }
    }

    /// Replaces the file at once: whoever reads it sees the old one or the new one.
    static func write(_ text: String, to path: String) throws(CommandFailure) {
        let draft = path + ".new"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw problem("write", draft) }
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                close(descriptor)
                throw problem("write", draft)
            }
            bytes = bytes.dropFirst(count)
        }
        close(descriptor)
        guard rename(draft, path) == 0 else { throw problem("write", path) }
    }

    /// A file of ours, at most 64 KiB; `nil` if there is none.
    static func read(_ path: String) -> [UInt8]? { try? SecretFile.read(path) }

    /// The last ten lines of a log, or what there is of them in its last 4 KiB.
    static func end(of log: String) -> String {
        let descriptor = open(log, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4 << 10)
        if lseek(descriptor, -bytes.count, SEEK_END) < 0 { lseek(descriptor, 0, SEEK_SET) }
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        let lines = String(decoding: bytes[..<max(0, count)], as: UTF8.self).split(separator: "\n").suffix(10)
        return lines.map { "  " + OutputTable.printable(String($0)) }.joined(separator: "\n") + "\n  (\(log))"
    }

    private static func makeFolder(_ path: String) throws(CommandFailure) {
        var made = ""
        for part in path.split(separator: "/", omittingEmptySubsequences: false) {
            made += part + "/"
            if made != "/", mkdir(made, 0o700) != 0, errno != EEXIST { throw problem("make", path) }
        }
    }

    private static func take(_ path: String, of directory: String) throws(CommandFailure) -> Int32 {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw problem("open", path) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let holder = read(path).map { " (process \(String(decoding: $0, as: UTF8.self)))" } ?? ""
            close(descriptor)
            throw CommandFailure(
                .problem,
                "another weir up\(holder) runs in \(directory); end it, or name another folder with --state DIR")
        }
        ftruncate(descriptor, 0)
        let text = Array("\(getpid())\n".utf8)
        _ = Glibc.write(descriptor, text, text.count)
        return descriptor
    }

    private static func problem(_ verb: String, _ path: String) -> CommandFailure {
        CommandFailure(.problem, "can't \(verb) \(path): \(String(cString: strerror(errno)))")
    }
}
