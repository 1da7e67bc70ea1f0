import Balancing
import GatewayConfig
import GatewayCore
import Glibc
import Pipeline
import Reactor
import Supervision
import Synchronization
import Telemetry
import Wire

/// The running gateway's side of an upgrade: a socket at which a new process asks for everything that listens.
///
///     new   take over
///     old   {"protocol":1,…}    and then the descriptors that it counts
///     new   ready               its configuration is good and its replicas answer
///     old   yours               (or: no, and why)
///     new   accepting           from here on both of us take connections
///     old   done                and now only the new one does
///
/// Until `accepting` nothing changes here: a new process that ends, or says `problem` and why, is forgotten.
/// - Isolation: a thread of its own, one new process after the other.
final class HandOver: Sendable {
    static let protocolVersion = 1
    /// How long a new process may take for its next line.
    static let patience = Interval.seconds(120)

    /// What is handed over, besides its own socket.
    struct Estate: Sendable {
        /// `host:port` with the port that the kernel chose.
        var address: String
        var publicListeners: [Int32]
        var adminSocket: (path: String, descriptor: Int32)
        var adminAddress: (text: String, descriptor: Int32)?
        var lock: Int32?
    }

    private enum Phase { case waiting, ending, handedOver }

    private let server: GatewayServer
    private let estate: Estate
    private let path: String
    private let listener: Int32
    private let phase = Mutex(Phase.waiting)

    static func path(in stateDirectory: String) -> String { "\(stateDirectory)/upgrade.sock" }

    /// Waits for a successor from now on.
    ///
    /// - Parameter inherited: the socket, from the process before.
    /// - Throws: `SocketError`, such as a path that is too long.
    init(_ server: GatewayServer, _ estate: Estate, inherited: Int32?) throws(SocketError) {
        self.server = server
        self.estate = estate
        path = Self.path(in: server.settings.withLock { $0.state.directory })
        if let inherited {
            listener = inherited
        } else {
            listener = try Listener.open(.unix(path), sharesPort: false)
            chmod(path, 0o600)
            // It belongs to a thread that has nothing else to do.
            _ = fcntl(listener, F_SETFL, 0)
        }
        detachThread { self.serve() }
    }

    /// The process ends: nobody takes over any more.
    func end() {
        let isOurs = phase.withLock { phase in
            defer { if phase == .waiting { phase = .ending } }
            return phase == .waiting
        }
        if isOurs { unlink(path) }
    }

    private func serve() {
        while let channel = UnixChannel.accept(from: listener, timeout: Self.patience) {
            let isDone = serve(channel)
            channel.close()
            if isDone { break }
        }
        close(listener)
    }

    /// - Returns: whether everything is handed over.
    private func serve(_ channel: UnixChannel) -> Bool {
        // The file's mode says the same; this holds even if somebody changed that.
        guard let peer = channel.peer, peer.user == getuid() || peer.user == 0 else { return false }
        guard let request = channel.receiveLine() else { return false }
        if request.hasPrefix("problem ") { return fail(peer, String(request.dropFirst(8))) }
        guard request == "take over" else { return false }
        do throws(SocketError) {
            let limits = SpentLimits.makeFile(in: server.settings.withLock { $0.state.directory })
            defer { if let limits { close(limits) } }
            guard try lend(to: channel, limits) else { return false }
            guard let answer = channel.receiveLine() else {
                return fail(peer, "the new process ended before it was ready")
            }
            guard answer == "ready" else { return fail(peer, String(answer.dropFirst("problem ".count))) }
            guard phase.withLock({ $0 }) == .waiting else {
                try channel.send(line: "no the running gateway is ending")
                return false
            }
            if let limits {
                SpentLimits.write(server.shared.limiter.spent(now: EventLoop.monotonic()), to: limits)
            }
            try channel.send(line: "yours")
            guard channel.receiveLine() == "accepting" else {
                return fail(peer, "the new process ended before it accepted connections")
            }
        } catch {
            return fail(peer, error.description)
        }
        return conclude(channel, peer)
    }

    private func fail(_ peer: UnixChannel.Peer, _ problem: String) -> Bool {
        server.upgrade.failed(problem)
        server.log.events.log(
            .error, "upgrade_failed", "The new process did not take over: \(problem)",
            ["pid": String(peer.process)])
        return false
    }

    /// - Parameter limits: a file for what callers have spent, still empty.
    private func lend(to channel: UnixChannel, _ limits: Int32?) throws(SocketError) -> Bool {
        let intents = (try? server.workers[0].call { loop in ControlPlane.on(loop)?.intents }) ?? [:]
        var writer = ByteWriter(capacity: 1_024)
        writer.openObject()
        writer.member("protocol", number: Self.protocolVersion)
        writer.member("version", string: GatewayServer.version)
        writer.member("pid", number: Int(getpid()))
        writer.member("address", string: estate.address)
        writer.member("listeners", number: estate.publicListeners.count)
        writer.member("admin_socket", string: estate.adminSocket.path)
        writer.member("admin_address", string: estate.adminAddress?.text)
        writer.member("lock", bool: estate.lock != nil)
        writer.member("limits", bool: limits != nil)
        writer.member("ready", bool: server.isReady)
        writer.member("intents")
        let wishes = intents.filter { $0.value != .enabled }
        writer.append(json: .object(wishes.map { .init(name: $0.key, value: .string($0.value.rawValue)) }))
        writer.closeObject()
        let rest = [estate.adminAddress?.descriptor, limits, estate.lock].compactMap { $0 }
        // Held while the descriptors go out: the end of the process closes them.
        return try phase.withLock { phase throws(SocketError) in
            guard phase == .waiting else {
                try channel.send(line: "no the running gateway is ending")
                return false
            }
            try channel.send(line: writer.bytes.text)
            try channel.send(
                descriptors: estate.publicListeners + [estate.adminSocket.descriptor, listener] + rest)
            return true
        }
    }

    /// The new process accepts: this one stops.
    private func conclude(_ channel: UnixChannel, _ peer: UnixChannel.Peer) -> Bool {
        let isOurs = phase.withLock { phase in
            defer { if phase == .waiting { phase = .handedOver } }
            return phase == .waiting
        }
        if isOurs {
            for worker in server.workers {
                _ = try? worker.call { loop in
                    LoopServer.on(loop)?.handOver()
                    ControlPlane.on(loop)?.handOver()
                }
            }
            server.upgrade.succeeded(pid: peer.process)
            ServiceNotice.send("MAINPID=\(peer.process)")
            server.log.events.log(
                .info, "handed_over", "Process \(peer.process) accepts connections now; running requests finish here.",
                ["pid": String(peer.process)])
        }
        try? channel.send(line: "done")
        // The first thread waits for signals.
        if isOurs { kill(getpid(), SIGUSR2) }
        return isOurs
    }
}
