/// What the heads that came lately look like: most of those that come next look like one of them.
///
/// The connections of a loop share it, one for requests and one for replies: clients of one kind say the same, and so
/// do the replicas of a pool.
/// - Bound: ``headsMax`` patterns; a ``HeadPattern`` names the bounds of one.
/// - Isolation: one loop.
package final class RecentHeads<Facts: BitwiseCopyable> {
    /// A head that looks like none of them is compared with so many before it is parsed.
    private static var headsMax: Int { 8 }
    /// Once there are as many, one in so many of those heads takes the place of another: senders who never repeat
    /// themselves cost little, and those who do find their place soon.
    private static var missesToLearn: Int { 8 }

    fileprivate struct Entry: ~Copyable {
        var pattern = HeadPattern()
        /// What the head means, besides its fields.
        var facts: Facts?
    }

    fileprivate let entries = UnsafeMutablePointer<Entry>.allocate(capacity: RecentHeads.headsMax)
    /// Heads that looked like none of them and were accepted.
    package private(set) var misses = 0
    private var learned = 0

    package init() {
        for index in 0..<Self.headsMax { (entries + index).initialize(to: Entry()) }
    }

    deinit {
        entries.deinitialize(count: Self.headsMax)
        entries.deallocate()
    }

    /// Every byte that is kept of any head.
    package var keptText: [UInt8] {
        (0..<Self.headsMax).flatMap { index in entries[index].pattern.text.withUnsafeBytes { [UInt8]($0) } }
    }

    @inline(never)
    fileprivate func find(
        _ bytes: Span<UInt8>, _ limits: HeadLimits, into fields: inout FieldList, end: inout Int
    ) -> UnsafeMutablePointer<Entry>? {
        for index in 0..<Self.headsMax {
            end = entries[index].pattern.match(bytes, limits, into: &fields)
            if end > 0 { return entries + index }
        }
        return nil
    }

    @inline(never)
    fileprivate func learn(_ bytes: Span<UInt8>, _ fields: borrowing FieldList, end: Int, _ facts: Facts) {
        misses += 1
        if learned >= Self.headsMax, misses % Self.missesToLearn != 0 { return }
        let entry = entries + learned % Self.headsMax
        entry.pointee.facts = facts
        if entry.pointee.pattern.learn(bytes, fields, end: end, number: misses) { learned += 1 }
    }
}

/// The recent heads as one connection sees them: the one that its last head was like comes first.
struct FamiliarHead<Facts: BitwiseCopyable> {
    private let recent: RecentHeads<Facts>
    /// One of `recent`, which owns it.
    private var entry: UnsafeMutablePointer<RecentHeads<Facts>.Entry>

    init(of recent: RecentHeads<Facts>) {
        self.recent = recent
        entry = recent.entries
    }

    /// Reads the head that `bytes` begin with as one of the recent ones.
    ///
    /// - Out: `fields` and `end`, which say nothing unless it is one.
    /// - Returns: what it means besides its fields; nil when it has to be parsed.
    @inline(__always)
    mutating func recall(
        _ bytes: Span<UInt8>, _ limits: HeadLimits, into fields: inout FieldList, end: inout Int
    ) -> Facts? {
        end = entry.pointee.pattern.match(bytes, limits, into: &fields)
        if end == 0 {
            guard let found = recent.find(bytes, limits, into: &fields, end: &end) else { return nil }
            entry = found
        }
        return entry.pointee.facts
    }

    /// Lets the next heads be compared with this one, which looked like none of them.
    func learn(_ bytes: Span<UInt8>, _ fields: borrowing FieldList, end: Int, _ facts: Facts) {
        recent.learn(bytes, fields, end: end, facts)
    }
}
