import ArgumentParser

/// `weir up`: a whole gateway on this machine, ready in seconds.
struct UpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Run a gateway, a private Redis and three replicas of a tiny model here.",
        discussion: """
            Prints the URL, a new API key and a curl line. A process that ends is started again. Ctrl-C ends all; \
            a second one ends them at once. The next start goes on with the same sessions and replaces the key.
            Exit status: 0 ended as asked, 1 something is in the way, 64 bad usage, 69 there is no engine.
            """)

    @Option(name: .long, help: "Where clients connect; port 0 takes a free one.")
    var listen = ListenAddress.usual

    @Option(name: .long, help: "How many replicas; 1 to 16. Their weights are 5, 3, 1 and 1 for further ones.")
    var replicas = 3

    @Option(
        name: .long, help: ArgumentHelp("The GGUF file that they serve (default: the tiny model).", valueName: "file"))
    var model: String?

    @Option(
        name: .long,
        help: ArgumentHelp("Folder for everything that stays (default: up in the state directory).", valueName: "dir"))
    var state: String?

    func validate() throws {
        if !(1...16).contains(replicas) { throw ValidationError("--replicas must be 1 to 16.") }
    }

    func run() throws {
        let environment = Environment.current
        let state = try UpState(directory: UpState.directory(given: state, environment))
        let installation = Installation.current
        let programs = try UpStack.Programs(installation, searchPath: environment["PATH"])
        let file = try model.map { Installation.canonical($0) } ?? installation.tinyModel()
        let ports = try UpPorts.choose(count: replicas, lastTime: UpState.read(state.portsFile))
        let plan = UpPlan(listen: try listen.checked(), model: file, ports: ports, state: state)
        try UpStack(plan, programs, environment).run()
    }
}
