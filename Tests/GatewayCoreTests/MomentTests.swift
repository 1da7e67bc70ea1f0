import TestSupport
import Testing

@testable import GatewayCore

@Suite struct MomentTests {
    @Test func `adding an interval and taking the difference gives the interval back`() {
        var generator = SplitMix64(seed: 1)
        for _ in 0..<1000 {
            let moment = Moment(nanoseconds: .random(in: 0...(1 << 61), using: &generator))
            let interval = Interval(nanoseconds: .random(in: 0...(1 << 61), using: &generator))
            #expect(moment + interval - moment == interval)
            #expect(moment + interval - interval == moment)
            #expect((moment < moment + interval) == (interval > .zero))
        }
    }

    @Test func `a moment beyond the last one is never, not a crash`() {
        #expect(Moment.never + .seconds(1) == .never)
        #expect(Moment(nanoseconds: .max - 5) + .nanoseconds(6) == .never)
        #expect(Moment(nanoseconds: .max - 6) + .nanoseconds(6) == .never)
        #expect(Moment.zero + Interval(nanoseconds: .max) == .never)
        #expect(Moment.zero < .never)
    }

    @Test func `units are multiples of each other`() {
        #expect(Interval.seconds(1) == .milliseconds(1000))
        #expect(Interval.milliseconds(1) == .microseconds(1000))
        #expect(Interval.microseconds(1) == .nanoseconds(1000))
        #expect(Interval.seconds(3) / 2 == .milliseconds(1500))
        #expect(Interval.milliseconds(250) * 4 == .seconds(1))
        #expect(Interval.milliseconds(1500).seconds == 1.5)
        #expect(Interval.microseconds(1500).milliseconds == 1.5)
    }

    @Test(arguments: [(0, 0, 0), (1, 1, 1), (1_000_000, 1, 1), (1_000_001, 1, 2), (1_000_000_000, 1, 1000)])
    func `waits are rounded up, so that nobody comes too early`(nanoseconds: Int64, seconds: Int64, milliseconds: Int64)
    {
        let interval = Interval(nanoseconds: nanoseconds)
        #expect(interval.secondsRoundedUp == seconds)
        #expect(interval.millisecondsRoundedUp == milliseconds)
    }

    @Test func `a wait that is over is no wait`() {
        #expect(Interval.seconds(-5).secondsRoundedUp == 0)
        #expect(Interval.seconds(-5).millisecondsRoundedUp == 0)
    }

    @Test func `rounding up never loses time and never adds a whole unit`() {
        var generator = SplitMix64(seed: 2)
        for _ in 0..<1000 {
            let interval = Interval(nanoseconds: .random(in: 0...(1 << 60), using: &generator))
            let seconds = Interval.seconds(interval.secondsRoundedUp)
            #expect(seconds >= interval && seconds - interval < .seconds(1))
            let milliseconds = Interval.milliseconds(interval.millisecondsRoundedUp)
            #expect(milliseconds >= interval && milliseconds - interval < .milliseconds(1))
        }
    }

    @Test func `wall time is compared in nanoseconds and shown in seconds`() {
        let second = WallTime(secondsSinceEpoch: 1_700_000_000)
        #expect(second.secondsSinceEpoch == 1_700_000_000)
        #expect(second < WallTime(nanosecondsSinceEpoch: second.nanosecondsSinceEpoch + 1))
        #expect(WallTime(nanosecondsSinceEpoch: 1_999_999_999).secondsSinceEpoch == 1)
    }
}
