import Balancing
import GatewayCore
import Glibc

/// A redis-server of our own in a folder: no TCP port, a socket that only we may open, data that stays.
///
/// What it was told survives a restart of itself and of the machine, but for the last second (`appendfsync everysec`).
package struct PrivateRedis: Sendable {
    package enum Problem: Error, Equatable, Sendable, CustomStringConvertible {
        /// The folder could not be made or is not only ours.
        case folder(path: String, errno: Int32)
        case pathTooLong(String)

        package var description: String {
            switch self {
            case .folder(let path, let number): "can't make the folder \(path): \(errorText(number))"
            case .pathTooLong(let path): "the path \(path) is too long for a socket; choose a shorter folder"
            }
        }
    }

    /// Where it listens.
    package let socket: String
    /// For a configuration: `unix://` and the socket's path.
    package var address: String { "unix://\(socket)" }
    /// What a ``Supervisor`` runs.
    package let service: ServiceSettings

    /// Makes the folder (0700) if it isn't there. Nothing is started.
    ///
    /// - Parameters:
    ///   - directory: an absolute path; two servers in one folder would spoil each other's data, so hold a lock.
    ///   - program: the path of redis-server.
    ///   - log: where its output goes.
    package init(directory: String, program: String, log: ChildCommand.Output) throws(Problem) {
        let path = "\(directory)/redis.sock"
        guard LocalProbe.unixAddress(path) != nil else { throw .pathTooLong(path) }
        guard mkdir(directory, 0o700) == 0 || errno == EEXIST, chmod(directory, 0o700) == 0 else {
            throw .folder(path: directory, errno: errno)
        }
        socket = path
        // The first empty argument stands for a configuration file: none.
        let arguments = [
            "--port", "0", "--unixsocket", path, "--unixsocketperm", "600", "--dir", directory,
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no", "--logfile", "",
            "--maxmemory-policy", "noeviction",
        ]
        service = ServiceSettings(
            name: "redis", command: ChildCommand(program, arguments, output: log),
            readiness: .check { LocalProbe.redisAnswers(socket: path) },
            startLimit: .seconds(60), patience: .seconds(10), restart: .local)
    }
}
