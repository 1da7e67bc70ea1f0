package import GatewayCore

/// How long a busy replica is left alone: what `Retry-After` asks for, within a bound.
package enum CoolDown {
    /// The longest time that a reply can take its replica out; a mistaken header must not do it for a day.
    package static let longest = Interval.seconds(120)

    /// When the replica may be used again; `nil` if the reply named no time.
    package static func end(retryAfter: Interval?, now: Moment) -> Moment? {
        guard let retryAfter, retryAfter > .zero else { return nil }
        return now + min(retryAfter, longest)
    }
}
