import Wire

/// Messages in a row: their JSON as it was sent, joined by commas, and what each of them says.
///
/// Bounded by the body that they come from.
package struct MessageRun: Sendable {
    /// JSON objects with commas between them.
    package private(set) var json: [UInt8] = []
    package private(set) var fingerprints: [MessageFingerprint] = []
    /// Where each message begins in `json`.
    private var starts: [Int] = []
    /// The first messages that are the system's or developer's.
    package private(set) var leadingSystemCount = 0

    package init() {}

    package var count: Int { starts.count }
    package var isEmpty: Bool { starts.isEmpty }

    /// - Parameter message: one JSON object, as it was sent.
    package mutating func append(_ message: Span<UInt8>) {
        var isSystem = false
        var fingerprint: MessageFingerprint
        do throws(JSONProblem) {
            (fingerprint, isSystem) = try MessageFingerprint.read(message)
        } catch {
            fingerprint = MessageFingerprint(of: message)
        }
        if isSystem, leadingSystemCount == count { leadingSystemCount += 1 }
        if !json.isEmpty { json.append(UInt8(ascii: ",")) }
        starts.append(json.count)
        json.reserveCapacity(json.count + message.count)
        for index in message.indices { json.append(message[index]) }
        fingerprints.append(fingerprint)
    }

    package mutating func append(_ message: [UInt8]) { append(message.span) }

    /// The JSON of some of the messages, joined by commas.
    package func json(_ range: Range<Int>) -> [UInt8] {
        guard let first = range.first else { return [] }
        let end = range.upperBound < count ? starts[range.upperBound] - 1 : json.count
        return Array(json[starts[first]..<end])
    }

    /// What the whole run says, in 16 hexadecimal digits: by this a retry is recognised.
    package var digest: String {
        let sum = MessageFingerprint.hash(Self.bytes(of: fingerprints[...]).span, seed: UInt64(count))
        let digits = String(sum, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// How many messages at the front are known already.
    ///
    /// A client that sends only what is new repeats nothing. One that keeps the conversation itself sends the whole
    /// history first; where we have dropped old turns, it sends more than we have. One that sends its system prompt
    /// each time repeats just that.
    ///
    /// - Parameters:
    ///   - history: what is stored: system messages first.
    ///   - historySystemCount: how many of them are the system's.
    ///   - isTrimmed: whether turns between the system's messages and the others were dropped.
    /// - Returns: messages not to be stored again, and whether they are the whole history.
    /// - Cost: O(messages), or O(messages × history) for a trimmed history whose first message repeats.
    package func known(
        in history: [MessageFingerprint], historySystemCount: Int, isTrimmed: Bool
    ) -> (count: Int, isWholeHistory: Bool) {
        guard !history.isEmpty, !isEmpty else { return (0, false) }
        if fingerprints.starts(with: history) { return (history.count, true) }
        let system = history[..<historySystemCount]
        guard fingerprints.starts(with: system) else { return (0, false) }
        if isTrimmed, let end = end(of: history[historySystemCount...], from: historySystemCount) { return (end, true) }
        return (historySystemCount, false)
    }

    /// Where `part` ends in this run, at its last occurrence: the client's history ends as ours does.
    private func end(of part: ArraySlice<MessageFingerprint>, from first: Int) -> Int? {
        guard !part.isEmpty, count - first >= part.count else { return nil }
        for start in (first...(count - part.count)).reversed() where fingerprints[start...].starts(with: part) {
            return start + part.count
        }
        return nil
    }

    /// Fingerprints as they are stored: eight bytes each, lowest first.
    static func bytes(of fingerprints: ArraySlice<MessageFingerprint>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(fingerprints.count * 8)
        for fingerprint in fingerprints {
            for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: fingerprint.value >> UInt64(shift * 8))) }
        }
        return bytes
    }

    /// The reverse. Bytes that are no whole fingerprint are dropped.
    static func fingerprints(_ bytes: [UInt8]) -> [MessageFingerprint] {
        (0..<bytes.count / 8).map { index in
            var value: UInt64 = 0
            for shift in 0..<8 { value |= UInt64(bytes[index * 8 + shift]) << UInt64(shift * 8) }
            return MessageFingerprint(value: value)
        }
    }
}
