/// The name of a conversation, chosen by the client or by us: 1 to 128 characters of `[A-Za-z0-9._-]`.
package struct SessionID: Hashable, Sendable, CustomStringConvertible {
    package static let bytesMax = 128

    package let text: String

    /// - Returns: nil when `text` is no session id.
    package init?(_ text: String) {
        guard (1...Self.bytesMax).contains(text.utf8.count), text.utf8.allSatisfy(Self.isAllowed) else { return nil }
        self.text = text
    }

    /// One that can't be guessed: 128 random bits.
    package static func random() -> SessionID { SessionID(unchecked: "sess_" + randomHex()) }

    package var description: String { text }

    private init(unchecked text: String) { self.text = text }

    /// These characters also can't end the hash tag that keeps a session's keys together.
    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}

/// One attempt to answer one request of a session. Random, so that nobody can end another's turn.
package struct TurnID: Hashable, Sendable {
    /// 32 characters, always: the list of recent turns is searched by this length.
    package let text: String

    package static func random() -> TurnID { TurnID(text: randomHex()) }
}

/// 128 bits from the system's generator, as 32 hexadecimal digits.
private func randomHex() -> String {
    var generator = SystemRandomNumberGenerator()
    var text = ""
    for _ in 0..<2 {
        let digits = String(generator.next(), radix: 16)
        text += String(repeating: "0", count: 16 - digits.count) + digits
    }
    return text
}

/// The four keys of one session. The hash tag keeps them on one node of a cluster, so that a script may use them all.
struct SessionKeys {
    /// A hash: owner, counts, the lock, what the last turn was and what it answered.
    let state: String
    /// A list with one element a turn: its messages and the answer, as JSON with commas between them.
    let turns: String
    /// A list with one element a turn: the fingerprints of those messages, eight bytes each.
    let prints: String
    /// The owner; outlives the session, so that one that expired is known to have been there.
    let past: String

    init(_ id: SessionID, prefix: String) {
        let tagged = "\(prefix):s:{\(id.text)}:"
        state = tagged + "state"
        turns = tagged + "turns"
        prints = tagged + "prints"
        past = tagged + "past"
    }

    var all: [String] { [state, turns, prints, past] }
}
