import Glibc

extension AddressRange {
    /// - Returns: `nil` for anything but an address, with or without a prefix length; also if bits after the prefix are
    ///   set, because whoever wrote them meant something else.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let bytes = Host.addressBytes(String(first)) else { return nil }
        var bits = bytes.count * 8
        if parts.count == 2 {
            guard let given = Host.port(parts[1]), given <= bits else { return nil }
            bits = Int(given)
        }
        for bit in bits..<(bytes.count * 8) where bytes[bit / 8] & (0x80 >> UInt8(bit % 8)) != 0 { return nil }
        self.bytes = bytes
        prefixBits = bits
    }

    /// Whether the address, 4 or 16 bytes in network order, lies in the range. An IPv4 address mapped into IPv6
    /// (RFC 4291, 2.5.5.2) counts as the IPv4 address.
    package func contains(_ address: Span<UInt8>) -> Bool {
        var address = address
        if address.count == 16, bytes.count == 4 {
            for index in 0..<12 where address[index] != (index < 10 ? 0 : 0xFF) { return false }
            address = address.extracting(12..<16)
        }
        guard address.count == bytes.count else { return false }
        let whole = prefixBits / 8
        for index in 0..<whole where address[index] != bytes[index] { return false }
        let rest = UInt8(prefixBits % 8)
        return rest == 0 || (address[whole] ^ bytes[whole]) >> (8 - rest) == 0
    }

    /// As it is written, a single address without prefix length.
    package var text: String {
        var buffer = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        guard inet_ntop(family, bytes, &buffer, socklen_t(buffer.count)) != nil else { return "" }
        let address = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return prefixBits == bytes.count * 8 ? address : "\(address)/\(prefixBits)"
    }
}

extension SettingFormat where Value == AddressRange {
    static var addressRange: Self {
        Self("address range", isQuoted: true) { text, _ throws(BadValue) in
            guard let range = AddressRange(text) else {
                throw BadValue("an address range such as 10.0.0.0/8 with no bit set after the prefix, is `\(text)`")
            }
            return range
        } print: {
            $0.text
        }
    }
}

extension SettingFormat where Value == SHA256Digest {
    /// 64 hexadecimal digits.
    static var digest: Self {
        Self("SHA-256", isQuoted: true) { text, _ throws(BadValue) in
            // The text is not repeated: it may be a key that was put here by mistake.
            guard let digest = SHA256Digest(hexadecimal: text) else {
                throw BadValue("a SHA-256 digest of 64 hexadecimal digits, has \(text.utf8.count) characters")
            }
            return digest
        } print: {
            $0.hexadecimal
        }
    }
}

extension SHA256Digest {
    /// - Returns: `nil` unless `text` is 64 hexadecimal digits.
    package init?(hexadecimal text: String) {
        let digits = Array(text.utf8)
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 64, by: 2) {
            guard let high = Self.value(digits[index]), let low = Self.value(digits[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        self.bytes = bytes
    }

    /// Lower case.
    package var hexadecimal: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
