/// Who is asking: what a bearer token was verified to stand for.
///
/// A class, because every request passes it through every stage: one reference instead of five strings. Immutable, so
/// it may be shared by all loops.
package final class Principal: Sendable {
    package enum Kind: String, Sendable { case apiKey, token, anonymous }

    package let kind: Kind
    /// What limits are counted for, sessions belong to and the log shows: the key's id, or `issuer/subject`. Never a
    /// secret.
    package let id: String
    /// Public model names that may be used; `nil` means all.
    package let models: Set<String>?
    /// Requests allowed per window, where this caller has a number of its own.
    package let requestsPerWindow: Int?
    /// When the credential ends; `nil` means it does not.
    package let expires: WallTime?

    package init(
        kind: Kind, id: String, models: Set<String>? = nil, requestsPerWindow: Int? = nil, expires: WallTime? = nil
    ) {
        self.kind = kind
        self.id = id
        self.models = models
        self.requestsPerWindow = requestsPerWindow
        self.expires = expires
    }

    package func mayUse(model: String) -> Bool { models?.contains(model) ?? true }
}
