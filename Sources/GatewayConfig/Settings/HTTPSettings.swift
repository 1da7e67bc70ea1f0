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
