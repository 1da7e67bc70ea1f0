import GatewayCore
import Glibc
import Reactor

/// Two connected sockets of one loop.
struct Pair {
    let near: Stream
    let far: Stream
    let nearParking: Parking
    let farParking: Parking

    static func connected(on loop: EventLoop) async throws(SocketError) -> Pair {
        let parking = Parking(on: loop)
        let arrival = Parking(on: loop)
        var accepted: Stream?
        let descriptor = try Listener.open(.loopback(port: 0), sharesPort: false)
        let listener = try Listener(on: loop, descriptor: descriptor) { socket in
            accepted = try? Stream.accepted(socket, on: loop, tls: nil)
            accepted?.handler = arrival
            arrival.wake()
        }
        let deadline = loop.now + .seconds(10)
        let near = try Stream.connect(to: .loopback(port: Listener.port(of: descriptor)), on: loop)
        try await near.waitUntilConnected(parking: parking, deadline: deadline)
        while accepted == nil { _ = await arrival.park(until: deadline) }
        listener.close()
        guard let accepted else { throw SocketError(ETIMEDOUT, "accept") }
        return Pair(near: near, far: accepted, nearParking: parking, farParking: arrival)
    }

    /// Reads at the far side until `count` bytes are there, or the end.
    func receive(_ count: Int) async -> [UInt8] {
        var got: [UInt8] = []
        let deadline = far.loop.now + .seconds(10)
        while got.count < count, far.loop.now < deadline {
            switch far.read(into: far.loop.scratch) {
            case .bytes(let count): got.append(contentsOf: far.loop.scratch[0..<count])
            case .wouldBlock: _ = await farParking.park(until: deadline)
            case .end, .failed: return got
            }
        }
        return got
    }

    func close() {
        near.close()
        far.close()
        nearParking.close()
        farParking.close()
    }
}
