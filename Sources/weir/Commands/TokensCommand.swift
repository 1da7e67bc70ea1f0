import ArgumentParser
import GatewayCore
import Glibc
import Identity
import Wire

/// `weir tokens`: JSON Web Tokens that the gateway accepts, signed here.
struct TokensCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokens", abstract: "Issue JSON Web Tokens.", subcommands: [IssueToken.self])
}

/// `weir tokens issue`: signs an HS256 token with a key file of this machine; no gateway is asked.
struct IssueToken: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "issue",
        abstract: "Sign a token with a secret from a file.",
        discussion: """
            Issuer, audience and secret must be those of an issuer under identity.jwt in the configuration. The token \
            is on standard output, alone.
            """)

    @Option(
        name: .long,
        help: ArgumentHelp(
            "File with the secret, - for standard input; one line end after it is ignored.", valueName: "file"))
    var keyFile: String

    @Option(name: .long, help: "Who the token is for: the claim sub.")
    var subject: String

    @Option(name: .long, help: "The claim iss.")
    var issuer: String

    @Option(name: .long, help: "The claim aud.")
    var audience: String

    @Option(name: .long, help: "How long it is valid: 90s, 10m, 12h or 30d.")
    var ttl: DurationArgument

    @Option(name: .long, help: "The key's id, for the token's header.")
    var kid: String?

    @Option(
        name: .long,
        help: ArgumentHelp("Models that it may use, separated by commas (default: all).", valueName: "a,b"))
    var models: String?

    @Option(name: .long, help: "Requests per window instead of what the configuration says for all.")
    var requests: Int?

    @OptionGroup var output: OutputOptions

    func run() throws {
        let secret = try SecretFile.read(keyFile)
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        let token: String
        do throws(KeyProblem) {
            let signer = try TokenIssuer(secret: secret, keyID: kid, issuer: issuer, audience: audience)
            token = try signer.issue(
                TokenIssuer.Grant(
                    subject: subject, timeToLive: .seconds(Int64(ttl.seconds)), models: models?.commaSeparated,
                    requestsPerWindow: requests),
                now: WallTime(secondsSinceEpoch: Int64(now.tv_sec)))
        } catch {
            throw CommandFailure(.problem, error.description)
        }
        switch output.format {
        case .table: Output.line(token)
        case .json:
            var writer = ByteWriter()
            writer.openObject()
            writer.member("token", string: token)
            writer.member("expires", number: now.tv_sec + ttl.seconds)
            writer.closeObject()
            Output.line(writer.bytes.text)
        }
    }
}

/// Reads a secret without ever showing it.
enum SecretFile {
    /// As for secrets of the configuration.
    static let bytesMax = 64 << 10

    /// - Throws: `.problem` if there is none to read.
    static func read(_ path: String) throws(CommandFailure) -> [UInt8] {
        let descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { throw CommandFailure(.problem, "\(path) can't be read: \(reason())") }
        defer { if path != "-" { close(descriptor) } }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4 << 10)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw CommandFailure(.problem, "\(path) can't be read: \(reason())") }
            if count == 0 { break }
            bytes += buffer[..<count]
            guard bytes.count <= bytesMax else {
                throw CommandFailure(.problem, "\(path) is too large for a secret: more than \(bytesMax) bytes")
            }
        }
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard !bytes.isEmpty else {
            throw CommandFailure(.problem, "\(path == "-" ? "standard input" : path) is empty")
        }
        return bytes
    }

    private static func reason() -> String { String(cString: strerror(errno)) }
}
