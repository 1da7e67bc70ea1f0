import ArgumentParser
import Engine
import Glibc

/// `weir-replica`: one model behind the OpenAI API. `weir replica` starts it.
@main
struct ReplicaCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weir-replica",
        abstract: "Serve one GGUF model over the OpenAI API.",
        discussion: """
            Prints "listening on http://HOST:PORT" when the port is bound; /health answers 503 until the model is
            loaded. SIGTERM or SIGINT: no new connections, running answers finish, exit 0; a second signal
            ends at once.
            Exit status: 0 stopped by a signal, 1 the model or the address can't be used, 64 bad usage, 69 built without
            the engine.
            """)

    @Option(name: .long, help: "The GGUF file.")
    var model: String

    @Option(name: .long, help: "The port; 0 lets the kernel choose.")
    var port: UInt16

    @Option(name: .long, help: "The address to listen on.")
    var host = "127.0.0.1"

    @Option(name: .long, help: "Answers at the same time; 1 to 64.")
    var slots = 4

    @Option(name: .long, help: "Tokens that one conversation may hold; at most what the model was trained for.")
    var context = 4096

    @Option(name: .long, help: "The model's name for clients (default: general.name of the file).")
    var alias: String?

    @Option(name: .long, help: "Requests that may wait for a slot; one more is answered 503.")
    var queue = 128

    @Option(name: .long, help: "Threads that compute (default: 1 for a model under 100 MB, else one per core).")
    var threads: Int?

    @Option(name: .long, help: "Seconds that running answers have to finish after SIGTERM.")
    var drain: Int = 30

    @Flag(name: .long, help: "Pass on everything that llama.cpp says.")
    var verbose = false

    func validate() throws {
        if !(1...64).contains(slots) { throw ValidationError("--slots must be 1 to 64.") }
        if !(16...1_048_576).contains(context) { throw ValidationError("--context must be 16 to 1048576.") }
        if !(1...100_000).contains(queue) { throw ValidationError("--queue must be 1 to 100000.") }
        if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024.") }
        if !(0...86_400).contains(drain) { throw ValidationError("--drain must be 0 to 86400.") }
        if let alias, alias.isEmpty { throw ValidationError("--alias must not be empty.") }
    }

    func run() throws {
        #if Engine
        let engine = EngineSettings(
            modelFile: model, slots: slots, contextTokens: context, waitingMax: queue, threads: threads,
            isVerbose: verbose)
        ReplicaProcess.run(
            ReplicaSettings(engine: engine, host: host, port: port, alias: alias, drainSeconds: Int64(drain)))
        #else
        ReplicaProcess.complain("built without the engine; docs/replica.md says how to build it with llama.cpp")
        throw ExitCode(69)
        #endif
    }
}

/// What the command line says.
struct ReplicaSettings: Sendable {
    var engine: EngineSettings
    var host: String
    var port: UInt16
    var alias: String?
    var drainSeconds: Int64
}

enum ReplicaProcess {
    /// One line on standard error.
    static func complain(_ message: String) {
        write("weir-replica: \(message)\n", to: STDERR_FILENO)
    }

    /// One line on standard output, at once, because a supervisor waits for it.
    static func announce(_ line: String) {
        write(line + "\n", to: STDOUT_FILENO)
    }

    private static func write(_ text: String, to descriptor: Int32) {
        var text = text
        text.withUTF8 { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
    }
}
