import TestSupport
import Testing

@testable import Wire

@Suite struct HTTPFieldTests {
    private func id(of name: String) -> FieldID {
        let bytes = Array(name.utf8)
        return FieldID.named(bytes.span, from: 0, to: bytes.count)
    }

    @Test func `every known name is found in any case`() {
        var generator = SplitMix64(seed: 16)
        for id in FieldID.allCases where id.name.utf8CodeUnitCount > 0 {
            let name = id.name.description
            #expect(self.id(of: name) == id, "\(name)")
            #expect(self.id(of: name.uppercased()) == id)
            let mixed = name.map { Bool.random(using: &generator) ? $0.uppercased() : String($0) }.joined()
            #expect(self.id(of: mixed) == id)
        }
        #expect(FieldID.allCases.count <= 64)
    }

    @Test func `a name that differs in one byte is another`() {
        let names = Set(FieldID.allCases.map { $0.name.description })
        for id in FieldID.allCases where id.name.utf8CodeUnitCount > 0 {
            let name = Array(id.name.description.utf8)
            for index in name.indices {
                for byte in UInt8(0x21)...0xFF where byte != 0x7F {
                    var changed = name
                    changed[index] = byte
                    let text = String(decoding: changed, as: UTF8.self).lowercased()
                    let found = FieldID.named(changed.span, from: 0, to: changed.count)
                    #expect((found == id) == (text == id.name.description), "\(text)")
                    if found != id, found != .other { #expect(names.contains(text), "\(text)") }
                }
            }
            #expect(self.id(of: id.name.description + "x") != id)
            #expect(self.id(of: String(id.name.description.dropLast())) != id)
        }
    }

    @Test func `families are known by their prefix`() {
        for name in ["x-ratelimit-", "X-RateLimit-Limit-Requests", "x-ratelimit-a", "x-ratelimit-remaining-tokens"] {
            #expect(id(of: name) == .xRateLimit)
        }
        for name in ["x-weir-a", "X-Weir-Replica", "x-weir-overhead-ms", "x-weir-"] { #expect(id(of: name) == .xWeir) }
        for name in ["x-ratelimit", "ratelimit-limit", "x-weir", "xx-weir-a"] { #expect(id(of: name) == .other) }
    }

    @Test func `fields of this connection only are the ones RFC 9110 names`() {
        let names = Set(FieldID.allCases.filter(\.isHopByHop).map { $0.name.description })
        #expect(names == [
            "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
            "http2-settings", "proxy-authorization", "proxy-authenticate",
        ])
    }
}

@Suite struct HTTPBytesTests {
    private func set(_ characters: String) -> ByteSet {
        var low: UInt64 = 0
        var high: UInt64 = 0
        for byte in characters.utf8 {
            if byte < 64 { low |= 1 << UInt64(byte) } else { high |= 1 << UInt64(byte - 64) }
        }
        return ByteSet(low: low, high: high)
    }
    private let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

    @Test func `the sets are the grammars'`() {
        #expect(ByteSet.token == set("!#$%&'*+-.^_`|~" + letters))
        #expect(ByteSet.path == set(letters + "-._~" + "!$&'()*+,;=" + ":@" + "/" + "%"))
        #expect(ByteSet.query == set(letters + "-._~" + "!$&'()*+,;=" + ":@" + "/" + "%" + "?"))
        #expect(ByteSet.hostName == set(letters + "-._"))
        #expect(ByteSet.hexDigit == set("0123456789abcdefABCDEF"))
        for byte in UInt8(128)...255 { #expect(!ByteSet.token.contains(byte)) }
    }

    @Test func `searches by words find what a search by bytes finds`() {
        var generator = SplitMix64(seed: 17)
        for _ in 0..<3_000 {
            let bytes = (0..<Int.random(in: 0...40, using: &generator)).map { _ -> UInt8 in
                let common: [UInt8] = [0x09, 0x20, 0x1F, 0x7E, 0x80, 0xFF, 0x61, 0x21]
                let odd = UInt8.random(in: 0...255, using: &generator)
                return Int.random(in: 0..<12, using: &generator) == 0 ? odd : common.randomElement(using: &generator)!
            }
            let start = Int.random(in: 0...bytes.count, using: &generator)
            let end = Int.random(in: start...bytes.count, using: &generator)
            let control = bytes[start..<end].firstIndex { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F }
            #expect(bytes.span.firstControl(from: start, to: end) == control ?? end)
            let wanted = bytes.randomElement(using: &generator) ?? 0
            let found = bytes[start..<end].firstIndex(of: wanted)
            #expect(bytes.span.firstIndex(of: wanted, from: start, to: end) == found ?? end)
        }
    }

    @Test func `a plain token is of letters, digits and hyphens, and is found to be one where the buffer goes on`() {
        let plain = set("-" + letters)
        var generator = SplitMix64(seed: 18)
        for byte in UInt8.min...UInt8.max {
            for length in 1...18 {
                var bytes = (0..<26).map { _ in Array((letters + "-").utf8).randomElement(using: &generator)! }
                bytes[Int.random(in: 0..<length, using: &generator)] = byte
                #expect(bytes.span.isPlainToken(from: 0, to: length) == plain.contains(byte))
                bytes[length] = UInt8.random(in: 0...255, using: &generator)
                #expect(bytes.span.isPlainToken(from: 0, to: length) == plain.contains(byte))
                let short = Array(bytes[..<length])
                let isSure = short.span.isPlainToken(from: 0, to: length)
                #expect(!isSure || plain.contains(byte))
            }
        }
    }

    @Test func `numbers are digits only and at most 2^53`() {
        func decimal(_ text: String) -> Int? {
            let bytes = Array(text.utf8)
            return bytes.span.decimal(0..<bytes.count)
        }
        #expect(decimal("9007199254740992") == 1 << 53)
        #expect(decimal("9007199254740993") == nil)
        #expect(decimal("18446744073709551616") == nil)
        #expect(decimal("000") == 0)
        for text in ["", "+1", "-1", "1 ", " 1", "0x1", "1a", "１"] { #expect(decimal(text) == nil, "\(text)") }
    }
}
