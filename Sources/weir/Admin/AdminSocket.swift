import GatewayConfig
import Glibc

/// Where the gateway's admin socket is.
///
/// In this order: `--socket`, `WEIR_ADMIN_SOCKET` (which also is the variable of the setting `admin.socket`), the
/// socket in the state directory, the one of a running `weir up`.
struct AdminSocket {
    /// Longest path of a Unix socket, without the zero behind it. Source: unix(7), `sun_path`.
    static let pathBytesMax = 107

    private let given: String?
    private let candidates: [String]

    init(option: String?, environment: [String: String]) {
        func set(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        given = option ?? set("WEIR_ADMIN_SOCKET")
        if let given {
            candidates = [given]
        } else {
            let state = set("WEIR_STATE_DIRECTORY") ?? GatewaySettings.stateDirectory(environment)
            candidates = ["\(state)/admin.sock", "\(state)/up/admin.sock"]
        }
    }

    /// The first that exists. - Throws: `.unavailable` with every path that was tried.
    func path() throws(CommandFailure) -> String {
        if let given, given.utf8.count > Self.pathBytesMax {
            throw CommandFailure(.usage, "a socket's path has at most \(Self.pathBytesMax) bytes: \(given)")
        }
        if let found = candidates.first(where: { access($0, F_OK) == 0 }) { return found }
        throw CommandFailure(
            .unavailable,
            "no gateway is running here: there is no \(candidates.joined(separator: " and no ")). "
                + "Name another admin socket with --socket PATH or WEIR_ADMIN_SOCKET.")
    }

    /// For a socket that is there but does not let us in.
    func unreachable(_ path: String) -> String {
        "the admin socket \(path) can't be used: \(String(cString: strerror(errno))). "
            + "It belongs to the user that runs the gateway; name another with --socket PATH or WEIR_ADMIN_SOCKET."
    }
}
