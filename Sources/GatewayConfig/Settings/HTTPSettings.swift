import GatewayCore

/// The `http` section: what a client may send.
package struct HTTPSettings: Equatable, Sendable {
    /// Longest request head, request line included. Default 32KiB; 1KiB to 1MiB.
    package var headBytes = 32 << 10
    /// Longest request line. Default 8KiB; 256 bytes to `headBytes`.
    package var requestLineBytes = 8 << 10
    /// Header fields of a request. Default 100; 8 to 1000.
    package var headFields = 100
    /// Longest request body. Default 8MiB; 1KiB to 1GiB.
    package var bodyBytes = 8 << 20
    /// All request bodies held at once. Default 256MiB; `bodyBytes` to 1TiB.
    package var bodyMemoryBytes = 256 << 20
    /// Chunk extensions of one body, together. Default 4KiB; 0 to 64KiB.
    package var chunkExtensionBytes = 4 << 10
    /// Trailer section of one body. Default 8KiB; 0 to 64KiB.
    package var trailerBytes = 8 << 10
    /// Peers whose X-Forwarded-For is believed. Default none; at most 256.
    package var trustedProxies: [AddressRange] = []
    package var cors = CORSSettings()

    package init() {}
}

/// The `http.cors` section: browsers of other origins.
package struct CORSSettings: Equatable, Sendable {
    /// Origins such as `https://app.example.com`, or `*` for all. Default none; at most 256.
    package var allowedOrigins: [String] = []
    /// How long a browser may keep the answer to a preflight. Default 10m; 0s to 24h.
    package var maxAge = Interval.seconds(600)

    package init() {}
}

extension HTTPSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("headBytes", \.headBytes, .size, (1 << 10)...(1 << 20)),
            .value("requestLineBytes", \.requestLineBytes, .size, 256...(1 << 20)),
            .value("headFields", \.headFields, .integer, 8...1000),
            .value("bodyBytes", \.bodyBytes, .size, (1 << 10)...(1 << 30)),
            .value("bodyMemoryBytes", \.bodyMemoryBytes, .size, (1 << 10)...(1 << 40)),
            .value("chunkExtensionBytes", \.chunkExtensionBytes, .size, 0...(64 << 10)),
            .value("trailerBytes", \.trailerBytes, .size, 0...(64 << 10)),
            .list("trustedProxies", \.trustedProxies, .addressRange, count: 0...256), .section("cors", \.cors),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        let size = SettingFormat.size
        var found: [ConfigProblem] = []
        if requestLineBytes > headBytes {
            found.append(
                path.key("requestLineBytes"),
                "must be at most \(path).headBytes (\(size.print(headBytes))), is \(size.print(requestLineBytes))")
        }
        if bodyMemoryBytes < bodyBytes {
            found.append(
                path.key("bodyMemoryBytes"),
                "must be at least \(path).bodyBytes (\(size.print(bodyBytes))), is \(size.print(bodyMemoryBytes))")
        }
        return found
    }
}

extension CORSSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .list("allowedOrigins", \.allowedOrigins, .text, count: 0...256, .origin),
            .value("maxAge", \.maxAge, .duration, .zero ... .seconds(86_400)),
        ]
    }
}

extension SettingRule where Value == String {
    /// What browsers send as `Origin`. Source: RFC 6454, 6.2.
    fileprivate static var origin: Self {
        Self(sentence: "* or an origin such as https://app.example.com") { text in
            guard text != "*" else { return true }
            guard let scheme = ["https://", "http://"].first(where: { text.hasPrefix($0) }) else { return false }
            let authority = text.dropFirst(scheme.utf8.count)
            guard Host.parse(authority) == nil else { return true }
            return (try? SettingFormat.hostPort.parse(String(authority), "")) != nil
        }
    }
}
