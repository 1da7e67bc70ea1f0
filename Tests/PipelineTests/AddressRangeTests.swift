import Reactor
import TestSupport
import Testing

@testable import Pipeline

@Suite struct AddressRangeTests {
    private func contains(_ bytes: [UInt8], _ prefixBits: Int, _ literal: String) throws -> Bool {
        AddressRange(bytes: bytes, prefixBits: prefixBits).contains(try #require(SocketAddress(literal: literal)))
    }

    @Test func `addresses of the range are in it, its neighbours and the other family are not`() throws {
        #expect(try contains([10, 0, 0, 0], 8, "10.255.255.255"))
        #expect(try !contains([10, 0, 0, 0], 8, "11.0.0.0"))
        #expect(try contains([192, 168, 4, 0], 23, "192.168.5.9"))
        #expect(try !contains([192, 168, 4, 0], 23, "192.168.6.0"))
        #expect(try contains([127, 0, 0, 1], 32, "127.0.0.1"))
        #expect(try !contains([127, 0, 0, 1], 32, "127.0.0.2"))
        #expect(try contains([0, 0, 0, 0], 0, "203.0.113.7"))
        #expect(try !contains([0, 0, 0, 0], 0, "::1"))
        #expect(try contains([0x20, 0x01, 0x0D, 0xB8] + Array(repeating: 0, count: 12), 32, "2001:db8::7"))
        #expect(try !contains(Array(repeating: 0, count: 16), 0, "10.0.0.1"))
    }

    @Test func `an IPv4 address inside IPv6 is that address`() throws {
        #expect(try contains([10, 0, 0, 0], 8, "::ffff:10.1.2.3"))
        #expect(!AddressRange(bytes: [10, 0, 0, 0], prefixBits: 8).contains(.unix("/run/weir")))
    }

    @Test func `an address is in a range if and only if as many bits agree`() throws {
        var generator = SplitMix64(seed: 2)
        for _ in 0..<2_000 {
            let bits = Int.random(in: 0...32, using: &generator)
            let network = UInt32.random(in: .min ... .max, using: &generator)
            // Mostly the same network, and then another bit.
            let address = network ^ (1 << UInt32.random(in: 0...31, using: &generator))
            let range = AddressRange(bytes: withUnsafeBytes(of: network.bigEndian) { Array($0) }, prefixBits: bits)
            let agreeing = (network ^ address).leadingZeroBitCount
            #expect(range.contains(SocketAddress(.v4(address.bigEndian))) == (agreeing >= bits))
        }
    }
}
