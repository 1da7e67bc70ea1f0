import Balancing
import GatewayCore
import Testing

@Suite struct RestartPolicyTests {
    private func policy() -> RestartPolicy {
        RestartPolicy(
            settings: .init(
                firstDelay: .milliseconds(500), longestDelay: .seconds(30), restartsMax: 3, window: .seconds(300),
                coolDown: .seconds(120), stableAfter: .seconds(60)))
    }

    @Test func `the wait doubles, and a fourth restart within the window is refused for a while`() {
        var policy = policy()
        var now = Moment.zero
        for delay: Int64 in [500, 1_000, 2_000] {
            policy.started(now)
            now = now + .seconds(5)
            #expect(policy.exited(now) == .restart(after: .milliseconds(delay)))
            now = now + .milliseconds(delay)
        }
        policy.started(now)
        #expect(policy.exited(now + .seconds(5)) == .coolDown(for: .seconds(120)))
        policy.started(now + .seconds(125))
        #expect(policy.exited(now + .seconds(126)) == .restart(after: .milliseconds(500)))
    }

    @Test func `a process that was stable has a clean record`() {
        var policy = policy()
        var now = Moment.zero
        for _ in 0..<20 {
            policy.started(now)
            now = now + .seconds(61)
            #expect(policy.exited(now) == .restart(after: .milliseconds(500)))
        }
    }

    @Test func `a process that cannot even start is counted too`() {
        var policy = policy()
        let actions = (0..<4).map { _ in policy.exited(.zero) }
        #expect(actions.last == .coolDown(for: .seconds(120)))
    }

    @Test func `crashes that are rare but never stable fall out of the window`() {
        var policy = policy()
        var now = Moment.zero
        for _ in 0..<20 {
            policy.started(now)
            now = now + .seconds(50)
            guard case .restart(let delay) = policy.exited(now) else { Issue.record("cooled down"); return }
            now = now + delay + .seconds(60)
        }
    }

    @Test func `a process is asked to end, given time, then killed`() {
        var stop = StopPolicy(patience: .seconds(30))
        let end = Moment.zero + .seconds(31)
        #expect(stop.next(.zero + .seconds(1)) == .terminate)
        #expect(stop.next(.zero + .seconds(1)) == .wait(until: end))
        #expect(stop.next(end - .nanoseconds(1)) == .wait(until: end))
        #expect(stop.next(end) == .kill)
    }
}
