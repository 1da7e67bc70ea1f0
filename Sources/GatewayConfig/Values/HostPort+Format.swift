import Glibc

extension SettingFormat where Value == HostPort {
    /// `127.0.0.1:8080`, `[::1]:8080` or `name:8080`.
    static var hostPort: Self {
        Self("address", isQuoted: true) { text, _ throws(BadValue) in
            let expected = BadValue("host:port, an IPv6 host in brackets, is `\(text)`")
            guard let colon = text.lastIndex(of: ":"),
                let host = Host.parse(text[..<colon]), let port = Host.port(text[text.index(after: colon)...])
            else { throw expected }
            return HostPort(host, port)
        } print: {
            Host.printed($0.host, port: $0.port)
        }
    }
}

extension SettingFormat where Value == ReplicaURL {
    /// `http://host:port/prefix`; without a port 80 or 443.
    static var replicaURL: Self {
        Self("URL", isQuoted: true) { text, _ throws(BadValue) in
            var rest = text[...]
            let isTLS = rest.hasPrefix("https://")
            // What has an @ may have a password before it, which is not repeated.
            guard !rest.utf8.contains(where: { "?#@".utf8.contains($0) }) else {
                throw BadValue("a URL without user, query and fragment")
            }
            guard isTLS || rest.hasPrefix("http://") else {
                throw BadValue("an http:// or https:// URL, is `\(text)`")
            }
            rest = rest.dropFirst(isTLS ? 8 : 7)
            let slash = rest.firstIndex(of: "/") ?? rest.endIndex
            let authority = rest[..<slash]
            let prefix = try ReplicaURL.prefix(rest[slash...])
            let expected = BadValue("a URL such as http://10.0.0.5:8000, is `\(text)`")
            if let host = Host.parse(authority) {
                return ReplicaURL(isTLS: isTLS, host: host, port: isTLS ? 443 : 80, prefix: prefix)
            }
            guard let colon = authority.lastIndex(of: ":"), let host = Host.parse(authority[..<colon]),
                let port = Host.port(authority[authority.index(after: colon)...]), port > 0
            else { throw expected }
            return ReplicaURL(isTLS: isTLS, host: host, port: port, prefix: prefix)
        } print: {
            "\($0.isTLS ? "https" : "http")://\(Host.printed($0.host, port: $0.port))\($0.prefix)"
        }
    }
}

extension ReplicaURL {
    fileprivate static func prefix(_ path: Substring) throws(BadValue) -> String {
        let prefix = path.hasSuffix("/") ? path.dropLast() : path
        let isPlain = prefix.utf8.allSatisfy { byte in
            (0x21...0x7E).contains(byte) && !"\"<>\\^`{|}".utf8.contains(byte)
        }
        let segments = prefix.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard isPlain, !segments.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }) else {
            throw BadValue("a URL whose path has only plain segments, is `\(path)`")
        }
        guard segments.last != "v1" else {
            throw BadValue("a URL without /v1 at its end: the gateway adds it")
        }
        return String(prefix)
    }
}

/// Hosts and ports as texts.
enum Host {
    /// The host without brackets, if it is an address or could be a name.
    static func parse(_ text: Substring) -> String? {
        if text.hasPrefix("["), text.hasSuffix("]") {
            let inner = String(text.dropFirst().dropLast())
            return addressBytes(inner)?.count == 16 ? inner : nil
        }
        let isName = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
            case UInt8(ascii: "0")...UInt8(ascii: "9"): true
            case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"): true
            default: false
            }
        }
        guard isName, (1...253).contains(text.utf8.count) else { return nil }
        // What looks like an IPv4 address has to be one: resolvers read 10.1 and 010.0.0.1 each in their own way.
        let looksNumeric = text.utf8.allSatisfy { $0 == UInt8(ascii: ".") || (0x30...0x39).contains($0) }
        return looksNumeric && addressBytes(String(text)) == nil ? nil : String(text)
    }

    static func port(_ text: Substring) -> UInt16? {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(text) : nil
    }

    static func printed(_ host: String, port: UInt16) -> String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// The 4 or 16 bytes of an address in network order; `nil` for anything else.
    static func addressBytes(_ text: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: four) { Array($0) } }
        var six = in6_addr()
        if inet_pton(AF_INET6, text, &six) == 1 { return withUnsafeBytes(of: six) { Array($0) } }
        return nil
    }
}
