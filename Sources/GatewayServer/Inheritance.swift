import Balancing
import GatewayConfig
import GatewayCore
import Glibc
import Reactor
import Wire

/// From which running gateway a new one takes over.
package enum TakeOver: Equatable, Sendable {
    /// From none: another one on the same address is an error.
    case nobody
    /// From the one in the same state directory; without one, start as usual.
    case anyRunning
    /// From the one that listens at this path: it started us.
    case from(String)

    /// Tells the gateway that started us why nothing will come of it.
    package func decline(_ problem: String) {
        guard case .from(let path) = self else { return }
        guard let channel = try? UnixChannel.connect(to: path, timeout: .seconds(5)) else { return }
        try? channel.send(line: "problem " + problem.replacing("\n", with: "; "))
        channel.close()
    }
}

/// What the running gateway hands to the process that takes over from it: see ``HandOver``.
///
/// - Owns: the descriptors, until something listens with them; the process ends if nothing does.
struct Inheritance {
    let channel: UnixChannel
    let pid: Int
    let publicListeners: [Int32]
    let adminSocket: Int32
    /// Nil when there was none, or the new configuration wants another.
    let adminAddress: Int32?
    let upgradeSocket: Int32
    let lock: Int32?
    /// Where what callers have spent stands, once we may accept; see ``SpentLimits``.
    let limits: Int32?
    /// What operators asked for, by replica.
    let intents: [String: HealthMachine.Intent]
    /// Whether the running gateway could serve: then this one must before it takes over.
    let wasReady: Bool

    /// How long replicas and keys may take until the new gateway can serve.
    static let readyWithin = Interval.seconds(10)

    /// Asks for everything. - Returns: nil when there is nobody to take over from.
    ///
    /// - Throws: ``StartProblem`` when the configuration listens elsewhere or the running gateway refuses.
    static func claim(_ takeOver: TakeOver, _ settings: GatewaySettings) throws -> Inheritance? {
        let path: String
        switch takeOver {
        case .nobody: return nil
        case .anyRunning: path = HandOver.path(in: settings.state.directory)
        case .from(let given): path = given
        }
        let channel: UnixChannel
        do throws(SocketError) {
            channel = try UnixChannel.connect(to: path, timeout: HandOver.patience)
        } catch {
            if case .from = takeOver { throw error }
            guard error.code == ENOENT || error.code == ECONNREFUSED else { throw error }
            return nil
        }
        do {
            guard channel.peer.map({ $0.user == getuid() || $0.user == 0 }) == true else {
                throw StartProblem("the gateway behind \(path) belongs to another user")
            }
            try channel.send(line: "take over")
            return try receive(from: channel, settings)
        } catch {
            try? channel.send(line: "problem \(error)")
            channel.close()
            throw error
        }
    }

    private static func receive(from channel: UnixChannel, _ settings: GatewaySettings) throws -> Inheritance {
        guard let line = channel.receiveLine(), let will = try? JSONValue.read(line) else {
            throw StartProblem("the running gateway hands nothing over: it is ending, or hangs")
        }
        guard will["protocol"]?.int == HandOver.protocolVersion else {
            throw StartProblem("the running gateway (\(will["version"]?.string ?? "?")) hands over in another way")
        }
        let count = will["listeners"]?.int ?? 0
        let hasAdminAddress = will["admin_address"]?.string != nil
        let hasLock = will["lock"]?.bool == true
        let hasLimits = will["limits"]?.bool == true
        guard (1...1024).contains(count) else { throw StartProblem("the running gateway hands over no listener") }
        let extras = [hasAdminAddress, hasLimits, hasLock].count { $0 }
        let received = try channel.receiveDescriptors(count + 2 + extras)
        let wanted = settings.listen.address
        let address = will["address"]?.string ?? ""
        guard address == "\(wanted.host):\(wanted.port)" || wanted.port == 0 && address.hasPrefix("\(wanted.host):")
        else {
            throw StartProblem("listen.address: the running gateway listens on \(address); an upgrade keeps that")
        }
        guard will["admin_socket"]?.string == settings.admin.socket else {
            throw StartProblem(
                "admin.socket: the running gateway's is \(will["admin_socket"]?.string ?? "?"); an upgrade keeps that")
        }
        var adminAddress = hasAdminAddress ? received[count + 2] : nil
        if let descriptor = adminAddress,
            will["admin_address"]?.string != settings.admin.address.map({ "\($0.host):\($0.port)" })
        {
            // Ours only: the running gateway goes on with its own until we are ready.
            close(descriptor)
            adminAddress = nil
        }
        var intents: [String: HealthMachine.Intent] = [:]
        if case .object(let members) = will["intents"] {
            for member in members { intents[member.name] = member.value.string.flatMap { .init(rawValue: $0) } }
        }
        return Inheritance(
            channel: channel, pid: will["pid"]?.int ?? 0, publicListeners: Array(received[..<count]),
            adminSocket: received[count], adminAddress: adminAddress, upgradeSocket: received[count + 1],
            lock: hasLock ? received.last : nil,
            limits: hasLimits ? received[count + 2 + (hasAdminAddress ? 1 : 0)] : nil,
            intents: intents, wasReady: will["ready"]?.bool == true)
    }

    /// Everything stands: may we accept?
    ///
    /// - Throws: ``StartProblem`` with the running gateway's reason.
    func announceReady() throws {
        try channel.send(line: "ready")
        let answer = channel.receiveLine() ?? "no it did not answer"
        guard answer == "yours" else {
            throw StartProblem("the running gateway keeps its place: \(answer.dropFirst(3))")
        }
    }

    /// We accept. Returns when the gateway before us no longer does.
    func announceAccepting() {
        try? channel.send(line: "accepting")
        _ = channel.receiveLine()
        channel.close()
    }

    func decline(_ problem: String) {
        try? channel.send(line: "problem " + problem.replacing("\n", with: "; "))
        channel.close()
    }
}
