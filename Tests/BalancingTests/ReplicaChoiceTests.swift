import Balancing
import GatewayCore
import Testing

@Suite struct ReplicaChoiceTests {
    private typealias Candidate = ReplicaPicker.Candidate
    private let now = Moment.zero + .seconds(100)

    private func candidate(
        _ health: HealthMachine.Health = .up(failures: 0), intent: HealthMachine.Intent = .enabled,
        isFull: Bool = false, coolUntil: Moment = .zero, mayPass: Bool = true, isSuspected: Bool = false
    ) -> Candidate {
        Candidate(
            health: HealthSnapshot(intent: intent, health: health, share: 16, isSuspected: isSuspected),
            isFull: isFull, coolUntil: coolUntil, mayPassBreaker: mayPass)
    }

    private func choose(
        _ candidates: [Candidate], never: [Int] = [], busy: [Int] = [], avoid: [Int] = [],
        isSuitable: (Int) -> Bool = { _ in true }
    ) -> ReplicaPicker.Choice {
        var exclusions = Attempt.Exclusions()
        never.forEach { exclusions.never.insert($0) }
        busy.forEach { exclusions.busy.insert($0) }
        avoid.forEach { exclusions.avoid.insert($0) }
        let members = candidates.map { _ in ReplicaPicker.Member(weight: 1, tier: .primary) }
        var picker = ReplicaPicker(members, policy: .smoothRoundRobin)
        return picker.choose(
            excluding: exclusions, now: now, isSuitable: isSuitable, candidate: { candidates[$0] })
    }

    private let down = HealthMachine.Health.down(successes: 0, .refused)

    @Test func `a replica that serves comes first`() {
        #expect(choose([candidate(down), candidate(mayPass: false), candidate()]) == .replica(2))
        #expect(choose([candidate(), candidate()], isSuitable: { $0 == 1 }) == .replica(1))
    }

    @Test func `a full replica is waited for rather than a stopped or a failed one used`() {
        #expect(choose([candidate(isFull: true), candidate(mayPass: false), candidate()], avoid: [2]) == .full)
    }

    @Test func `a breaker doesn't take the last replica away`() {
        #expect(choose([candidate(down), candidate(mayPass: false)]) == .replica(1))
        #expect(choose([candidate(), candidate(mayPass: false)], avoid: [0]) == .replica(1))
    }

    @Test func `panic comes before the same replica again, and only when nobody is up`() {
        #expect(choose([candidate(down), candidate(down)], avoid: [0]) == .replica(1))
        #expect(choose([candidate(), candidate(down)], avoid: [0]) == .replica(0))
        #expect(choose([candidate(), candidate(down)], never: [0]) == .noneLeft(coolAt: nil))
    }

    @Test func `with nobody up and nobody else left, one that failed for this request is asked again`() {
        #expect(choose([candidate(down)], avoid: [0]) == .replica(0))
        #expect(choose([candidate(down), candidate(down)], never: [1], avoid: [0]) == .replica(0))
        #expect(choose([candidate(down), candidate(down)], never: [0, 1]) == .noneLeft(coolAt: nil))
        #expect(choose([candidate(down), candidate()], never: [1], avoid: [0]) == .noneLeft(coolAt: nil))
    }

    @Test func `in panic a full replica is waited for, too, but not while somebody else is up`() {
        #expect(choose([candidate(down, isFull: true)]) == .full)
        let candidates = [candidate(down, isFull: true), candidate(), candidate(down, isFull: true)]
        #expect(choose(candidates, never: [1]) == .noneLeft(coolAt: nil))
    }

    @Test func `a suspected replica is asked when nobody who serves is left, before one that has failed`() {
        let suspected = candidate(down, isSuspected: true)
        #expect(choose([suspected, candidate(down), candidate()]) == .replica(2))
        #expect(choose([suspected, candidate(down), candidate()], never: [2]) == .replica(0))
        #expect(choose([candidate(down), suspected, candidate()], avoid: [2]) == .replica(1))
        #expect(choose([suspected, candidate(), candidate()], busy: [1], avoid: [2]) == .replica(0))
        #expect(choose([suspected, candidate(isFull: true)]) == .full, "it is waited for")
        #expect(choose([suspected, candidate(mayPass: false)]) == .replica(1))
    }

    @Test func `one that was suspected on account of this very request is the last that is asked`() {
        let suspected = candidate(down, isSuspected: true)
        #expect(choose([suspected, suspected, candidate()], never: [2], avoid: [0]) == .replica(1))
        #expect(choose([suspected, candidate()], avoid: [0, 1]) == .replica(1))
        #expect(choose([suspected, candidate()], never: [1], avoid: [0]) == .replica(0))
        #expect(choose([suspected, candidate()], never: [0, 1]) == .noneLeft(coolAt: nil))
    }

    @Test func `a suspected replica that is drained, cools down or is full is not asked`() {
        let others = [candidate()]
        let soon = now + .seconds(1)
        let drained = candidate(down, intent: .draining, isSuspected: true)
        #expect(choose([drained] + others, never: [1]) == .noneLeft(coolAt: nil))
        let cooling = candidate(down, coolUntil: soon, isSuspected: true)
        #expect(choose([cooling] + others, never: [1]) == .noneLeft(coolAt: soon))
        #expect(choose([candidate(down, isFull: true, isSuspected: true)] + others, never: [1]) == .full)
    }

    @Test func `of several suspected ones the least bad is asked`() {
        let late = candidate(.down(successes: 0, .timedOut), isSuspected: true)
        #expect(choose([candidate(down, isSuspected: true), late, candidate()], never: [2]) == .replica(1))
    }

    @Test func `a replica that cools down is left alone, and the soonest end is told`() {
        let soon = now + .seconds(3)
        let cooling = [
            candidate(coolUntil: now + .seconds(9)), candidate(coolUntil: soon),
            candidate(coolUntil: now + .seconds(1)), candidate(intent: .draining, coolUntil: now + .seconds(2)),
        ]
        #expect(choose(cooling, never: [2], busy: [1]) == .noneLeft(coolAt: soon))
        #expect(choose(cooling + [candidate()], busy: [1]) == .replica(4))
        #expect(choose([candidate(coolUntil: now)]) == .replica(0))
    }

    @Test func `a draining replica is never chosen`() {
        let draining = candidate(intent: .draining)
        #expect(choose([draining, candidate(down)]) == .replica(1))
        #expect(choose([draining, draining]) == .noneLeft(coolAt: nil))
        #expect(choose([]) == .noneLeft(coolAt: nil))
    }

    @Test func `equally bad replicas take turns in panic`() {
        let members = (0..<3).map { _ in ReplicaPicker.Member(weight: 1, tier: .primary) }
        var picker = ReplicaPicker(members, policy: .smoothRoundRobin)
        var chosen = Set<Int>()
        for _ in 0..<3 {
            let choice = picker.choose(excluding: .init(), now: now, candidate: { _ in candidate(down) })
            if case .replica(let index) = choice { chosen.insert(index) }
        }
        #expect(chosen == [0, 1, 2])
    }
}
