import GatewayCore
import TestSupport
import Testing

@testable import Telemetry

@Suite struct HistogramTests {
    private func bucket(of nanoseconds: Int64) -> Int? {
        let histogram = Histogram()
        histogram.record(Interval(nanoseconds: nanoseconds))
        return histogram.reading.counts.firstIndex(of: 1)
    }

    @Test func `an interval on an edge belongs to the bucket that ends there, one nanosecond more to the next`() {
        for edge in 0..<28 {
            #expect(bucket(of: Histogram.edges[edge]) == edge)
            #expect(bucket(of: Histogram.edges[edge] + 1) == edge + 1)
        }
        #expect(bucket(of: 0) == 0)
        #expect(bucket(of: .max) == 28)
    }

    @Test func `the bucket found by magnitude is the one that a search through all edges finds`() {
        var generator = SplitMix64(seed: 11)
        for _ in 0..<20_000 {
            let value = Int64(generator.next() >> (1 + generator.next() % 62))
            var expected = 0
            while expected < 28, value > Histogram.edges[expected] { expected += 1 }
            #expect(bucket(of: value) == expected, "\(value) ns")
        }
    }

    @Test func `labels say the edges in seconds, in rising order, with the ones that objectives name`() {
        for edge in 0..<28 {
            #expect(Double(Histogram.edgeLabels[edge]) == Double(Histogram.edges[edge]) / 1e9)
            #expect(edge == 0 || Histogram.edges[edge] > Histogram.edges[edge - 1])
        }
        #expect(Histogram.edgeLabels.count == 28)
        for needed in ["0.3", "1.2", "1.5", "600"] { #expect(Histogram.edgeLabels.contains(needed)) }
    }

    @Test func `the sum is that of all observations, and a negative interval counts as zero`() {
        let histogram = Histogram()
        histogram.record(.milliseconds(20))
        histogram.record(.seconds(2))
        histogram.record(.milliseconds(-5))
        #expect(histogram.reading.sumNanoseconds == 2_020_000_000)
        #expect(histogram.reading.count == 3)
        #expect(histogram.reading.counts[0] == 1)
    }
}
