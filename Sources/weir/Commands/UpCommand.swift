import ArgumentParser

/// `weir up`: a whole gateway on this machine, ready in seconds.
struct UpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Run a gateway, a private Redis and three replicas of a tiny model here.")

    func run() throws {
        throw CommandFailure(.software, "not built yet")
    }
}
