import GatewayCore
import Reactor
import Testing

/// What is done elsewhere comes back to the loop that waits for it.
@Suite struct ErrandTests {
    @Test func `a result from another thread ends the wait for it`() async throws {
        let other = Worker()
        other.start(name: "other-loop")
        let (results, wasInTime) = try await onLoop { loop async -> ([Int], Bool) in
            let parking = Parking(on: loop)
            let end = loop.now + .seconds(60)
            let errand = Errand<Int>(on: loop)
            other.post { _ in errand.bring(7) }
            let results = await errand.results(parking, until: end)
            parking.close()
            return (results, loop.now < end)
        }
        other.post { $0.stop() }
        #expect(results == [7])
        #expect(wasInTime)
    }

    @Test func `a result that is there before the wait is not waited for`() async throws {
        let results = try await onLoop { loop async -> [Int] in
            let parking = Parking(on: loop)
            let errand = Errand<Int>(on: loop)
            errand.bring(1)
            let results = await errand.results(parking)
            parking.close()
            return results
        }
        #expect(results == [1])
    }

    @Test func `the wait is for all results, and for none beyond`() async throws {
        let others = (0..<4).map { _ in Worker() }
        for other in others { other.start(name: "other-loop") }
        let results = try await onLoop { loop async -> [Int] in
            let parking = Parking(on: loop)
            let errand = Errand<Int>(on: loop, results: 4)
            for (index, other) in others.enumerated() { other.post { _ in errand.bring(index) } }
            _ = await errand.results(parking)
            errand.bring(99)
            let results = await errand.results(parking)
            parking.close()
            return results
        }
        for other in others { other.post { $0.stop() } }
        #expect(results.sorted() == [0, 1, 2, 3])
    }

    @Test func `a wait that is over too soon hands over what there is`() async throws {
        let (late, givenUp) = try await onLoop { loop async -> ([Int], [Int]) in
            let parking = Parking(on: loop)
            let errand = Errand<Int>(on: loop, results: 2)
            errand.bring(1)
            let late = await errand.results(parking, until: loop.now + .milliseconds(2))
            var isStopped = false
            loop.spawn {
                isStopped = true
                parking.wake()
            }
            let givenUp = await errand.results(parking, unless: { isStopped })
            parking.close()
            return (late, givenUp)
        }
        #expect(late == [1] && givenUp == [1])
    }
}
