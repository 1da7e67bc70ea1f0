import ArgumentParser
import Glibc
import Wire

/// `weir replicas restart`: replicas end and start again, one after the other, and no request notices.
struct RestartReplicas: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart",
        abstract: "Restart replicas one after the other without failing a request.",
        discussion: """
            Each one is drained, restarted as hooks.restart of the configuration says (`weir up` does it itself), \
            probed and warmed up, and then it is the next one's turn. Streams that outlast the drain go on on another \
            replica. If one doesn't come back, the rest stays as it is.
            The gateway goes on with it when this command is ended; --stop ends it after the replica that is being \
            restarted.
            Exit status: 0 all came back, 1 one did not or the gateway refused, 64 bad usage, 69 no gateway is running.
            """)

    private static let pause: UInt32 = 100_000
    /// So many questions in a row without an answer mean that the gateway is gone.
    private static let silencesMax = 100

    @Argument(help: "Names in the configuration.")
    var names: [String] = []

    @Flag(name: .long, help: "All replicas, one after the other.")
    var rolling = false

    @Option(name: .long, help: "How long running requests may take before they are moved (default: timeouts.drain).")
    var drainTimeout: DurationArgument?

    @Flag(name: .long, help: "Also a replica that is the only one that serves: requests fail meanwhile.")
    var force = false

    @Flag(name: .long, help: "End a running restart after the replica that is being restarted.")
    var stop = false

    @OptionGroup var admin: AdminOptions

    func validate() throws {
        if !stop, names.isEmpty, !rolling { throw ValidationError("Name replicas, or say --rolling for all of them.") }
        if stop, rolling || !names.isEmpty { throw ValidationError("--stop stands alone.") }
    }

    func run() throws {
        if stop { return admin.show(try admin.client.delete("restarts")) { $0.value["state"]?.string ?? "?" } }
        var wish: [JSONValue.Member] = [.init(name: "force", value: .bool(force))]
        if !names.isEmpty {
            wish.append(.init(name: "replicas", value: .array(names.map { .string($0) })))
        }
        if let drainTimeout { wish.append(.init(name: "drain_seconds", value: .integer(drainTimeout.seconds))) }
        var body = ByteWriter()
        body.append(json: .object(wish))
        var reply = try admin.client.post("restarts", body.withUnsafeBytes { Array($0) })
        let number = reply.value["id"]?.int
        var shown: [String: String] = [:]
        var silences = 0
        while true {
            show(reply.value, &shown)
            if reply.value["state"]?.string != "running" { break }
            usleep(Self.pause)
            do throws(CommandFailure) {
                reply = try admin.client.get("restarts")
                silences = 0
            } catch {
                silences += 1
                if silences > Self.silencesMax { throw error }
            }
            guard reply.value["id"]?.int == number else {
                throw CommandFailure(.software, "the gateway was restarted meanwhile and knows nothing of it any more")
            }
        }
        if admin.output.format == .json { admin.show(reply) { _ in "" } }
        guard reply.value["state"]?.string == "done" else {
            throw CommandFailure(.problem, "stopped: \(reply.value["problem"]?.string ?? "no reason was given")")
        }
    }

    /// A line for each replica whose state is another one than before.
    private func show(_ value: JSONValue, _ shown: inout [String: String]) {
        guard admin.output.format == .table else { return }
        for replica in value["replicas"]?.array ?? [] {
            guard let name = replica["name"]?.string, let state = replica["state"]?.string, state != "waiting",
                shown[name] != state
            else { continue }
            shown[name] = state
            Output.line(OutputTable.printable("\(name): \(Self.sentence(state, replica))"))
        }
    }

    private static func sentence(_ state: String, _ replica: JSONValue) -> String {
        switch state {
        case "draining": return "draining"
        case "moving": return "moving what still runs to other replicas"
        case "restarting": return "restarting"
        case "warming": return "warming up"
        case "failed": return "failed: \(replica["problem"]?.string ?? "?")"
        case "done":
            let moved = replica["moved"]?.int ?? 0
            let seconds = replica["seconds"]?.double ?? 0
            let tenths = Double(Int(seconds * 10)) / 10
            return "back after \(tenths) s" + (moved == 0 ? "" : ", \(moved) moved")
        default: return state
        }
    }
}
