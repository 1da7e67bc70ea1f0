import GatewayCore

/// When an issuer's key set is fetched again.
///
/// Regularly; at once when a token names a key that isn't in the set, but never sooner than `gap` after the last
/// attempt, so that invented key names can't make us a nuisance. A set that couldn't be fetched is kept: an issuer that
/// is down must not lock out its users. Until there is a first set, attempts follow faster, because nobody gets in.
///
/// Pure: whoever fetches asks ``isDue(now:)`` and reports what happened.
package struct KeySetSchedule: Equatable, Sendable {
    /// Between two fetches when all is well.
    package let interval: Interval
    /// From one attempt to the next, at least; also after a failure.
    package let gap: Interval

    /// When the set is to be fetched; `.never` while that is going on.
    package private(set) var due = Moment.zero
    private var lastAttempt: Moment?
    /// `nil` once there was a set.
    private var firstRetry: Interval? = .seconds(1)
    private var wasAskedFor = false

    /// - Precondition: both are positive and `gap` is at most `interval`; the configuration is validated before.
    package init(interval: Interval, gap: Interval) {
        precondition(gap > .zero && gap <= interval)
        self.interval = interval
        self.gap = gap
    }

    package func isDue(now: Moment) -> Bool { now >= due }

    /// A token named a key that we don't have.
    package mutating func unknownKey(now: Moment) {
        guard due != .never else {
            // The set on its way may have been read before the key was added.
            wasAskedFor = true
            return
        }
        guard let lastAttempt, firstRetry == nil else { return }
        due = min(due, max(now, lastAttempt + gap))
    }

    package mutating func started(now: Moment) {
        lastAttempt = now
        due = .never
        wasAskedFor = false
    }

    package mutating func fetched(now: Moment) {
        firstRetry = nil
        due = now + (wasAskedFor ? gap : interval)
    }

    /// The attempt failed. Before the first set: again after 1, 2, 4 … seconds, at most `gap`; later after `gap`.
    package mutating func failed(now: Moment) {
        guard let wait = firstRetry else {
            due = now + gap
            return
        }
        due = now + min(wait, gap)
        firstRetry = min(wait * 2, gap)
    }
}
