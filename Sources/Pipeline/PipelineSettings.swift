import GatewayCore
import Reactor

/// What the request path needs of the configuration. Plain settings: defaults are the configuration's.
package struct PipelineSettings: Sendable {
    /// Whether a request without a credential is refused.
    package var requiresCredential: Bool
    /// From a request's arrival to its answer's end.
    package var totalTimeout: Interval
    /// Peers whose `X-Forwarded-For` is believed.
    package var trustedPeers: [AddressRange]
    package var cors: CORS
    package var sessions: Sessions?

    package struct CORS: Sendable {
        /// Origins as browsers send them; `*` allows all.
        package var allowedOrigins: [String]
        package var maxAge: Interval

        package init(allowedOrigins: [String], maxAge: Interval) {
            self.allowedOrigins = allowedOrigins
            self.maxAge = maxAge
        }
    }

    package struct Sessions: Sendable {
        /// Refuse with 503 rather than answer without history when Redis is away.
        package var refusesWhenUnavailable: Bool
        /// How long a turn waits for the one before it.
        package var lockWait: Interval
        /// How long a complete stream waits for its turn to be stored.
        package var appendTimeout: Interval

        package init(refusesWhenUnavailable: Bool, lockWait: Interval, appendTimeout: Interval) {
            self.refusesWhenUnavailable = refusesWhenUnavailable
            self.lockWait = lockWait
            self.appendTimeout = appendTimeout
        }
    }

    package init(
        requiresCredential: Bool, totalTimeout: Interval, trustedPeers: [AddressRange], cors: CORS, sessions: Sessions?
    ) {
        self.requiresCredential = requiresCredential
        self.totalTimeout = totalTimeout
        self.trustedPeers = trustedPeers
        self.cors = cors
        self.sessions = sessions
    }
}

/// A range of addresses: the first `prefixBits` bits are compared.
package struct AddressRange: Equatable, Sendable {
    /// 4 or 16 bytes in network order.
    package var bytes: [UInt8]
    package var prefixBits: Int

    package init(bytes: [UInt8], prefixBits: Int) {
        self.bytes = bytes
        self.prefixBits = prefixBits
    }

    package func contains(_ address: SocketAddress) -> Bool {
        guard let other = address.bytes, other.count == bytes.count else { return false }
        var left = prefixBits
        for index in bytes.indices where left > 0 {
            let mask: UInt8 = left >= 8 ? 0xFF : ~(0xFF >> UInt8(left))
            if bytes[index] & mask != other[index] & mask { return false }
            left -= 8
        }
        return true
    }
}
