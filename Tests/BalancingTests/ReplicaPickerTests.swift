import Balancing
import Testing

@Suite struct ReplicaPickerTests {
    private let members: [ReplicaPicker.Member] = [
        .init(weight: 1, tier: .primary), .init(weight: 1, tier: .primary), .init(weight: 1, tier: .backup),
    ]

    private func pick(
        _ picker: inout ReplicaPicker, _ availability: [ReplicaPicker.Availability]
    ) -> ReplicaPicker.Pick {
        picker.pick(inFlight: { _ in 0 }, { availability[$0] })
    }

    @Test(arguments: [ReplicaPicker.Policy.smoothRoundRobin, .leastInFlight])
    func `backups replace primaries that are gone, not ones that are full`(policy: ReplicaPicker.Policy) {
        var picker = ReplicaPicker(members, policy: policy)
        #expect(pick(&picker, [.available, .available, .available]) == .replica(0))
        #expect(pick(&picker, [.available, .available, .available]) == .replica(1))
        #expect(pick(&picker, [.full, .unavailable, .available]) == .full)
        #expect(pick(&picker, [.unavailable, .unavailable, .available]) == .replica(2))
        #expect(pick(&picker, [.unavailable, .unavailable, .full]) == .full)
        #expect(pick(&picker, [.unavailable, .unavailable, .unavailable]) == .none)
    }

    @Test func `the usual pick takes the turns of the primaries, and leaves other policies to the long one`() {
        var picker = ReplicaPicker(members, policy: .smoothRoundRobin)
        #expect([picker.takeTurn(), picker.takeTurn(), picker.takeTurn()] == [0, 1, 0])
        let turn = picker.takeTurn()
        #expect(turn == 1)
        picker.giveBack(1)
        #expect(pick(&picker, [.available, .available, .available]) == .replica(1))
        var counting = ReplicaPicker(members, policy: .leastInFlight)
        #expect(counting.takeTurn() == nil)
        var backups = ReplicaPicker([.init(weight: 1, tier: .backup)], policy: .smoothRoundRobin)
        #expect(backups.takeTurn() == nil)
    }

    @Test func `new weights reach their tiers`() {
        var picker = ReplicaPicker(members, policy: .smoothRoundRobin)
        picker.replaceWeights([0, 3, 1])
        for _ in 0..<4 { #expect(pick(&picker, [.available, .available, .available]) == .replica(1)) }
        #expect(pick(&picker, [.available, .unavailable, .available]) == .replica(2))
    }
}
