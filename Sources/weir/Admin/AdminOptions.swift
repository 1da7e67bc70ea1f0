import ArgumentParser

/// What every command that asks a running gateway takes.
struct AdminOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "The gateway's admin socket (default: $WEIR_ADMIN_SOCKET, else admin.sock in the state directory).",
            valueName: "path"))
    var socket: String?

    @OptionGroup var output: OutputOptions

    var client: AdminClient {
        AdminClient(location: AdminSocket(option: socket, environment: Environment.current))
    }

    /// Prints a reply: as it came, or as `table` shows it.
    func show(_ reply: AdminReply, _ table: (AdminReply) -> String) {
        switch output.format {
        case .json: Output.document(reply.bytes)
        case .table: Output.line(table(reply))
        }
    }
}

/// Part of a path, such as a replica's name.
enum PathPart {
    /// Everything but unreserved characters as `%XX`. Source: RFC 3986, section 2.3.
    static func encoded(_ text: String) -> String {
        let plain = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~".utf8)
        var encoded = ""
        for byte in text.utf8 {
            if plain.contains(byte) {
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                encoded += "%" + (digits.count == 1 ? "0" : "") + digits
            }
        }
        return encoded
    }
}
