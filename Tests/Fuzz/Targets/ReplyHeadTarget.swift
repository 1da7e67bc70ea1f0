import Wire

private let limits = HeadLimits(headBytes: 2_048, requestLineBytes: 512, fields: 24)
private let rewrittenLimits = HeadLimits(headBytes: 16_384, requestLineBytes: 8_192, fields: 32)

/// A reply's head says the same however it arrives and whatever came before; written again, it reads the same. Interim
/// replies are bounded.
func checkReplyHead(_ bytes: [UInt8]) throws(BrokenProperty) {
    let recent = ReplyHead.Recent()
    for edition in bytes.editions {
        for method in [HTTPMethod.post, .head] {
            let compared = read(edition, .whole, method, recent: recent)
            let parsed = read(edition, .whole, method)
            try hold(compared == parsed, "compared with recent heads it is \(compared), else \(parsed)")
        }
    }
    for method in [HTTPMethod.post, .head] {
        let whole = read(bytes, .whole, method)
        for arrival in Arrival.allCases {
            let other = read(bytes, arrival, method)
            try hold(other == whole, "arriving \(arrival) it is \(other), whole \(whole)")
        }
        guard case .complete(_, let interims, let head) = whole else { continue }
        try hold(interims <= 8, "\(interims) interim replies")
        try hold((200...599).contains(head.status), "a final reply with the status \(head.status)")
        try hold(method != .head || head.framing == .none, "a body behind the reply to HEAD")
        let rewritten = head.written
        let again = read(rewritten, .whole, method, limits: rewrittenLimits)
        try hold(
            again == .complete(end: rewritten.count, interims: 0, head), "written again it is \(again), was \(whole)")
    }
}

private enum Outcome: Equatable {
    case incomplete(interims: Int)
    case refused(HTTPViolation)
    case complete(end: Int, interims: Int, Head)
}

private struct Field: Equatable {
    let name: [UInt8]
    let value: [UInt8]
    let isNamedByConnection: Bool
}

private struct Head: Equatable {
    let status: Int
    let minorVersion: Int
    let framing: BodyFraming
    let keepsAlive: Bool
    let fields: [Field]

    init(_ head: ReplyHead, of bytes: [UInt8]) {
        status = head.status
        minorVersion = head.minorVersion
        framing = head.framing
        keepsAlive = head.keepsAlive
        fields = head.fields.map {
            Field(name: bytes[$0.name], value: bytes[$0.value], isNamedByConnection: $0.isNamedByConnection)
        }
    }

    var written: [UInt8] {
        var text = Array("HTTP/1.\(minorVersion) \(status) \r\n".utf8)
        for field in fields { text += field.name + [0x3A, 0x20] + field.value + [13, 10] }
        return text + [13, 10]
    }
}

private func read(
    _ bytes: [UInt8], _ arrival: Arrival, _ method: HTTPMethod, limits: HeadLimits = limits,
    recent: ReplyHead.Recent? = nil
) -> Outcome {
    let head = ReplyHead(recent: recent)
    var interims = 0
    var origin = 0
    for end in arrival.ends(of: bytes) {
        var isMoreThere = end >= origin
        while isMoreThere {
            do throws(HTTPViolation) {
                switch try head.parse(
                    bytes.span.extracting(0..<end), from: origin, limits: limits, requestMethod: method)
                {
                case .incomplete: isMoreThere = false
                case .interim(let end):
                    interims += 1
                    origin = end
                case .complete(let end):
                    return .complete(end: end, interims: interims, Head(head, of: bytes))
                }
            } catch {
                return .refused(error)
            }
        }
    }
    return .incomplete(interims: interims)
}
