/// Bytes that must not be seen: however it is printed, it shows `***`.
package struct Secret: Equatable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package let bytes: [UInt8]

    package init(bytes: [UInt8]) { self.bytes = bytes }
    package init(_ text: String) { bytes = Array(text.utf8) }

    package var description: String { "***" }
    package var debugDescription: String { "***" }
    /// Without children, so that `dump` and a failed expectation show nothing either.
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// A SHA-256 digest: what is kept of a key that must be recognised but not known.
package struct SHA256Digest: Hashable, Sendable {
    /// 32 bytes, or none while unset.
    package let bytes: [UInt8]

    /// What a required key holds until it is given.
    package static var unset: SHA256Digest { SHA256Digest(bytes: []) }
}
