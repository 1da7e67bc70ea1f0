import Wire

private let limits = HeadLimits(headBytes: 2_048, requestLineBytes: 512, fields: 24)
/// What is written again may be longer: a space behind each colon, the whole line where it was cut short.
private let rewrittenLimits = HeadLimits(headBytes: 16_384, requestLineBytes: 8_192, fields: 32)

/// A head says the same however it arrives, wherever it lies and whatever came before; written again, it reads
/// the same.
func checkRequestHead(_ bytes: [UInt8]) throws(BrokenProperty) {
    let whole = read(bytes, .whole)
    for arrival in Arrival.allCases {
        let other = read(bytes, arrival)
        try hold(other == whole, "arriving \(arrival) it is \(other), whole \(whole)")
    }
    let moved = read(Array("GET / H".utf8) + bytes, .whole, from: 7)
    try hold(moved == whole, "behind other bytes it is \(moved), else \(whole)")
    let recent = RequestHead.Recent()
    for edition in bytes.editions {
        let compared = read(edition, .whole, recent: recent)
        let parsed = read(edition, .whole)
        try hold(compared == parsed, "compared with recent heads it is \(compared), else \(parsed)")
    }
    guard case .complete(_, let head) = whole else { return }
    for field in head.fields {
        try hold(!field.name.isEmpty && !field.name.contains { $0 <= 0x20 || $0 >= 0x7F || $0 == 0x3A }, "a bad name")
        try hold(!field.value.contains { $0 < 0x20 && $0 != 9 || $0 == 0x7F }, "a control byte in a value")
    }
    try hold(!head.target.contains { $0 <= 0x20 || $0 >= 0x7F }, "a target of other bytes than it may have")
    try hold(head.minorVersion == 0 || head.host != nil, "HTTP/1.1 without a host")
    let rewritten = head.written
    let again = read(rewritten, .whole, limits: rewrittenLimits)
    try hold(again == .complete(end: rewritten.count, head), "written again it is \(again), was \(whole)")
}

private enum Outcome: Equatable {
    case incomplete
    case refused(HTTPViolation)
    case complete(end: Int, Head)
}

private struct Field: Equatable {
    let name: [UInt8]
    let value: [UInt8]
    let id: FieldID
    let isNamedByConnection: Bool
}

/// What a head says, without where it says so.
private struct Head: Equatable {
    let method: [UInt8]
    let target: [UInt8]
    let minorVersion: Int
    let framing: BodyFraming
    let keepsAlive: Bool
    let expectsContinue: Bool
    let host: [UInt8]?
    /// All but Host, which an absolute URL overrules.
    let fields: [Field]

    init(_ head: RequestHead, of bytes: [UInt8]) {
        method = bytes[head.methodText]
        target = head.isAsteriskTarget ? [0x2A] : bytes[head.target]
        minorVersion = head.minorVersion
        framing = head.framing
        keepsAlive = head.keepsAlive
        expectsContinue = head.expectsContinue
        host = head.host.map { bytes[$0] }
        fields = head.fields.filter { $0.id != .host }.map { field in
            Field(
                name: bytes[field.name], value: bytes[field.value], id: field.id,
                isNamedByConnection: field.isNamedByConnection)
        }
    }

    var written: [UInt8] {
        var text = method + [0x20] + target + Array(" HTTP/1.\(minorVersion)\r\n".utf8)
        if let host { text += Array("Host: ".utf8) + host + [13, 10] }
        for field in fields { text += field.name + [0x3A, 0x20] + field.value + [13, 10] }
        return text + [13, 10]
    }
}

private func read(
    _ bytes: [UInt8], _ arrival: Arrival, from origin: Int = 0, limits: HeadLimits = limits,
    recent: RequestHead.Recent? = nil
) -> Outcome {
    let head = RequestHead(recent: recent)
    for end in arrival.ends(of: bytes) {
        do throws(HTTPViolation) {
            switch try head.parse(bytes.span.extracting(0..<end), from: origin, limits: limits) {
            case .incomplete: continue
            case .complete(let end): return .complete(end: end - origin, Head(head, of: bytes))
            }
        } catch {
            return .refused(error)
        }
    }
    return .incomplete
}
