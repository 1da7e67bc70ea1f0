import GatewayCore
import Glibc
import Reactor
import Synchronization
import Testing

/// Results that a loop hands to a test.
final class Box<Value: Sendable>: Sendable {
    private let storage: Mutex<Value>
    init(_ value: Value) { storage = Mutex(value) }
    var value: Value { storage.withLock { $0 } }
    func update(_ change: @Sendable (inout Value) -> Void) { storage.withLock { change(&$0) } }
}

@Suite struct LoopTests {
    @Test func `what two sockets send each other arrives whole and in order`() async throws {
        let received = try await onLoop { loop async throws -> [UInt8] in
            let pair = try await Pair.connected(on: loop)
            let deadline = loop.now + .seconds(10)
            let sent = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            var offset = 0
            var got: [UInt8] = []
            while got.count < sent.count, loop.now < deadline {
                if offset < sent.count {
                    let rest = sent[offset...]
                    if case .wrote(let count) = rest.withUnsafeBytes({ pair.near.write($0) }) { offset += count }
                }
                switch pair.far.read(into: loop.scratch) {
                case .bytes(let count): got.append(contentsOf: loop.scratch[0..<count])
                case .wouldBlock: _ = await pair.farParking.park(until: loop.now + .milliseconds(20))
                case .end, .failed: return got
                }
            }
            pair.close()
            return got
        }
        #expect(received == (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 7) })
    }

    @Test func `timers fire in the order of their deadlines, moved ones at their new place`() async throws {
        let order = Box<[Int]>([])
        try await onLoop { loop async in
            let parking = Parking(on: loop)
            let timers = (0..<4).map { _ in LoopTimer(on: loop) }
            for (index, timer) in timers.enumerated() {
                timer.onFire {
                    order.update { $0.append(index) }
                    if order.value.count == 3 { parking.wake() }
                }
            }
            timers[0].set(loop.now + .milliseconds(30))
            timers[1].set(loop.now + .milliseconds(10))
            timers[2].set(loop.now + .milliseconds(1))
            timers[2].set(loop.now + .milliseconds(20))
            timers[3].set(loop.now + .milliseconds(5))
            timers[3].set(.never)
            while order.value.count < 3 { _ = await parking.park(until: loop.now + .seconds(10)) }
            parking.close()
            for timer in timers { timer.cancel() }
        }
        #expect(order.value == [1, 2, 0])
    }

    @Test func `timers that are due at the same time fire in the order of their deadlines`() async throws {
        let order = Box<[Int]>([])
        try await onLoop { loop async in
            let parking = Parking(on: loop)
            let timers = (0..<3).map { _ in LoopTimer(on: loop) }
            for (index, timer) in timers.enumerated() {
                timer.onFire {
                    order.update { $0.append(index) }
                    if order.value.count == 3 { parking.wake() }
                }
            }
            // All are due in the next turn; the last one stands first in the queue, for it was moved to a later time.
            timers[2].set(loop.now - .milliseconds(5))
            timers[0].set(loop.now - .milliseconds(3))
            timers[1].set(loop.now - .milliseconds(2))
            timers[2].set(loop.now - .milliseconds(1))
            while order.value.count < 3 { _ = await parking.park(until: loop.now + .seconds(10)) }
            parking.close()
            for timer in timers { timer.cancel() }
        }
        #expect(order.value == [0, 1, 2])
    }

    @Test func `a wait ends at its deadline, and a wake-up before the wait is not lost`() async throws {
        let wakes = try await onLoop { loop async -> [Parking.Wake] in
            let parking = Parking(on: loop)
            let first = await parking.park(until: loop.now + .milliseconds(5))
            parking.wake()
            let second = await parking.park(until: loop.now + .seconds(60))
            parking.close()
            return [first, second]
        }
        #expect(wakes == [.deadline, .ready])
    }

    @Test func `a deadline that passes while its wait begins is not lost`() async throws {
        let ended = try await onLoop { loop async -> Int in
            let all = Parking(on: loop)
            var ended = 0
            for task in 0..<50 {
                loop.spawn {
                    let parking = Parking(on: loop)
                    // Deadlines of a few microseconds: the loop turns between looking at the clock and suspending.
                    for wait in 0..<400 {
                        _ = await parking.park(until: loop.now + .microseconds(Int64((task + wait) % 90)))
                    }
                    parking.close()
                    ended += 1
                    if ended == 50 { all.wake() }
                }
            }
            let end = loop.now + .seconds(20)
            while ended < 50, loop.now < end { _ = await all.park(until: end) }
            all.close()
            return ended
        }
        #expect(ended == 50)
    }

    @Test func `a task spawned on a loop runs on its thread`() async throws {
        let isCurrent = try await onLoop { loop async -> Bool in
            let parking = Parking(on: loop)
            var result = false
            loop.spawn {
                result = loop.executor.isCurrent
                parking.wake()
            }
            _ = await parking.park(until: loop.now + .seconds(10))
            parking.close()
            return result
        }
        #expect(isCurrent)
    }

    @Test func `connecting to a port where nobody listens fails with the kernel's reason`() async throws {
        let code = try await onLoop { loop async -> Int32 in
            do throws(SocketError) {
                let descriptor = try Listener.open(.loopback(port: 0), sharesPort: false)
                let port = Listener.port(of: descriptor)
                close(descriptor)
                let parking = Parking(on: loop)
                defer { parking.close() }
                let stream = try Stream.connect(to: .loopback(port: port), on: loop)
                defer { stream.close() }
                try await stream.waitUntilConnected(parking: parking, deadline: loop.now + .seconds(5))
                return 0
            } catch {
                return error.code
            }
        }
        #expect(code == ECONNREFUSED)
    }

    @Test func `an event that came for a closed socket never reaches the next one with its descriptor`() async throws {
        let (wasSame, wasEarly) = try await onLoop { loop async throws -> (Bool, Bool) in
            var replaced = (hasSameDescriptor: false, wasEarly: false)
            // Other tests open files as well: one of them may get the descriptor.
            for _ in 0..<100 where !replaced.hasSameDescriptor && !replaced.wasEarly {
                replaced = try await Self.replace(on: loop)
            }
            return (replaced.hasSameDescriptor, replaced.wasEarly)
        }
        #expect(wasSame)
        #expect(!wasEarly)
    }

    private static func replace(on loop: EventLoop) async throws -> (hasSameDescriptor: Bool, wasEarly: Bool) {
        let pairs = [try await Pair.connected(on: loop), try await Pair.connected(on: loop)]
        let listening = try Listener.open(.loopback(port: 0), sharesPort: false)
        let done = Parking(on: loop)
        let replacer = Replacer(
            nears: pairs.map(\.near), address: .loopback(port: Listener.port(of: listening)), done: done)
        for pair in pairs { pair.near.handler = replacer }
        // Both have bytes in one turn: the first that is told closes the other, whose event is still to come.
        for pair in pairs { _ = [UInt8(1)].withUnsafeBytes { pair.far.write($0) } }
        let end = loop.now + .seconds(10)
        while !replacer.hasConnected, loop.now < end { _ = await done.park(until: end) }
        replacer.next?.close()
        for pair in pairs { pair.close() }
        done.close()
        close(listening)
        return (replacer.hasSameDescriptor, replacer.wasEarly)
    }
}

/// Closes the other one of two sockets and opens a third in the same breath.
private final class Replacer: ReadinessHandler {
    private let nears: [Stream]
    private let address: SocketAddress
    private let done: Parking
    private(set) var next: Stream?
    private(set) var hasSameDescriptor = false
    private(set) var wasEarly = false
    private(set) var hasConnected = false
    private var turn = Moment.zero

    init(nears: [Stream], address: SocketAddress, done: Parking) {
        self.nears = nears
        self.address = address
        self.done = done
    }

    func becameReady(_ stream: Stream) {
        if stream === next {
            if stream.loop.now == turn { wasEarly = true }
            hasConnected = true
            return done.wake()
        }
        guard next == nil, let other = nears.first(where: { $0 !== stream }) else { return }
        let descriptor = other.descriptor
        turn = stream.loop.now
        other.close()
        next = try? Stream.connect(to: address, on: stream.loop)
        next?.handler = self
        hasSameDescriptor = next?.descriptor == descriptor
    }
}
