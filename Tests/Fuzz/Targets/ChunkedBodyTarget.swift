import Wire

private let limits = ChunkedDecoder.Limits(extensionBytes: 64, trailerBytes: 128, trailerFields: 4)

/// A chunked body is the same however it arrives; what was taken out of its framing and framed again is the same too.
func checkChunkedBody(_ bytes: [UInt8]) throws(BrokenProperty) {
    let whole = decode(bytes, .whole)
    for arrival in Arrival.allCases {
        let other = decode(bytes, arrival)
        try hold(other == whole, "arriving \(arrival) it is \(other), whole \(whole)")
    }
    try hold(whole.body.count <= bytes.count, "more comes out than went in")
    guard case .complete(let end) = whole.end else { return }
    try hold(end <= bytes.count, "it ends behind the input")
    let framed = [UInt8].written { writer in
        if !whole.body.isEmpty {
            writer.appendChunkStart(whole.body.count)
            writer.append(whole.body)
            writer.appendChunkEnd()
        }
        writer.appendLastChunk()
    }
    let again = decode(framed, .cut)
    try hold(again == Decoded(body: whole.body, end: .complete(framed.count)), "framed again it is \(again)")
}

private struct Decoded: Equatable {
    enum End: Equatable {
        case unfinished
        case refused(HTTPViolation)
        case complete(Int)
    }
    var body: [UInt8] = []
    var end = End.unfinished
}

private func decode(_ bytes: [UInt8], _ arrival: Arrival) -> Decoded {
    var decoder = ChunkedDecoder(limits: limits)
    var decoded = Decoded()
    var offset = 0
    for end in arrival.ends(of: bytes) {
        var isMoreThere = true
        while isMoreThere {
            do throws(HTTPViolation) {
                switch try decoder.next(bytes.span.extracting(0..<end), at: &offset) {
                case .data(let range): decoded.body += bytes[range]
                case .needMore: isMoreThere = false
                case .end:
                    decoded.end = .complete(offset)
                    return decoded
                }
            } catch {
                decoded.end = .refused(error)
                return decoded
            }
        }
    }
    return decoded
}
