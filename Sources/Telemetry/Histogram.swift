import GatewayCore

/// How often an interval fell between which edges, and the sum of all.
///
/// One loop records, the scraper reads: numbers of one scrape may disagree by the observation that is being recorded.
/// - Cost: an observation is a look-up by magnitude, at most four comparisons and two additions; no allocation.
package struct Histogram: ~Copyable, Sendable {
    /// Upper edges, inclusive, in nanoseconds: 100 µs to 600 s. Above the last one everything counts as infinite.
    ///
    /// 0.3, 1.2 and 1.5 s are what objectives are stated in, so that no alert has to interpolate.
    static let edges: InlineArray<28, Int64> = [
        100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000,
        100_000_000, 200_000_000, 300_000_000, 500_000_000, 750_000_000, 1_000_000_000, 1_200_000_000,
        1_500_000_000, 2_000_000_000, 3_000_000_000, 5_000_000_000, 7_500_000_000, 10_000_000_000,
        20_000_000_000, 30_000_000_000, 60_000_000_000, 120_000_000_000, 300_000_000_000,
        600_000_000_000,
    ]
    /// How the page spells the edges, in seconds.
    static let edgeLabels: [String] = [
        "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05",
        "0.1", "0.2", "0.3", "0.5", "0.75", "1", "1.2", "1.5", "2", "3", "5", "7.5", "10",
        "20", "30", "60", "120", "300", "600",
    ]
    /// For every number of significant bits, the first edge that a value with so many bits can be at or under.
    private static let firstEdge: InlineArray<65, UInt8> = [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 4, 5,
        6, 7, 8, 9, 10, 11, 13, 15, 18, 19, 21, 22, 24, 25, 26, 26, 27, 28, 28, 28, 28, 28, 28, 28,
        28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    ]

    /// The last one holds what is above every edge.
    private let buckets = InlineArray<29, Counter> { _ in Counter() }
    private let sum = Counter()

    package init() {}

    /// Counts one observation; a negative interval counts as zero.
    @inline(__always)
    package func record(_ interval: Interval) {
        let nanoseconds = max(0, interval.nanoseconds)
        var bucket = Int(Self.firstEdge[64 - nanoseconds.leadingZeroBitCount])
        while bucket < 28, nanoseconds > Self.edges[bucket] { bucket += 1 }
        buckets[bucket].add()
        sum.add(Int(nanoseconds))
    }

    /// What was recorded so far.
    var reading: Reading {
        var reading = Reading()
        add(to: &reading)
        return reading
    }

    func add(to reading: inout Reading) {
        for bucket in 0..<29 { reading.counts[bucket] += buckets[bucket].value }
        reading.sumNanoseconds &+= sum.value
    }

    /// A copy of one or several histograms' numbers.
    struct Reading {
        /// Per bucket, not cumulative; the last one is above every edge.
        var counts = Array(repeating: 0, count: 29)
        var sumNanoseconds = 0
        var count: Int { counts.reduce(0, +) }
    }
}
