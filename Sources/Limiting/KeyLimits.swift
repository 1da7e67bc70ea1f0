package import GatewayCore

/// What one key may spend. `nil` means no such limit.
package struct KeyLimits: Equatable, Sendable {
    /// `amount` in any window of the length `per`.
    package struct Rate: Equatable, Sendable {
        package var amount: Int
        package var per: Interval

        package init(_ amount: Int, per: Interval) {
            self.amount = amount
            self.per = per
        }
    }

    package var requests: Rate?
    /// A second, shorter window over requests that caps bursts.
    package var burst: Rate?
    package var tokens: Rate?
    /// Requests in flight at once.
    package var inFlight: Int?

    package init(requests: Rate?, burst: Rate?, tokens: Rate?, inFlight: Int?) {
        self.requests = requests
        self.burst = burst
        self.tokens = tokens
        self.inFlight = inFlight
    }

    var hasTokensOrBurst: Bool { tokens != nil || burst != nil }

    package static var unlimited: KeyLimits { KeyLimits(requests: nil, burst: nil, tokens: nil, inFlight: nil) }
}

/// Limits that many keys have in common, so that each keeps one word of them.
package final class SharedKeyLimits: Sendable {
    package let limits: KeyLimits

    package init(_ limits: KeyLimits) { self.limits = limits }
}
