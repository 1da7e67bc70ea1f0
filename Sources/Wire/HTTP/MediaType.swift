/// What a `Content-Type` says, as far as the gateway cares. Parameters such as `charset` are of no account.
package enum MediaType: Equatable, Sendable {
    case json, eventStream, other

    /// - In: the value of the field, as a head was parsed.
    package init(_ value: Span<UInt8>) {
        if Self.begins(value, "application/json") {
            self = .json
        } else if Self.begins(value, "text/event-stream") {
            self = .eventStream
        } else {
            self = .other
        }
    }

    @inline(__always)
    private static func begins(_ value: Span<UInt8>, _ name: StaticString) -> Bool {
        let count = name.utf8CodeUnitCount
        guard value.count >= count, value.holdsIgnoringCase(name, at: 0) else { return false }
        if value.count == count { return true }
        let rest = value.trimmed(from: count, to: value.count)
        return rest.isEmpty || value[rest.lowerBound] == ASCII.semicolon
    }
}
