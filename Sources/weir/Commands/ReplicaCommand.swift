import ArgumentParser
import Glibc

/// `weir replica`: becomes the process `weir-replica`, which is a program of its own because only it links llama.cpp.
struct ReplicaCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replica",
        abstract: "Run one replica: a GGUF model behind the OpenAI API.",
        discussion: "All arguments go to weir-replica; `weir replica --help` shows its options.")

    @Argument(parsing: .captureForPassthrough, help: "Options of weir-replica.")
    var arguments: [String] = []

    func run() throws {
        let program = try Installation.current.replicaProgram()
        var argv: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        defer { argv.forEach { free($0) } }
        // Ignored signals stay ignored in the next program.
        signal(SIGPIPE, SIG_DFL)
        execv(program, &argv)
        throw CommandFailure(.unavailable, "\(program) can't be run: \(String(cString: strerror(errno)))")
    }
}
