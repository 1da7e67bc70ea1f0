import GatewayCore

/// How long to wait before the next attempt to connect.
///
/// The first attempt comes at once; then 250 ms, doubled each time up to 5 s, with up to half of it added at random so
/// that the loops of many gateways don't come back together. A connection that lived for a while starts over.
///
/// Pure: the caller brings the random number.
package struct ReconnectDelay: Equatable, Sendable {
    package static let shortest = Interval.milliseconds(250)
    package static let longest = Interval.seconds(5)
    /// A connection that ended sooner counts as one more failure: a server that accepts and hangs up is not hammered.
    package static let livedLongEnough = Interval.seconds(5)

    private var failures = 0

    package init() {}

    /// The wait before the next attempt.
    package mutating func next(random: UInt64) -> Interval {
        defer { failures += 1 }
        guard failures > 0 else { return .zero }
        let doubled = Self.shortest * (1 << Int64(min(failures - 1, 5)))
        let base = min(doubled, Self.longest)
        let extra = Interval(nanoseconds: Int64(random % UInt64(base.nanoseconds / 2)))
        return min(base + extra, Self.longest)
    }

    /// A connection that stood for `lived` has ended.
    package mutating func connectionEnded(after lived: Interval) {
        if lived >= Self.livedLongEnough { failures = 0 }
    }
}
