import Balancing

/// Picking one of so many replicas, all of them available, with weights from 1 to 5.
func balancerMeasurements(_ policy: ReplicaPicker.Policy) -> [Measurement] {
    [3, 30, 300, 1_000].map { count in
        let members = (0..<count).map { ReplicaPicker.Member(weight: $0 % 5 + 1, tier: .primary) }
        var picker = ReplicaPicker(members, policy: policy)
        var inFlight = Array(repeating: 0, count: count)
        // Each request ends when two more for every replica have started.
        var running = Array(repeating: 0, count: count * 2)
        var oldest = 0
        return .of("\(count) replicas") { _ in
            inFlight[running[oldest]] = max(0, inFlight[running[oldest]] - 1)
            guard case .replica(let picked) = picker.pick(inFlight: { inFlight[$0] }, { _ in .available }) else {
                return 0
            }
            inFlight[picked] += 1
            running[oldest] = picked
            oldest = oldest + 1 == running.count ? 0 : oldest + 1
            return picked
        }
    }
}
