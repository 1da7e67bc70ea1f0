import Balancing
import GatewayCore
import Testing

@Suite struct BreakerTests {
    private func breaker() -> Breaker {
        Breaker(
            settings: .init(failuresInARow: 5, failuresOf32: 16, shortest: .seconds(5), longest: .seconds(60)))
    }

    private func stopped() -> Breaker {
        var breaker = breaker()
        for _ in 0..<5 { _ = breaker.failed(.zero) }
        return breaker
    }

    @Test func `five failures in a row stop the model on that replica`() {
        var breaker = breaker()
        let reports = (0..<5).map { _ in breaker.failed(.zero) }
        #expect(reports == [false, false, false, false, true])
        #expect(!breaker.mayPass(.zero + .seconds(5) - .nanoseconds(1)))
        #expect(breaker.mayPass(.zero + .seconds(5)))
    }

    @Test func `a success in between starts the row again, but half of the last 32 are too many`() {
        var breaker = breaker()
        for _ in 0..<15 {
            _ = breaker.failed(.zero)
            breaker.succeeded()
        }
        #expect(breaker.isPassing)
        #expect(breaker.failed(.zero) == true)
        #expect(!breaker.isPassing)
    }

    @Test func `a busy answer without a time puts others first for a moment, each further one for twice as long`() {
        var breaker = breaker()
        var now = Moment.zero
        for pause in [50, 100, 200, 400, 800, 1_000, 1_000] as [Int64] {
            breaker.wasBusy(now)
            #expect(!breaker.mayPass(now + .milliseconds(pause) - .nanoseconds(1)))
            now = now + .milliseconds(pause)
            #expect(breaker.mayPass(now) && breaker.isPassing && !breaker.isIdle)
        }
        breaker.succeeded()
        #expect(breaker.isIdle)
        breaker.wasBusy(now)
        #expect(breaker.mayPass(now + .milliseconds(50)))
    }

    @Test func `a trial that is answered with busy makes room for the next one after the pause`() {
        var breaker = stopped()
        let now = Moment.zero + .seconds(5)
        breaker.sent(now)
        breaker.wasBusy(now)
        #expect(!breaker.mayPass(now) && breaker.mayPass(now + .milliseconds(50)))
    }

    @Test func `rare failures never stop it`() {
        var breaker = breaker()
        for _ in 0..<1_000 {
            _ = breaker.failed(.zero)
            for _ in 0..<3 { breaker.succeeded() }
        }
        #expect(breaker.isPassing)
    }

    @Test func `32 good answers after the last failure leave nothing to remember`() {
        var breaker = breaker()
        #expect(breaker.isIdle)
        _ = breaker.failed(.zero)
        for _ in 0..<31 { breaker.succeeded() }
        #expect(!breaker.isIdle)
        breaker.succeeded()
        #expect(breaker.isIdle)
        #expect(!stopped().isIdle)
    }

    @Test func `where deep probes may be sent, no request tries before one succeeded`() {
        var breaker = Breaker(
            settings: .init(
                failuresInARow: 5, failuresOf32: 16, shortest: .seconds(5), longest: .seconds(60), needsProof: true))
        for _ in 0..<5 { _ = breaker.failed(.zero) }
        #expect(!breaker.awaitsProof(.zero + .seconds(4)) && breaker.awaitsProof(.zero + .seconds(5)))
        #expect(!breaker.mayPass(.zero + .seconds(3_600)))
        breaker.proofFailed(.zero + .seconds(5))
        #expect(!breaker.awaitsProof(.zero + .seconds(14)) && breaker.awaitsProof(.zero + .seconds(15)))
        breaker.proved()
        let now = Moment.zero + .seconds(16)
        #expect(breaker.mayPass(now) && !breaker.isPassing && !breaker.awaitsProof(now))
        breaker.sent(now)
        #expect(!breaker.mayPass(now))
        // Nobody knows how the trial ended: the proof still holds.
        breaker.endedWithoutVerdict(now)
        #expect(breaker.mayPass(now))
        breaker.sent(now)
        #expect(breaker.failed(now) == true, "one token it can say, but no answer")
        #expect(!breaker.mayPass(now + .seconds(60)) && breaker.awaitsProof(now + .seconds(20)))
        breaker.proved()
        breaker.sent(now + .seconds(20))
        breaker.succeeded()
        #expect(breaker.isPassing)
        breaker.proved()
        breaker.proofFailed(now)
        #expect(breaker.isPassing)
    }

    @Test func `one trial at a time, and a good one lets everything pass`() {
        var breaker = stopped()
        let now = Moment.zero + .seconds(6)
        breaker.sent(now)
        #expect(!breaker.mayPass(now + .seconds(1)))
        breaker.succeeded()
        #expect(breaker.isPassing && breaker.mayPass(now))
        for _ in 0..<4 { _ = breaker.failed(now) }
        #expect(breaker.isPassing)
    }

    @Test func `each failed trial doubles the stop up to its bound`() {
        var breaker = stopped()
        var now = Moment.zero + .seconds(5)
        for seconds: Int64 in [10, 20, 40, 60, 60] {
            #expect(breaker.mayPass(now))
            breaker.sent(now)
            #expect(breaker.failed(now) == true)
            #expect(!breaker.mayPass(now + .seconds(seconds) - .nanoseconds(1)))
            now = now + .seconds(seconds)
        }
    }

    @Test func `a trial that never reports doesn't hold the model off for ever`() {
        var breaker = stopped()
        breaker.sent(.zero + .seconds(5))
        #expect(!breaker.mayPass(.zero + .seconds(64)))
        #expect(breaker.mayPass(.zero + .seconds(65)))
    }

    @Test func `a trial that ends without a verdict makes room for the next one at once`() {
        var breaker = stopped()
        breaker.sent(.zero + .seconds(5))
        #expect(!breaker.mayPass(.zero + .seconds(6)))
        breaker.endedWithoutVerdict(.zero + .seconds(6))
        #expect(breaker.mayPass(.zero + .seconds(6)) && !breaker.isPassing)
    }

    @Test func `answers to requests of before the stop change nothing`() {
        var breaker = stopped()
        #expect(breaker.failed(.zero + .seconds(1)) == false)
        breaker.succeeded()
        #expect(!breaker.mayPass(.zero + .seconds(4)))
        #expect(breaker.mayPass(.zero + .seconds(5)))
    }

    @Test func `being busy never counts, and what health sees already doesn't count twice`() {
        for failure in UpstreamFailure.allCases {
            #expect(!failure.countsForBreaker || failure != .busy)
            #expect(failure.healthReason == nil || failure.declaresDead)
        }
        #expect(UpstreamFailure.serverError.countsForBreaker && UpstreamFailure.wrongContentType.countsForBreaker)
        #expect(!UpstreamFailure.busy.countsForBreaker && !UpstreamFailure.connectFailed.countsForBreaker)
    }
}
