import GatewayCore
import HTTPConnections
import Reactor
import Testing
import Wire

/// Rooms for large bodies are used again, within bounds, and not kept for nothing.
@Suite struct BodyRoomsTests {
    /// Runs `work` with rooms on a loop, and ends both.
    private func withRooms<Result: Sendable>(
        keptFor: Interval = .seconds(600), _ work: @escaping @Sendable (BodyRooms) async -> Result
    ) async throws -> Result {
        let worker = Worker()
        worker.start(name: "test-loop")
        defer { worker.post { $0.stop() } }
        return try await worker.run { loop in
            let rooms = BodyRooms(on: loop, keptFor: keptFor)
            defer { rooms.close() }
            return await work(rooms)
        }
    }

    @Test func `what was written moves into the room, and the room serves the next one`() async throws {
        let (text, kept, isSame) = try await withRooms { rooms in
            var first = ByteWriter()
            first.append("a beginning")
            rooms.lend(to: &first)
            let text = first.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
            let address = first.withUnsafeBytes { $0.baseAddress }
            rooms.takeBack(&first)
            let kept = (rooms.count, rooms.bytes, first.hasRoom)
            var second = ByteWriter()
            rooms.lend(to: &second)
            second.append("x")
            return (text, kept, second.withUnsafeBytes { $0.baseAddress } == address && rooms.count == 0)
        }
        #expect(text == "a beginning")
        #expect(kept == (1, BodyRooms.roomBytes, false))
        #expect(isSame)
    }

    @Test func `memory of another size than a room's is not kept`() async throws {
        let counts = try await withRooms { rooms in
            var small = ByteWriter(capacity: 4_096)
            rooms.takeBack(&small)
            var none = ByteWriter()
            rooms.takeBack(&none)
            var huge = ByteWriter(capacity: BodyRooms.keptBytesMax + 1)
            rooms.takeBack(&huge)
            return [rooms.count, rooms.bytes, small.capacity, huge.capacity]
        }
        #expect(counts == [0, 0, 0, 0])
    }

    @Test(arguments: [1, 4]) func `no more rooms and no more bytes are kept than the bounds say`(
        rooms each: Int
    ) async throws {
        let (count, bytes) = try await withRooms { rooms in
            for _ in 0..<BodyRooms.keptMax + 3 {
                var writer = ByteWriter(capacity: each * BodyRooms.roomBytes)
                rooms.takeBack(&writer)
            }
            return (rooms.count, rooms.bytes)
        }
        #expect(count == BodyRooms.keptMax / each)
        #expect(bytes == BodyRooms.keptBytesMax)
    }

    @Test func `they are given back when no large bodies come any more`() async throws {
        let isEmpty = try await withRooms(keptFor: .milliseconds(1)) { rooms in
            var writer = ByteWriter()
            rooms.lend(to: &writer)
            rooms.takeBack(&writer)
            guard rooms.count == 1 else { return false }
            let parking = Parking(on: rooms.loop)
            defer { parking.close() }
            let end = rooms.loop.now + .seconds(10)
            while rooms.count > 0, rooms.loop.now < end {
                _ = await parking.park(until: rooms.loop.now + .milliseconds(1))
            }
            return rooms.count == 0 && rooms.bytes == 0
        }
        #expect(isEmpty)
    }
}
