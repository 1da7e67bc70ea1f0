import ArgumentParser
import Wire

/// `weir replicas`: what the gateway knows of its replicas, and what the operator wants of them.
struct ReplicasCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replicas", abstract: "List replicas, take them out and back in, or restart them.",
        subcommands: [
            ListReplicas.self, DrainReplica.self, EnableReplica.self, MaintainReplica.self, RestartReplicas.self,
        ],
        defaultSubcommand: ListReplicas.self)

    /// - Parameter leaving: those that no configuration names any more, and that have requests yet.
    static func table(_ replicas: [JSONValue], leaving: [JSONValue] = []) -> String {
        var table = OutputTable([
            ("pool", .left), ("replica", .left), ("address", .left), ("kind", .left), ("weight", .right),
            ("intent", .left), ("health", .left), ("serving", .left), ("in flight", .right), ("max", .right),
            ("restart", .left),
        ])
        for replica in replicas {
            let isBackup = replica["backup"]?.bool == true
            table.add([
                replica["pool"]?.string ?? "?", replica["name"]?.string ?? "?", replica["address"]?.string ?? "?",
                replica["kind"]?.string ?? "?", replica["weight"].number + (isBackup ? " backup" : ""),
                replica["intent"]?.string ?? "?", replica["health"]?.string ?? "?",
                Spelling.yesOrNo(replica["serving"]?.bool), replica["in_flight"].number,
                replica["max_in_flight"].number, restart(replica),
            ])
        }
        for replica in leaving {
            table.add([
                replica["pool"]?.string ?? "?", replica["name"]?.string ?? "?", replica["address"]?.string ?? "?",
                replica["kind"]?.string ?? "?", "", "removed", replica["health"]?.string ?? "?", "no",
                replica["in_flight"].number, "", "",
            ])
        }
        return table.text
    }

    /// What is being done about one that is down; nothing mostly.
    private static func restart(_ replica: JSONValue) -> String {
        let words = ["waiting": "waiting", "cooling_down": "cooling down"]
        guard let state = replica["restart"]?.string, state != "none" else { return "" }
        guard let seconds = replica["restart_seconds"]?.int else { return words[state] ?? state }
        return "\(words[state] ?? state) \(Spelling.length(seconds: seconds))"
    }
}

/// `weir replicas list`.
struct ListReplicas: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List all replicas.")

    @OptionGroup var admin: AdminOptions

    func run() throws {
        admin.show(try admin.client.get("replicas")) { reply in
            ReplicasCommand.table(
                reply.value["replicas"]?.array ?? [], leaving: reply.value["leaving"]?.array ?? [])
        }
    }
}

/// `weir replicas drain`.
struct DrainReplica: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Send a replica no more requests; running ones finish.")

    @Argument(help: "The replica's name in the configuration.")
    var name: String
    @OptionGroup var admin: AdminOptions

    func run() throws { try admin.setIntent("drain", of: name) }
}

/// `weir replicas enable`.
struct EnableReplica: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enable", abstract: "Take a drained replica back in, as soon as it is healthy.")

    @Argument(help: "The replica's name in the configuration.")
    var name: String
    @OptionGroup var admin: AdminOptions

    func run() throws { try admin.setIntent("enable", of: name) }
}

/// `weir replicas maintenance`.
struct MaintainReplica: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "maintenance", abstract: "Send a replica nothing at all, probes included.")

    @Argument(help: "The replica's name in the configuration.")
    var name: String
    @OptionGroup var admin: AdminOptions

    func run() throws { try admin.setIntent("maintenance", of: name) }
}

extension AdminOptions {
    fileprivate func setIntent(_ intent: String, of name: String) throws {
        guard !name.isEmpty else { throw ValidationError("A replica has a name.") }
        show(try client.post("replicas/\(PathPart.encoded(name))/\(intent)")) { ReplicasCommand.table([$0.value]) }
    }
}
