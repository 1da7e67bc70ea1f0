import ArgumentParser
import Wire

/// `weir keys`: API keys that the gateway keeps in Redis.
struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Create, list and revoke API keys.",
        subcommands: [CreateKey.self, ListKeys.self, RevokeKey.self])
}

/// `weir keys create`: a new key, shown this once.
struct CreateKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Create an API key and show it, once.",
        discussion: "Only a digest is stored.")

    @Option(name: .long, help: "What the key is for; for people, need not be unique.")
    var name: String

    @Option(
        name: .long,
        help: ArgumentHelp("Models that it may use, separated by commas (default: all).", valueName: "a,b"))
    var models: String?

    @Option(name: .long, help: "Requests per window instead of what the configuration says for all.")
    var requests: Int?

    @Option(name: .long, help: "How long it is valid: 90s, 10m, 12h or 30d (default: until revoked).")
    var ttl: DurationArgument?

    @Flag(name: .long, help: "Revoke all earlier keys of this name.")
    var replace = false

    @OptionGroup var admin: AdminOptions

    func validate() throws {
        if name.isEmpty || name.utf8.count > 255 { throw ValidationError("--name must have 1 to 255 bytes.") }
        if let requests, requests < 1 { throw ValidationError("--requests must be at least 1.") }
    }

    func run() throws {
        let reply = try admin.client.post("keys", body)
        guard let key = reply.value["key"]?.string, let id = reply.value["id"]?.string else {
            throw CommandFailure(.software, "the gateway's answer has no key in it")
        }
        admin.show(reply) { _ in OutputTable.facts([("id", id), ("name", name), ("key", key)]) }
        Output.note("This key is shown only now; the gateway keeps a digest of it.")
    }

    private var body: [UInt8] {
        var members: [JSONValue.Member] = [.init(name: "name", value: .string(name))]
        if let models {
            members.append(.init(name: "models", value: .array(models.commaSeparated.map { .string($0) })))
        }
        if let requests { members.append(.init(name: "requests", value: .integer(requests))) }
        if let ttl { members.append(.init(name: "ttl_seconds", value: .integer(ttl.seconds))) }
        if replace { members.append(.init(name: "replaces_name", value: .bool(true))) }
        var writer = ByteWriter()
        writer.append(json: .object(members))
        return writer.bytes.withUnsafeBytes { Array($0) }
    }
}

/// `weir keys list`: everything about the keys but the keys.
struct ListKeys: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List API keys, never their secrets.")

    @OptionGroup var admin: AdminOptions

    func run() throws {
        admin.show(try admin.client.get("keys")) { reply in
            var table = OutputTable([
                ("id", .left), ("name", .left), ("source", .left), ("models", .left), ("requests", .right),
                ("created", .left), ("expires", .left), ("state", .left),
            ])
            for key in reply.value["keys"]?.array ?? [] {
                let isConfigured = key["source"]?.string == "config"
                table.add([
                    key["id"]?.string ?? "?", key["name"]?.string ?? "", key["source"]?.string ?? "?",
                    key["models"]?.array == nil ? "all" : key["models"].names,
                    key["requests"]?.int.map { String($0) } ?? "default",
                    isConfigured ? "" : Spelling.time(key["created"]?.int), Spelling.time(key["expires"]?.int),
                    key["revoked"]?.bool == true ? "revoked" : "valid",
                ])
            }
            return table.text
        }
    }
}

/// `weir keys revoke`: from now on a key is worth nothing.
struct RevokeKey: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "revoke", abstract: "Revoke an API key by its id.")

    @Argument(help: "The key's id, as `weir keys list` shows it: key_….")
    var id: String

    @OptionGroup var admin: AdminOptions

    func validate() throws {
        if id.hasPrefix("sk-") {
            throw ValidationError("That is a key; name its id instead, and consider that your shell has a history.")
        }
        if id.isEmpty { throw ValidationError("A key has an id.") }
    }

    func run() throws {
        admin.show(try admin.client.delete("keys/\(PathPart.encoded(id))")) { _ in "\(id) is revoked" }
    }
}
