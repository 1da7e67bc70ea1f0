import GatewayCore

/// The `timeouts` section.
package struct TimeoutSettings: Equatable, Sendable {
    /// From a request's first byte to the end of its head. Default 10s; 100ms to 10m.
    package var head = Interval.seconds(10)
    /// Silence inside a request body. Default 30s; 100ms to 10m.
    package var bodyStall = Interval.seconds(30)
    /// An unused client connection. Default 75s; 100ms to 1h.
    package var idle = Interval.seconds(75)
    /// A client that takes nothing of its reply. Default 60s; 100ms to 1h.
    package var writeStall = Interval.seconds(60)
    /// Connecting to a replica, TLS included. Default 2s; 10ms to 1m.
    package var connect = Interval.seconds(2)
    /// From the request sent to the reply's first byte. Default 10m; 100ms to 24h.
    package var firstByte = Interval.seconds(600)
    /// From the request sent to the first content of a stream, for a short prompt. Default 2m; 100ms to 24h.
    package var firstContent = Interval.seconds(120)
    /// Added to `firstContent` and `firstByte` for each KiB of the request's body: a long prompt is slow, not dead.
    /// Default 1s; 0s to 10m.
    package var firstContentPerKiB = Interval.seconds(1)
    /// How long a stream's head waits for the first content, so that another replica may still answer. Default 15s; 0s
    /// to 10m.
    package var headHold = Interval.seconds(15)
    /// Silence inside a reply. Default 2m; 100ms to 24h.
    package var streamStall = Interval.seconds(120)
    /// A whole request, retries included. Default 1h; 100ms to 24h.
    package var total = Interval.seconds(3600)
    /// From SIGTERM, during which `/readyz` is 503 and requests are still accepted. Default 0s; 0s to 10m.
    package var shutdownGrace = Interval.zero
    /// After that, for running requests to finish. Default 30s; 0s to 24h.
    package var drain = Interval.seconds(30)

    package init() {}
}

extension TimeoutSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        let tenth = Interval.milliseconds(100)
        let (minute, hour, day) = (Interval.seconds(60), Interval.seconds(3600), Interval.seconds(86_400))
        return [
            .value("head", \.head, .duration, tenth...(minute * 10)),
            .value("bodyStall", \.bodyStall, .duration, tenth...(minute * 10)),
            .value("idle", \.idle, .duration, tenth...hour),
            .value("writeStall", \.writeStall, .duration, tenth...hour),
            .value("connect", \.connect, .duration, .milliseconds(10)...minute),
            .value("firstByte", \.firstByte, .duration, tenth...day),
            .value("firstContent", \.firstContent, .duration, tenth...day),
            .value("firstContentPerKiB", \.firstContentPerKiB, .duration, .zero...(minute * 10)),
            .value("headHold", \.headHold, .duration, .zero...(minute * 10)),
            .value("streamStall", \.streamStall, .duration, tenth...day),
            .value("total", \.total, .duration, tenth...day),
            .value("shutdownGrace", \.shutdownGrace, .duration, .zero...(minute * 10)),
            .value("drain", \.drain, .duration, .zero...day),
        ]
    }
}
