import GatewayCore
import RedisClient
import Testing
import TestSupport

@Suite struct ReconnectDelayTests {
    @Test func `the first attempt comes at once, the next ones ever later, up to the longest wait`() {
        var delay = ReconnectDelay()
        let waits = (0..<9).map { _ in delay.next(random: 0).milliseconds }
        #expect(waits == [0, 250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000])
    }

    @Test func `every wait but the first lies between the bounds, whatever chance says`() {
        var generator = SplitMix64(seed: 3)
        for _ in 0..<200 {
            var delay = ReconnectDelay()
            #expect(delay.next(random: generator.next()) == .zero)
            var base = Interval.milliseconds(250)
            for _ in 0..<8 {
                let wait = delay.next(random: generator.next())
                #expect(wait >= base && wait <= ReconnectDelay.longest)
                #expect(wait.nanoseconds <= base.nanoseconds * 3 / 2)
                base = min(base * 2, ReconnectDelay.longest)
            }
        }
    }

    @Test func `only a connection that lived for a while starts over`() {
        var delay = ReconnectDelay()
        for _ in 0..<4 { _ = delay.next(random: 0) }
        delay.connectionEnded(after: .seconds(4))
        #expect(delay.next(random: 0) == .seconds(2))
        delay.connectionEnded(after: .seconds(5))
        #expect(delay.next(random: 0) == .zero)
    }
}
