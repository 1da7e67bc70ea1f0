import GatewayCore
import Reactor
import Testing

/// Counts what the loop calls it for, and needs the task after so many calls.
private final class CountingDeputy: Deputy {
    var wakes: [Parking.Wake] = []
    private let callsMax: Int
    private let deadline: () -> Moment
    private let during: (Int) -> Void

    init(callsMax: Int, deadline: @escaping () -> Moment, during: @escaping (Int) -> Void = { _ in }) {
        self.callsMax = callsMax
        self.deadline = deadline
        self.during = during
    }

    func goOn(_ wake: Parking.Wake) -> Moment? {
        wakes.append(wake)
        during(wakes.count)
        return wakes.count < callsMax ? deadline() : nil
    }
}

/// Tasks that wait, and what goes on in their stead.
@Suite struct ParkingTests {
    @Test func `a deputy sees every wake-up, and its task none until it is needed`() async throws {
        let (seen, resumptions) = try await onLoop { loop async -> ([Parking.Wake], Int) in
            let parked = Parking(on: loop)
            let ended = Parking(on: loop)
            let deputy = CountingDeputy(callsMax: 4, deadline: { loop.now + .seconds(60) })
            var resumptions = 0
            loop.spawn {
                await parked.park(until: loop.now + .seconds(60), deputy: deputy)
                resumptions += 1
                ended.wake()
            }
            let end = loop.now + .seconds(10)
            var woken = 0
            while resumptions == 0, loop.now < end {
                if deputy.wakes.count == woken, woken < 4 {
                    parked.wake()
                    woken += 1
                }
                _ = await ended.park(until: loop.now + .milliseconds(1))
            }
            parked.close()
            ended.close()
            return (deputy.wakes, resumptions)
        }
        #expect(seen == [.ready, .ready, .ready, .ready])
        #expect(resumptions == 1)
    }

    @Test func `a deputy is told when its deadline has passed, one that it has just set too`() async throws {
        let wakes = try await onLoop { loop async -> [Parking.Wake] in
            let parking = Parking(on: loop)
            let deputy = CountingDeputy(callsMax: 4, deadline: { loop.now })
            await parking.park(until: loop.now + .milliseconds(2), deputy: deputy)
            parking.close()
            return deputy.wakes
        }
        #expect(wakes == [.deadline, .deadline, .deadline, .deadline])
    }

    @Test func `what wakes a deputy while it goes on is not lost`() async throws {
        let wakes = try await onLoop { loop async -> [Parking.Wake] in
            let parking = Parking(on: loop)
            let deputy = CountingDeputy(
                callsMax: 3, deadline: { loop.now + .seconds(60) }, during: { if $0 < 3 { parking.wake() } })
            parking.wake()
            await parking.park(until: loop.now + .seconds(60), deputy: deputy)
            parking.close()
            return deputy.wakes
        }
        #expect(wakes == [.ready, .ready, .ready])
    }

    @Test func `a task whose deputy needed it waits for itself afterwards`() async throws {
        let (wake, calls) = try await onLoop { loop async -> (Parking.Wake, Int) in
            let parking = Parking(on: loop)
            let deputy = CountingDeputy(callsMax: 1, deadline: { .never })
            await parking.park(until: loop.now + .milliseconds(1), deputy: deputy)
            let wake = await parking.park(until: loop.now + .milliseconds(1))
            parking.close()
            return (wake, deputy.wakes.count)
        }
        #expect(wake == .deadline)
        #expect(calls == 1)
    }

    @Test func `tasks go on in the order in which they were woken, however many there are`() async throws {
        let count = 1_000
        let order = try await onLoop { loop async -> [Int] in
            let all = Parking(on: loop)
            let parkings = (0..<count).map { _ in Parking(on: loop) }
            var standing = 0
            var order: [Int] = []
            for index in 0..<count {
                loop.spawn {
                    standing += 1
                    if standing == count { all.wake() }
                    _ = await parkings[index].park(until: loop.now + .seconds(60))
                    order.append(index)
                    if order.count == count { all.wake() }
                }
            }
            let end = loop.now + .seconds(20)
            while standing < count, loop.now < end { _ = await all.park(until: end) }
            for parking in parkings { parking.wake() }
            while order.count < count, loop.now < end { _ = await all.park(until: end) }
            for parking in parkings { parking.close() }
            all.close()
            return order
        }
        #expect(order == Array(0..<count))
    }
}
