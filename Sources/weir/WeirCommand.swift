import ArgumentParser
import GatewayServer
import Glibc

/// `weir`: the gateway and everything its operator types.
@main
struct WeirCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weir",
        abstract: "One endpoint in front of your LLM replicas.",
        discussion: """
            Exit status: 0 done; 1 a problem was found, or the gateway refused; 64 bad usage; 69 the gateway or the \
            engine is not there; 70 an answer that makes no sense.
            """,
        version: GatewayServer.version,
        groupedSubcommands: [
            CommandGroup(name: "Run", subcommands: [UpCommand.self, ServeCommand.self, ReplicaCommand.self]),
            CommandGroup(
                name: "Operate",
                subcommands: [
                    StatusCommand.self, ReplicasCommand.self, KeysCommand.self, TokensCommand.self, ConfigCommand.self,
                    ReloadCommand.self, UpgradeCommand.self,
                ]),
        ])

    /// Our own failures have an exit status of their own; the rest (usage, help, version) is ArgumentParser's.
    static func main() {
        // Whoever reads our output may stop early, as `head` does; that is no reason to die without a word.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let failure as CommandFailure {
            if !failure.message.isEmpty { Output.complain(failure.message) }
            Glibc.exit(failure.status.rawValue)
        } catch {
            exit(withError: error)
        }
    }
}
