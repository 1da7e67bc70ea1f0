import Wire

/// What a message says, in 64 bits: equal for two spellings of one message.
///
/// A client that keeps the conversation itself sends our answers back as its library spells them: members in another
/// order, text escaped differently, `null` members added. So role, content, name, tool calls and refusal count, by
/// their meaning; nulls, empty values and all other members don't.
///
/// It decides only whether a client's own messages are stored twice, so 64 bits without a secret suffice. The function
/// must not change between versions: fingerprints are kept in Redis.
package struct MessageFingerprint: Hashable, Sendable {
    package var value: UInt64

    package init(value: UInt64) { self.value = value }

    /// - Parameter message: a JSON object. What is none gets the fingerprint of its bytes.
    package init(of message: Span<UInt8>) {
        do throws(JSONProblem) {
            self = try Self.read(message).fingerprint
        } catch {
            value = Self.hash(message, seed: Self.seeds.raw)
        }
    }

    /// The fingerprint, and whether the message is one of the system's or developer's.
    static func read(_ message: Span<UInt8>) throws(JSONProblem) -> (fingerprint: MessageFingerprint, isSystem: Bool) {
        var scanner = JSONScanner(message, allowsLoneSurrogates: true)
        var sum: UInt64 = 0
        var isSystem = false
        try scanner.openObject()
        while let name = try scanner.member() {
            guard counts(name, in: message) else {
                try scanner.skip()
                continue
            }
            if name.equals("role", in: message), try scanner.kind() == .string {
                var role = scanner
                let text = try role.string()
                isSystem = text.equals("system", in: message) || text.equals("developer", in: message)
            }
            if let value = try meaning(of: &scanner, in: message) {
                sum &+= mix(hash(of: name, in: message), value)
            }
        }
        try scanner.finish()
        return (MessageFingerprint(value: mix(sum, seeds.object)), isSystem)
    }

    private static func counts(_ name: JSONString, in document: Span<UInt8>) -> Bool {
        name.equals("role", in: document) || name.equals("content", in: document)
            || name.equals("tool_calls", in: document) || name.equals("tool_call_id", in: document)
            || name.equals("name", in: document) || name.equals("function_call", in: document)
            || name.equals("refusal", in: document)
    }

    /// The hash of the value that comes next; nil for null and what is empty. Depth is bounded by the scanner's.
    private static func meaning(
        of scanner: inout JSONScanner, in document: Span<UInt8>
    ) throws(JSONProblem) -> UInt64? {
        switch try scanner.kind() {
        case .null:
            try scanner.null()
            return nil
        case .string:
            let text = try scanner.string()
            return text.isEmpty ? nil : hash(of: text, in: document)
        case .number, .boolean:
            return hash(document.extracting(try scanner.skip()), seed: seeds.raw)
        case .array:
            var sum = seeds.array
            var isEmpty = true
            try scanner.openArray()
            while try scanner.element() {
                isEmpty = false
                sum = mix(sum, try meaning(of: &scanner, in: document) ?? seeds.null)
            }
            return isEmpty ? nil : sum
        case .object:
            // A sum, because members have no order.
            var sum: UInt64 = 0
            try scanner.openObject()
            while let name = try scanner.member() {
                guard let value = try meaning(of: &scanner, in: document) else { continue }
                sum &+= mix(hash(of: name, in: document), value)
            }
            return mix(sum, seeds.object)
        }
    }

    private static func hash(of text: JSONString, in document: Span<UInt8>) -> UInt64 {
        let raw = document.extracting(text.raw)
        guard text.hasEscapes else { return hash(raw, seed: seeds.string) }
        var unescaped = ByteWriter(capacity: raw.count)
        JSONText.unescape(raw, into: &unescaped)
        return hash(unescaped.bytes, seed: seeds.string)
    }

    private static let seeds = (
        string: 0x9E37_79B9_7F4A_7C15 as UInt64, array: 0xC2B2_AE3D_27D4_EB4F as UInt64,
        object: 0x1656_67B1_9E37_79F9 as UInt64, raw: 0x27D4_EB2F_1656_67C5 as UInt64,
        null: 0x85EB_CA77_C2B2_AE63 as UInt64
    )

    /// Eight bytes a step, folded with a multiplication of 64 by 64 bits.
    ///
    /// Source: Wang Yi, "wyhash" (the folded multiplication).
    static func hash(_ bytes: Span<UInt8>, seed: UInt64) -> UInt64 {
        var sum = mix(seed, UInt64(bytes.count))
        var at = 0
        while at < bytes.count {
            var word: UInt64 = 0
            var shift: UInt64 = 0
            let end = min(at + 8, bytes.count)
            while at < end {
                word |= UInt64(bytes[at]) << shift
                shift += 8
                at += 1
            }
            sum = mix(sum, word)
        }
        return sum
    }

    private static func mix(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = (left ^ 0xA076_1D64_78BD_642F).multipliedFullWidth(by: right ^ 0xE703_7ED1_A0B4_28DB)
        return product.high ^ product.low
    }
}
