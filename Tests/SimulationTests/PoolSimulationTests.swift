import Balancing
import GatewayCore
import Glibc
import TestSupport
import Testing

/// The deciders together, against replicas that fail in every way at random moments.
///
/// A failing seed is replayed alone, with the story of each request that went wrong, by
/// `WEIR_SIMULATION_SEED=<seed> swift test --filter SimulationTests`; `WEIR_SIMULATION_RUNS=<n>` runs more of them.
@Suite struct PoolSimulationTests {
    private static func number(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }

    private static var seeds: [UInt64] {
        if let seed = number("WEIR_SIMULATION_SEED") { return [seed] }
        return Array(1...(number("WEIR_SIMULATION_RUNS") ?? 200))
    }

    /// Runs a world; one that went wrong once more, for the stories of its requests.
    private func runExpectingNoViolations(_ world: Simulation) -> Simulation {
        var simulation = world
        simulation.run()
        guard !simulation.violations.isEmpty else { return simulation }
        simulation = world
        simulation.settings.tells = true
        simulation.run()
        report(simulation)
        return simulation
    }

    private func report(_ simulation: Simulation) {
        let isReplay = Self.number("WEIR_SIMULATION_SEED") != nil
        let shown = simulation.violations.prefix(isReplay ? 20 : 1).joined(separator: "\n")
        let seed = simulation.settings.seed
        Issue.record(
            """
            \(simulation.violations.count) violations with seed \(seed). \
            Replay: WEIR_SIMULATION_SEED=\(seed) swift test --filter SimulationTests
            \(shown)
            """)
    }

    /// A pool, its load and its weather, all drawn from the seed.
    private func world(seed: UInt64) -> Simulation {
        var generator = SplitMix64(seed: seed &* 7_919)
        var settings = Simulation.Settings()
        settings.seed = seed
        settings.weights = (0..<(Int(generator.next() % 5) + 1)).map { _ in Int(generator.next() % 5) + 1 }
        settings.policy = generator.next() % 3 == 0 ? .leastInFlight : .smoothRoundRobin
        settings.maxInFlight = [8, 40, 200][Int(generator.next() % 3)]
        settings.queueLength = generator.next() % 4 == 0 ? 10 : 500
        settings.requestsPerSecond = Int(generator.next() % 40) + 5
        settings.lasts = .seconds(10)
        var simulation = Simulation(settings)
        let isCalm = generator.next() % 3 > 0
        var moment = Moment.zero + .seconds(2)
        while moment < .zero + settings.lasts {
            let replica = Int(generator.next() % UInt64(settings.weights.count))
            let length = Interval.milliseconds(Int64(generator.next() % 6_000) + 50)
            if generator.next() % 5 == 0 {
                let intent = generator.next() % 2 == 0 ? HealthMachine.Intent.draining : .maintenance
                simulation.queue.add(.intent(replica: replica, intent), at: moment)
                simulation.queue.add(.intent(replica: replica, .enabled), at: moment + length)
            } else {
                let condition = Condition.allCases.dropFirst().randomElement(using: &generator) ?? .dead
                simulation.queue.add(.weather(replica: replica, condition), at: moment)
                simulation.queue.add(.weather(replica: replica, .well), at: moment + length)
            }
            moment = moment + .milliseconds(Int64(generator.next() % (isCalm ? 10_000 : 1_500)) + 1)
        }
        return simulation
    }

    @Test(arguments: seeds)
    func `every request ends once, and none fails while a well replica remains`(seed: UInt64) {
        let simulation = runExpectingNoViolations(world(seed: seed))
        #expect(simulation.requests.count > 20)
    }

    @Test func `a run repeats exactly`() {
        var first = world(seed: 3)
        first.settings.tells = true
        var second = first
        first.run()
        second.run()
        #expect(first.requests.map(\.story) == second.requests.map(\.story))
    }

    @Test func `without trouble every replica gets its weight's share`() {
        var settings = Simulation.Settings()
        settings.weights = [5, 3, 1]
        settings.leavePercent = 0
        var simulation = Simulation(settings)
        simulation = runExpectingNoViolations(simulation)
        #expect(simulation.requests.allSatisfy { $0.outcome == .served })
        let sends = simulation.replicas.map { Double($0.sends) }
        let total = sends.reduce(0, +)
        // One turn of the cycle either way; a stale connection is sent twice to the same replica.
        for (sent, weight) in zip(sends, [5.0, 3, 1]) { #expect(abs(sent - total * weight / 9) <= total * 0.02) }
    }

    @Test func `a replica that dies under two hundred streams costs none of them, nor any of the budget`() {
        var settings = Simulation.Settings()
        settings.requestsPerSecond = 200
        settings.lengthMax = 200
        settings.maxInFlight = 1_000
        settings.lasts = .seconds(10)
        settings.isEverythingStreamed = true
        settings.leavePercent = 0
        settings.retryPercent = 0
        settings.retriesPerSecond = 0
        var simulation = Simulation(settings)
        simulation.queue.add(.weather(replica: 1, .dead), at: .zero + .seconds(5))
        simulation = runExpectingNoViolations(simulation)
        #expect(simulation.requests.allSatisfy { $0.outcome == .served || $0.outcome == .finishedLength })
        #expect(simulation.requests.count { $0.attempt.way == .tokenIDs } > 100)
        #expect(simulation.retries.isEmpty)
    }

    @Test func `a rolling restart that drains first is felt by nobody`() {
        var settings = Simulation.Settings()
        settings.leavePercent = 0
        var simulation = Simulation(settings)
        for replica in 0..<3 {
            let start = Moment.zero + .seconds(Int64(replica) * 9 + 2)
            simulation.queue.add(.intent(replica: replica, .draining), at: start)
            simulation.queue.add(.weather(replica: replica, .dead), at: start + .seconds(3))
            simulation.queue.add(.weather(replica: replica, .well), at: start + .seconds(5))
            simulation.queue.add(.intent(replica: replica, .enabled), at: start + .milliseconds(5_100))
        }
        simulation = runExpectingNoViolations(simulation)
        #expect(simulation.requests.allSatisfy { $0.outcome == .served && $0.attempt.sends == 1 })
    }

    @Test func `a pool that only fails is not flooded by its own gateway`() {
        var settings = Simulation.Settings()
        settings.requestsPerSecond = 100
        settings.lasts = .seconds(20)
        var simulation = Simulation(settings)
        for replica in 0..<3 { simulation.queue.add(.weather(replica: replica, .failing), at: .zero + .seconds(1)) }
        simulation = runExpectingNoViolations(simulation)
        let sends = simulation.replicas.reduce(0) { $0 + $1.sends }
        #expect(sends <= simulation.requests.count * 125 / 100 + 100 + 200)
        #expect(simulation.requests.contains { $0.wasRefusedRetry })
    }

    @Test func `after a total outage the first good probe readmits, and traffic is served again`() {
        var settings = Simulation.Settings()
        settings.leavePercent = 0
        var simulation = Simulation(settings)
        for replica in 0..<3 {
            simulation.queue.add(.weather(replica: replica, .dead), at: .zero + .seconds(5))
            simulation.queue.add(.weather(replica: replica, .well), at: .zero + .seconds(10))
        }
        simulation = runExpectingNoViolations(simulation)
        let after = simulation.requests.filter { $0.began > .zero + .milliseconds(10_300) }
        #expect(after.count > 500 && after.allSatisfy { $0.outcome == .served })
        let during = simulation.requests.filter { $0.began > .zero + .seconds(6) && $0.began < .zero + .seconds(9) }
        #expect(during.allSatisfy { $0.outcome == .failed(.noReplica(model: "m")) })
    }
}
