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
            ends at once. SIGHUP reads the configuration again.
            """)

    @OptionGroup var file: ConfigFileOption

    func run() throws {
        let path = file.path
        let settings = try file.load()
        StartupMemory.giveBack()
        let status: Int32
        do {
            status = try GatewayServer.run(settings: settings, configFile: path)
        } catch {
            throw CommandFailure(.problem, "\(error)")
        }
        throw ExitCode(status)
    }
}
