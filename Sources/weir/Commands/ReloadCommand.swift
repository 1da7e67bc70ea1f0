import ArgumentParser
import Wire

/// `weir reload`: the gateway reads its configuration again.
struct ReloadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload",
        abstract: "Read the configuration again; a bad file changes nothing.",
        discussion: "Exit status: 0 in force, 1 refused with the problems, 69 no gateway is running.")

    @OptionGroup var admin: AdminOptions

    func run() throws {
        admin.show(try admin.client.post("reload")) { _ in "reloaded" }
    }
}
