import Testing
import Upstreams

@testable import Pipeline

/// A reload replaces the fleet under connections that stay open.
@Suite struct FleetChangeTests {
    private func hasAnswer(_ reply: String, from replica: String) -> Bool {
        reply.hasPrefix("HTTP/1.1 200 ") && reply.contains("x-weir-replica: \(replica)\r\n")
    }

    @Test func `a connection that is idle keeps nothing of the fleet before, and asks the one in force`() async throws {
        let (replies, isFree) = try await PathRig.run { rig async -> ([String], Bool) in
            rig.send()
            let first = await rig.receive()
            weak var pool = rig.services.fleet.pools.first
            rig.reload()
            let isFree = await rig.eventually { pool == nil }
            rig.send()
            return ([first, await rig.receive()], isFree)
        }
        #expect(isFree)
        #expect(hasAnswer(replies[0], from: "before") && hasAnswer(replies[1], from: "after"), "\(replies)")
    }

    @Test func `a request that runs ends in its fleet, and its connection keeps nothing of that`() async throws {
        let (replies, wasKept, isFree) = try await PathRig.run { rig async -> ([String], Bool, Bool) in
            rig.isHolding = true
            rig.send()
            guard await rig.eventually({ rig.heldCount == 1 }) else { return ([], false, false) }
            weak var pool = rig.services.fleet.pools.first
            rig.reload()
            let wasKept = pool != nil
            rig.isHolding = false
            let first = await rig.receive()
            let isFree = await rig.eventually { pool == nil }
            rig.send()
            return ([first, await rig.receive()], wasKept, isFree)
        }
        try #require(replies.count == 2)
        #expect(wasKept && isFree)
        #expect(hasAnswer(replies[0], from: "before") && hasAnswer(replies[1], from: "after"), "\(replies)")
    }
}
