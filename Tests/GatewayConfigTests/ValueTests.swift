import GatewayCore
import TestSupport
import Testing

@testable import GatewayConfig

@Suite struct ValueTests {
    @Test func `a secret shows three stars, however it is printed`() {
        let secret = Secret("hunter2")
        var dumped = ""
        dump(secret, to: &dumped)
        var key = JWTKeySettings()
        key.secret = secret
        var inSettings = ""
        dump(key, to: &inSettings)
        for text in [
            "\(secret)", String(reflecting: secret), String(describing: [secret]), dumped, inSettings, "\(key)",
        ] {
            #expect(text.contains("***") && !text.contains("hunter2") && !text.contains("104"))
        }
    }

    @Test func `durations and sizes read what they print`() throws {
        var generator = SplitMix64(seed: 1)
        for _ in 0..<1000 {
            let bits = Int.random(in: 1..<40, using: &generator)
            let milliseconds = Int64.random(in: 0..<(1 << bits), using: &generator)
            let interval = Interval.milliseconds(milliseconds)
            let duration = SettingFormat<Interval>.duration
            #expect(try duration.parse(duration.print(interval), "") == interval)
            let size = SettingFormat<Int>.size
            #expect(try size.parse(size.print(Int(milliseconds) << 7), "") == Int(milliseconds) << 7)
        }
        #expect(SettingFormat<Interval>.duration.print(.seconds(7200)) == "2h")
        #expect(SettingFormat<Interval>.duration.print(.seconds(7201)) == "7201s")
        #expect(SettingFormat<Int>.size.print(3 << 20) == "3MiB")
    }

    @Test func `a digest is 64 hexadecimal digits of either case`() throws {
        let text = "9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        let digest = try #require(SHA256Digest(hexadecimal: text))
        #expect(digest.bytes.count == 32 && digest.bytes[0] == 0x9F && digest.bytes[31] == 0x08)
        #expect(digest.hexadecimal == text.lowercased())
        for bad in ["", String(text.dropLast()), text + "0", text.replacing("9", with: "g"), "+" + text.dropFirst()] {
            #expect(SHA256Digest(hexadecimal: bad) == nil)
        }
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.255.1.2", true), ("10.0.0.0/8", "11.0.0.0", false), ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("0.0.0.0/0", "255.255.255.255", true), ("0.0.0.0/0", "::1", false), ("fd00::/8", "fdff::1", true),
        ("fd00::/8", "fc00::1", false), ("10.1.2.3", "10.1.2.3", true), ("10.1.2.3", "10.1.2.4", false),
        ("192.168.0.0/23", "192.168.1.255", true), ("192.168.0.0/23", "192.168.2.0", false), ("::/0", "1.2.3.4", false),
    ])
    func `an address lies in a range or not`(range: String, address: String, expected: Bool) throws {
        let range = try #require(AddressRange(range))
        let bytes = try #require(Host.addressBytes(address))
        #expect(range.contains(bytes.span) == expected)
    }

    @Test func `an address is in the range of its first bits, and in no range that differs in one of them`() throws {
        var generator = SplitMix64(seed: 2)
        for _ in 0..<500 {
            let address = (0..<4).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let bits = Int.random(in: 1...32, using: &generator)
            var first = address
            for bit in bits..<32 { first[bit / 8] &= ~(0x80 >> UInt8(bit % 8)) }
            func range() throws -> AddressRange {
                try #require(AddressRange(first.map(String.init).joined(separator: ".") + "/\(bits)"))
            }
            #expect(try range().contains(address.span))
            let flipped = Int.random(in: 0..<bits, using: &generator)
            first[flipped / 8] ^= 0x80 >> UInt8(flipped % 8)
            #expect(try !range().contains(address.span))
        }
    }

    @Test(arguments: [
        ("http://h", ReplicaURL(host: "h", port: 80)), ("https://h", ReplicaURL(isTLS: true, host: "h", port: 443)),
        ("http://[::1]", ReplicaURL(host: "::1", port: 80)), ("http://[::1]:81/", ReplicaURL(host: "::1", port: 81)),
        ("https://h:1/a/b/", ReplicaURL(isTLS: true, host: "h", port: 1, prefix: "/a/b")),
        ("http://10.0.0.1:65535/v2", ReplicaURL(host: "10.0.0.1", port: 65_535, prefix: "/v2")),
    ])
    func `a replica's URL has a host, a port and perhaps a prefix`(text: String, expected: ReplicaURL) throws {
        #expect(try SettingFormat<ReplicaURL>.replicaURL.parse(text, "") == expected)
    }

    @Test(arguments: [
        "", "h", "http://", "http://h:", "http://h:x", "http://h:65536", "http://::1", "http://[h]",
        "http://[127.0.0.1]",
        "http://h//a", "http://h/a b", "http://h/%zz|", "http://256.0.0.1", "HTTP//h", "http://h:+1", "http://hä",
    ])
    func `a replica's URL with anything odd is refused`(text: String) {
        #expect(throws: BadValue.self) { try SettingFormat<ReplicaURL>.replicaURL.parse(text, "") }
    }

    @Test func `a generic replica is probed at its models, any other at its health, unless a path is given`() {
        var probe = ProbeSettings()
        #expect(probe.path(for: .generic) == "/v1/models")
        #expect(probe.path(for: .vllm) == "/health")
        probe.path = "/ready"
        #expect(probe.path(for: .generic) == "/ready")
    }

    @Test(arguments: [
        ("wieght", "weight"), ("max_in_flight", "maxInFlight"), ("MAXINFLIGHT", "maxInFlight"), ("nmae", "name"),
        ("names", "name"), ("xyz", nil), ("", nil), (String(repeating: "weight", count: 20), nil),
    ])
    func `a suggestion is close or not made`(wrong: String, right: String?) {
        #expect(Suggestion.closest(to: wrong, among: ["name", "url", "weight", "maxInFlight"]) == right)
    }
}
