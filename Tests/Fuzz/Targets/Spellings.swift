import GatewayCore
import Wire

/// JSON in other spellings. The readers take at once what programs mostly write, and read the rest member by member:
/// the same document without any white space goes the one way, with a lot of it the other.
extension [UInt8] {
    /// These bytes without white space around JSON's punctuation, and with a line feed on either side of it: no
    /// documents become ones by that, nor the other way round.
    var spellings: [[UInt8]] { [spelled(with: []), spelled(with: [0x0A])] }

    func spelled(with space: [UInt8]) -> [UInt8] {
        var spelled: [UInt8] = []
        spelled.reserveCapacity(count * 2)
        var (isInString, isEscaped, isBehindMark) = (false, false, false)
        for byte in self {
            if isInString {
                isInString = isEscaped || byte != UInt8(ascii: "\"")
                isEscaped = !isEscaped && byte == UInt8(ascii: "\\")
            } else if Self.isMark(byte) {
                while let last = spelled.last, Self.isSpace(last) { spelled.removeLast() }
                spelled += space + [byte] + space
                isBehindMark = true
                continue
            } else if isBehindMark, Self.isSpace(byte) {
                continue
            } else {
                isInString = byte == UInt8(ascii: "\"")
            }
            isBehindMark = false
            spelled.append(byte)
        }
        return spelled
    }

    private static func isMark(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: ","),
            UInt8(ascii: ":"):
            true
        default: false
        }
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
    }

    /// The value at `range`, in one spelling.
    fileprivate func value(_ range: ByteRange) -> String { self[range].spelled(with: []).text }

    var halves: [[UInt8]] { [Array(prefix(count / 2)), Array(suffix(count - count / 2))] }
}

/// What the readers find in a request's body, without where: one line for each fact, or why it is refused.
func sayings(of bytes: [UInt8], _ kind: ChatRequest.Kind) -> [String] {
    var none: ChatRequest?
    return sayings(of: bytes, kind, into: &none)
}

/// The same, read into `old`, which is the request afterwards.
func sayings(of bytes: [UInt8], _ kind: ChatRequest.Kind, into old: inout ChatRequest?) -> [String] {
    do throws(BodyProblem) {
        let request = try ChatRequest.read(bytes.span, kind: kind, into: &old)
        defer { old = request }
        var facts = ["\(request.kind)", request.modelName(in: bytes.span), "stream \(request.isStream)"]
        facts += [request.maxTokens, request.maxCompletionTokens, request.minTokens, request.choices].map {
            "\($0 ?? -1)"
        }
        facts += [request.sessionID, request.user].map { $0.map { bytes.value($0.raw) } ?? "-" }
        facts += request.stops.map { "stop \(bytes.value($0.raw))" }
        facts += [
            request.stores == true, request.stores == false, request.echo, request.continuesFinalMessage,
            request.returnsTokenIDs, request.includesUsage, request.hasGrammar, request.hasPenalties,
            request.hasLogprobs, request.hasTools,
        ].map { "\($0)" }
        facts.append("\(request.promptKind) \(request.promptCount)")
        for index in 0..<request.messages.count {
            let message = request.messages[index]
            facts.append("\(message.role) \(bytes.value(message.content)) in \(bytes.value(message.range))")
        }
        for member in ChatMember.allCases {
            guard let place = request.place(of: member) else { continue }
            facts.append("\(member): \(bytes.value(place.value))")
        }
        return facts + [bytes.value(request.object)]
    } catch {
        // Where it is wrong differs, and what of it is found first.
        if case .malformed = error { return ["no JSON"] }
        return ["\(error)"]
    }
}

/// What the reader finds in an event; nil when it is refused.
func sayings(ofChunk bytes: [UInt8]) -> [String]? {
    guard let chunk = try? ChatChunk.read(bytes.span) else { return nil }
    let choice = chunk.choice
    let values = [
        chunk.object, chunk.id, chunk.created, chunk.model, chunk.usageValue, chunk.error, chunk.promptTokenIDs,
        chunk.data, choice.delta, choice.role.raw, choice.content.raw, choice.text.raw, choice.reasoning.raw,
        choice.refusal.raw, choice.toolCalls, choice.tokenIDs, choice.promptTokenIDs,
    ]
    return values.map { bytes.value($0) } + [
        "\(choice.index) \(choice.finish) \(choice.hasParts) \(choice.content.hasEscapes)",
        "\(chunk.choiceCount) \(chunk.unfinished) \(chunk.finished) \(chunk.hasContent)",
        "\(chunk.isAborted) \(chunk.isError) \(chunk.hasTokenIDs)",
        "\(chunk.usage?.promptTokens ?? -1) \(chunk.usage?.completionTokens ?? -1)",
    ]
}
