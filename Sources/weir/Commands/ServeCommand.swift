import ArgumentParser
import GatewayConfig
import GatewayServer

/// `weir serve`: the gateway in the foreground.
struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the gateway in the foreground.",
        discussion: """
            SIGTERM: running requests finish, then exit 0; SIGINT the same without a grace period; a second signal \
            ends at once. SIGHUP reads the configuration again; SIGUSR2 is `weir upgrade`.
            """)

    @OptionGroup var file: ConfigFileOption

    @Flag(
        name: .long,
        help: "Take the listening sockets of the gateway that runs in the same state directory; without one, start.")
    var takeOver = false

    @Option(
        name: .long,
        help: ArgumentHelp("What a running gateway says when it starts its successor.", visibility: .hidden))
    var takeOverFrom: String?

    func run() throws {
        let path = file.path
        let takeOver = takeOverFrom.map { TakeOver.from($0) } ?? (takeOver ? .anyRunning : .nobody)
        let settings: GatewaySettings
        do throws(CommandFailure) {
            settings = try file.load()
        } catch {
            if takeOver != .nobody {
                takeOver.decline(file.problems().map(\.description).joined(separator: "; "))
            }
            throw error
        }
        StartupMemory.giveBack()
        let status: Int32
        do {
            status = try GatewayServer.run(settings: settings, configFile: path, takingOver: takeOver)
        } catch {
            throw CommandFailure(.problem, "\(error)")
        }
        throw ExitCode(status)
    }
}
