import ArgumentParser

enum OutputFormat: String, CaseIterable, ExpressibleByArgument {
    case table, json
}

/// `-o table` or `-o json`, the same for all commands that print results.
struct OutputOptions: ParsableArguments {
    @Option(name: [.customShort("o"), .customLong("output")], help: "How results are printed: table or json.")
    var format: OutputFormat = .table
}
