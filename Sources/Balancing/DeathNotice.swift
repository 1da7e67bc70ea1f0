/// Whether one send has lost its replica: a probe declared that dead while the request was there, and it lies in that
/// same death still.
///
/// Every death of a replica has a number (`Replica.death` in `Upstreams`; nil while no probe says that it is dead). The
/// message of one may come late: the request has moved on, or the replica is up again, or only suspected, or dead anew.
///
/// Pure, and one for each send. `public`, because every send makes one and every wait asks it (docs/decisions/003).
public struct DeathNotice: Equatable, Sendable {
    /// The death in which it was asked all the same, because nobody else served.
    private var known: UInt32?
    private var told: UInt32?

    /// - Parameters:
    ///   - death: the replica's, as the send begins.
    ///   - isAnyServing: a replica in its death is asked only while nobody serves; otherwise it died just now.
    public init(death: UInt32?, isAnyServing: Bool) {
        known = isAnyServing ? nil : death
    }

    /// For a send to a replica that is not dead.
    public init() {}

    /// The replica was declared dead, and this is its death now.
    ///
    /// - Returns: whether that is news to the send.
    public mutating func tell(_ death: UInt32?) -> Bool {
        guard let death, death != known else { return false }
        told = death
        return true
    }

    /// Of nothing else there is anything to be lost.
    public var isTold: Bool { told != nil }

    /// - Parameter death: the replica's now.
    public func isLost(_ death: UInt32?) -> Bool { told != nil && told == death }
}
