import GatewayCore

/// An API key as Redis keeps it: never the secret, only its digest.
package struct StoredKey: Equatable, Sendable {
    /// What limits, sessions and the log know the key by; survives rotation.
    package var id: String
    /// For people; need not be unique.
    package var name: String
    /// SHA-256 of the secret, 64 hexadecimal digits.
    package var digestHex: String
    /// Public model names that may be used; nil means all. None of them holds a line feed.
    package var models: [String]?
    package var requestsPerWindow: Int?
    package var created: WallTime
    package var expires: WallTime?
    package var revoked: WallTime?

    package init(
        id: String, name: String, digestHex: String, models: [String]? = nil, requestsPerWindow: Int? = nil,
        created: WallTime, expires: WallTime? = nil, revoked: WallTime? = nil
    ) {
        self.id = id
        self.name = name
        self.digestHex = digestHex
        self.models = models
        self.requestsPerWindow = requestsPerWindow
        self.created = created
        self.expires = expires
        self.revoked = revoked
    }

    /// The fields of its hash, in the order in which ``KeyScripts/page`` returns them.
    static let fieldNames = ["name", "digest", "models", "requests", "created", "expires", "revoked"]

    /// Values in the order of ``fieldNames``; nil is not stored. Times are nanoseconds since the epoch.
    var fieldValues: [String?] {
        [
            name, digestHex, models?.joined(separator: "\n"), requestsPerWindow.map(String.init),
            String(created.nanosecondsSinceEpoch), expires.map { String($0.nanosecondsSinceEpoch) },
            revoked.map { String($0.nanosecondsSinceEpoch) },
        ]
    }

    /// - Returns: nil when what must be there is missing or no number: a record that somebody else wrote.
    package init?(id: String, fieldTexts: [String?]) {
        guard fieldTexts.count == Self.fieldNames.count, let name = fieldTexts[0], let digestHex = fieldTexts[1],
            let created = fieldTexts[4].flatMap({ Int64($0) })
        else { return nil }
        // A limit or an end that can't be read must not become "none".
        for text in [fieldTexts[3], fieldTexts[5], fieldTexts[6]] {
            if let text, Int64(text) == nil { return nil }
        }
        self.id = id
        self.name = name
        self.digestHex = digestHex
        models = fieldTexts[2].map { $0.split(separator: "\n").map(String.init) }
        requestsPerWindow = fieldTexts[3].flatMap { Int($0) }
        self.created = WallTime(nanosecondsSinceEpoch: created)
        expires = fieldTexts[5].flatMap { Int64($0) }.map { WallTime(nanosecondsSinceEpoch: $0) }
        revoked = fieldTexts[6].flatMap { Int64($0) }.map { WallTime(nanosecondsSinceEpoch: $0) }
    }
}

/// A state of all keys. Every change counts one up.
package struct KeyVersion: Equatable, Sendable {
    /// Names the data set: another one after Redis lost everything. Empty while there has never been a key.
    package var epoch: String
    package var number: Int64

    /// Before everything.
    package static var none: KeyVersion { KeyVersion(epoch: "", number: 0) }
}

/// What happened to the keys since a version.
package enum KeyChanges: Equatable, Sendable {
    /// These were made or changed, and this is the version now; often none and the same.
    case changed([StoredKey], KeyVersion)
    /// Redis holds another data set than the one the version is of: load all again.
    case startOver
}

package enum KeyStoreProblem: Error, Equatable, Sendable {
    case alreadyExists
    case notFound
    /// Redis is away, too slow, or refuses. The label is the metric's.
    case unavailable(String)
}
