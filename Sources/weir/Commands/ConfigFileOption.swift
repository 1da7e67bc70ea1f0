import ArgumentParser
import GatewayConfig

/// Which configuration file: `--config`, else `WEIR_CONFIG`.
struct ConfigFileOption: ParsableArguments {
    @Option(
        name: [.customLong("config"), .customShort("c")],
        help: ArgumentHelp("The configuration file (default: $WEIR_CONFIG).", valueName: "file"))
    var given: String?

    private var environment: [String: String] { Environment.current }

    var path: String { given ?? environment["WEIR_CONFIG"] ?? "" }

    func validate() throws {
        guard !path.isEmpty else { throw ValidationError("Which configuration? Say --config FILE or set WEIR_CONFIG.") }
    }

    /// - Throws: `.problem` with one problem a line.
    func load() throws(CommandFailure) -> GatewaySettings {
        do {
            return try GatewaySettings.load(file: path, environment: environment)
        } catch {
            for problem in error.problems { Output.note(problem.description) }
            throw CommandFailure(.problem, "the configuration can't be used: \(Self.count(error.problems.count))")
        }
    }

    /// For `weir config check`, which reports them itself.
    func problems() -> [ConfigProblem] {
        do {
            _ = try GatewaySettings.load(file: path, environment: environment)
            return []
        } catch {
            return error.problems
        }
    }

    static func count(_ problems: Int) -> String { problems == 1 ? "1 problem" : "\(problems) problems" }
}
