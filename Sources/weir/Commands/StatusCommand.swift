import ArgumentParser
import Wire

/// `weir status`: is the gateway well, in one look.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show whether the gateway and its pools are well.",
        discussion: "Exit status: 0 ready, 1 not ready, 69 no gateway is running.")

    @OptionGroup var admin: AdminOptions

    func run() throws {
        let reply = try admin.client.get("status")
        admin.show(reply) { Self.table($0.value) }
        guard reply.value["ready"]?.bool == true else { throw CommandFailure(.problem, "") }
    }

    static func table(_ status: JSONValue) -> String {
        let keys = status["keys"]
        var facts = [
            ("version", status["version"]?.string ?? "?"),
            ("process", status["pid"].number + ", up " + Spelling.length(seconds: status["uptime_seconds"]?.int ?? 0)),
            ("address", status["address"]?.string ?? "?"),
            ("ready", Spelling.yesOrNo(status["ready"]?.bool) + (status["draining"]?.bool == true ? ", draining" : "")),
            ("loops", status["loops"].number),
            ("connections", status["connections"].number),
            ("redis", status["redis"]?.string ?? "?"),
            ("keys", "\(keys?["configured"].number ?? "?") in the file, \(keys?["stored"].number ?? "?") in redis"),
        ]
        let cooling = status["cooling_down"].names
        if !cooling.isEmpty { facts.append(("failing", "\(cooling): restarted too often, left alone for a while")) }
        var pools = OutputTable([
            ("pool", .left), ("models", .left), ("serving", .right), ("replicas", .right), ("queue", .right),
        ])
        for pool in status["pools"]?.array ?? [] {
            pools.add([
                pool["name"]?.string ?? "?", pool["models"].names, pool["serving"].number, pool["replicas"].number,
                pool["queue"].number,
            ])
        }
        return OutputTable.facts(facts) + "\n\n" + pools.text
    }
}
