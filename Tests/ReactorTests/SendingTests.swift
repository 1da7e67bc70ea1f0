import GatewayCore
import Glibc
import Reactor
import Testing

private func write(_ bytes: [UInt8], to stream: Stream) -> Stream.WriteResult {
    bytes.withUnsafeBytes { stream.write($0) }
}

/// Short sends leave at the end of the turn, and nobody sees a difference.
@Suite struct SendingTests {
    @Test func `pieces of all lengths to several sockets arrive in order`() async throws {
        let wasRight = try await onLoop { loop async throws -> [Bool] in
            let pairs = [try await Pair.connected(on: loop), try await Pair.connected(on: loop)]
            var sent: [[UInt8]] = [[], []]
            // Short, long and short again: the long ones are not gathered, and must not overtake.
            for (index, length) in [1, 700, 20_000, 3, 16_384, 16_385, 9].enumerated() {
                for side in 0..<2 {
                    let piece = [UInt8](repeating: UInt8(index * 2 + side), count: length)
                    guard write(piece, to: pairs[side].near) == .wrote(length) else { return [] }
                    sent[side] += piece
                }
            }
            var right: [Bool] = []
            for side in 0..<2 { right.append(await pairs[side].receive(sent[side].count) == sent[side]) }
            for pair in pairs { pair.close() }
            return right
        }
        #expect(wasRight == [true, true])
    }

    @Test func `two blocks leave as one, whatever their lengths`() async throws {
        let wasRight = try await onLoop { loop async throws -> [Bool] in
            let pairs = [try await Pair.connected(on: loop), try await Pair.connected(on: loop)]
            var sent: [[UInt8]] = [[], []]
            let lengths = [(1, 0), (0, 1), (3, 700), (700, 15_000), (9_000, 9_000), (16_384, 0), (0, 16_385), (5, 6)]
            // At the end more than a turn has room for.
            for (index, (first, second)) in (lengths + Array(repeating: (8_000, 8_000), count: 12)).enumerated() {
                for side in 0..<2 {
                    let head = [UInt8](repeating: UInt8(index * 2 + side), count: first)
                    let body = [UInt8](repeating: UInt8(200 - index), count: second)
                    let result = head.withUnsafeBytes { head in
                        body.withUnsafeBytes { pairs[side].near.write(head, $0) }
                    }
                    guard case .wrote(let count) = result else { continue }
                    sent[side] += (head + body).prefix(count)
                }
            }
            var right: [Bool] = []
            for side in 0..<2 { right.append(await pairs[side].receive(sent[side].count) == sent[side]) }
            for pair in pairs { pair.close() }
            return right
        }
        #expect(wasRight == [true, true])
    }

    @Test func `a closed stream takes over another socket, and knows nothing of the one before`() async throws {
        let (got, wasFresh) = try await onLoop { loop async throws -> ([UInt8], Bool) in
            let pair = try await Pair.connected(on: loop)
            _ = write([1, 2, 3], to: pair.near)
            pair.far.close(reset: true)
            pair.near.handler = pair.nearParking
            let deadline = loop.now + .seconds(10)
            while !pair.near.peerHungUp, loop.now < deadline { _ = await pair.nearParking.park(until: deadline) }
            pair.near.close()
            var ends: [Int32] = [0, 0]
            socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0, &ends)
            try pair.near.accept(ends[0], tls: nil)
            try pair.far.accept(ends[1], tls: nil)
            pair.far.handler = pair.farParking
            let wasFresh = !pair.near.isClosed && !pair.near.peerHungUp && pair.near.isQuiet && pair.near.canWrite
            _ = write([4, 5], to: pair.near)
            let got = await pair.receive(2)
            pair.close()
            return (got, wasFresh)
        }
        #expect(got == [4, 5])
        #expect(wasFresh)
    }

    @Test func `more than there is room for in one turn is sent all the same`() async throws {
        let (said, got) = try await onLoop { loop async throws -> (Int, Int) in
            let pair = try await Pair.connected(on: loop)
            let piece = [UInt8](repeating: 7, count: 10_000)
            var said = 0
            for _ in 0..<60 {
                guard case .wrote(let count) = write(piece, to: pair.near) else { break }
                said += count
            }
            let got = await pair.receive(said).count
            pair.close()
            return (said, got)
        }
        #expect(said > 256 << 10)
        #expect(got == said)
    }

    @Test func `a peer that does not read blocks its writer, and gets every byte that was taken`() async throws {
        let (said, got, wasFull) = try await onLoop { loop async throws -> (Int, Int, Bool) in
            let pair = try await Pair.connected(on: loop)
            let piece = [UInt8](repeating: 7, count: 16_000)
            var said = 0
            for _ in 0..<4_000 {
                guard case .wrote(let count) = write(piece, to: pair.near) else { break }
                said += count
                // A turn of the loop, in which it is sent.
                _ = await pair.nearParking.park(until: loop.now)
            }
            let wasFull = write(piece, to: pair.near) == .wouldBlock && !pair.near.sendAll()
            // What the socket did not take goes out before the end.
            pair.near.shutdownWrite()
            let got = await pair.receive(.max).count
            pair.close()
            return (said, got, wasFull)
        }
        #expect(wasFull)
        #expect(got == said)
    }

    @Test func `what is written last leaves before the socket closes`() async throws {
        let got = try await onLoop { loop async throws -> [UInt8] in
            let pair = try await Pair.connected(on: loop)
            _ = write([1, 2, 3], to: pair.near)
            pair.near.close()
            let got = await pair.receive(3)
            pair.close()
            return got
        }
        #expect(got == [1, 2, 3])
    }

    @Test func `a write to a broken connection shows where it is read`() async throws {
        let isOver = try await onLoop { loop async throws -> Bool in
            let pair = try await Pair.connected(on: loop)
            pair.near.handler = pair.nearParking
            pair.far.close(reset: true)
            _ = write([1], to: pair.near)
            let deadline = loop.now + .seconds(10)
            while !pair.near.peerHungUp, loop.now < deadline { _ = await pair.nearParking.park(until: deadline) }
            let end = pair.near.read(into: loop.scratch)
            pair.close()
            return end == .failed(ECONNRESET) || end == .failed(EPIPE) || end == .end
        }
        #expect(isOver)
    }

    @Test func `more sends than there are places for in one turn arrive in order`() async throws {
        let wasRight = try await onLoop { loop async throws -> [Bool] in
            let pairs = [try await Pair.connected(on: loop), try await Pair.connected(on: loop)]
            let count = 5_000
            // Taken in turn, so that no send joins the one before.
            for index in 0..<count {
                for pair in pairs { _ = write([UInt8(truncatingIfNeeded: index)], to: pair.near) }
            }
            var right: [Bool] = []
            for pair in pairs {
                let expected = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
                right.append(await pair.receive(count) == expected)
            }
            for pair in pairs { pair.close() }
            return right
        }
        #expect(wasRight == [true, true])
    }
}
