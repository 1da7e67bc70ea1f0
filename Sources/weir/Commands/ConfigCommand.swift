import ArgumentParser
import GatewayConfig
import Wire

/// `weir config`: looks at a configuration file without using it.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Check or print a configuration.",
        subcommands: [CheckConfig.self, ExportConfig.self])
}

/// `weir config check`: every problem of a file, one a line.
struct CheckConfig: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Report every problem of a configuration file.",
        discussion: "Exit status: 0 usable, 1 problems found (one a line on standard output), 64 bad usage.")

    @OptionGroup var file: ConfigFileOption
    @OptionGroup var output: OutputOptions

    func run() throws {
        let problems = file.problems()
        switch output.format {
        case .json: Output.line(Self.json(problems))
        case .table where problems.isEmpty: Output.line("\(file.path): usable")
        case .table: for problem in problems { Output.line(OutputTable.printable(problem.description)) }
        }
        guard problems.isEmpty else { throw CommandFailure(.problem, "") }
    }

    private static func json(_ problems: [ConfigProblem]) -> String {
        var writer = ByteWriter()
        writer.append(
            json: .object([
                .init(name: "usable", value: .bool(problems.isEmpty)),
                .init(
                    name: "problems",
                    value: .array(
                        problems.map { problem in
                            .object([
                                .init(name: "file", value: .string(problem.file)),
                                .init(name: "line", value: problem.line > 0 ? .integer(problem.line) : .null),
                                .init(name: "column", value: problem.line > 0 ? .integer(problem.column) : .null),
                                .init(name: "path", value: .string(problem.path)),
                                .init(name: "message", value: .string(problem.message)),
                            ])
                        })),
            ]))
        return writer.bytes.text
    }
}

/// `weir config export`: what is in force after file, variables and defaults are merged.
struct ExportConfig: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Print the configuration in force, every default included, as YAML.",
        discussion: "Secrets are shown as ***. Exit status: 0 printed, 1 problems found, 64 bad usage.")

    @OptionGroup var file: ConfigFileOption

    func run() throws {
        Output.document(Array(try file.load().yaml().utf8))
    }
}
