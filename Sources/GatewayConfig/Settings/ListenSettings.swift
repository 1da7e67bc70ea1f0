import GatewayCore

/// The `listen` section: where clients connect.
package struct ListenSettings: Equatable, Sendable {
    /// Address of the public listener. Default 127.0.0.1:8080; port 0 lets the kernel choose.
    package var address = HostPort("127.0.0.1", 8080)
    /// Event loops, each a thread with a listener of its own. Default 0, which means one per core; 0 to 256.
    package var loops = 0
    /// Client connections open at once, all loops together. Default 20000; 1 to 1000000.
    package var connectionsMax = 20_000
    /// Connections the kernel holds until they are accepted, each listener. Default 1024; 1 to 65535.
    package var backlog = 1024
    /// Absent: plain HTTP.
    package var tls: TLSSettings?

    package init() {}
}

/// The `listen.tls` section.
package struct TLSSettings: Equatable, Sendable {
    package enum Version: String, CaseIterable, Sendable {
        case tls12 = "1.2"
        case tls13 = "1.3"
    }

    /// PEM chain, own certificate first. Required.
    package var certificateFile = ""
    /// PEM private key. Required.
    package var keyFile = ""
    /// PEM authorities; when given, clients must show a certificate that one of them signed. Default none.
    package var clientCAFile: String?
    /// Oldest protocol version spoken. Default 1.2; 1.2 or 1.3.
    package var minimumVersion = Version.tls12

    package init() {}
}

/// The `admin` section: the operator's side.
package struct AdminSettings: Equatable, Sendable {
    /// Unix socket of the CLI. Default `admin.sock` in the state directory (filled in when settings are loaded).
    package var socket = ""
    /// TCP address of metrics and read-only pages; `nil`, written `off`, means none. Default 127.0.0.1:9901.
    package var address: HostPort? = HostPort("127.0.0.1", 9901)
    /// Values of `Host` accepted besides the address itself and localhost. Default none; at most 64.
    package var allowedHosts: [String] = []
    /// SHA-256 digests of the keys that may change things over TCP. Default none; at most 64.
    package var keys: [SHA256Digest] = []

    package init() {}
}

/// The `state` section.
package struct StateSettings: Equatable, Sendable {
    /// Where sockets, locks and generated files live. Default `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/weir`, else
    /// `~/.local/state/weir`, else `/var/lib/weir` (filled in when settings are loaded).
    package var directory = ""

    package init() {}
}

extension ListenSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("address", \.address, .hostPort), .value("loops", \.loops, .integer, 0...256),
            .value("connectionsMax", \.connectionsMax, .integer, 1...1_000_000),
            .value("backlog", \.backlog, .integer, 1...65_535), .optionalSection("tls", \.tls),
        ]
    }
}

extension TLSSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("certificateFile", \.certificateFile, .path, isRequired: true),
            .value("keyFile", \.keyFile, .path, isRequired: true), .optional("clientCAFile", \.clientCAFile, .path),
            .choice("minimumVersion", \.minimumVersion),
        ]
    }
}

extension AdminSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("socket", \.socket, .path, .socketPath),
            .value("address", \.address, SettingFormat<HostPort>.hostPort.or("off")),
            .list("allowedHosts", \.allowedHosts, .text, count: 0...64, .length(1...255)),
            .list("keys", \.keys, .digest, count: 0...64),
        ]
    }
}

extension StateSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] { [.value("directory", \.directory, .path)] }
}

extension SettingRule where Value == String {
    /// Source: unix(7): 108 bytes, one of them the end.
    static var socketPath: Self { Self(sentence: "at most 107 bytes long") { $0.utf8.count <= 107 } }
}
