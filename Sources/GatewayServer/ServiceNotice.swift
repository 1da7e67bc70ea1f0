import GatewayCore
import Glibc
import Reactor

/// Tells systemd how the service does, where a unit of `Type=notify` asked to be told.
///
/// Source: sd_notify(3): a datagram to the socket in `NOTIFY_SOCKET`.
enum ServiceNotice {
    /// Does nothing without `NOTIFY_SOCKET`; a notice that can't be sent is lost.
    static func send(_ text: String) {
        guard let path = GatewayServer.environment["NOTIFY_SOCKET"], !path.isEmpty else { return }
        UnixChannel.sendDatagram(text, to: path)
    }
}
