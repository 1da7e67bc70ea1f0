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

    package static var unlimited: KeyLimits { KeyLimits(requests: nil, burst: nil, tokens: nil, inFlight: nil) }
}
