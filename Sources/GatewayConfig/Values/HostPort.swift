/// A host and a TCP port, written `host:port`, an IPv6 address in brackets.
package struct HostPort: Hashable, Sendable {
    /// A name or an address, without brackets.
    package var host: String
    package var port: UInt16

    package init(_ host: String, _ port: UInt16) {
        self.host = host
        self.port = port
    }
}

/// Where a replica is: `http://host:port/prefix`.
package struct ReplicaURL: Hashable, Sendable {
    package var isTLS: Bool
    /// A name or an address, without brackets.
    package var host: String
    package var port: UInt16
    /// Put before every path: empty, or begins with a slash and does not end with one.
    package var prefix: String

    package init(isTLS: Bool = false, host: String, port: UInt16, prefix: String = "") {
        self.isTLS = isTLS
        self.host = host
        self.port = port
        self.prefix = prefix
    }

    /// What a required key holds until it is given.
    package static var unset: ReplicaURL { ReplicaURL(host: "", port: 0) }
}

/// A range of IP addresses, written `10.0.0.0/8`, `fd00::/8` or as a single address.
package struct AddressRange: Hashable, Sendable {
    /// In network order: 4 bytes (IPv4) or 16 (IPv6); bits after the prefix are zero.
    package let bytes: [UInt8]
    package let prefixBits: Int
}
