import Wire

/// The events are those of a reader that is written as the standard says, however the stream arrives, and the tail that
/// must be kept never grows beyond the limit.
func checkEventStream(_ bytes: [UInt8]) throws(BrokenProperty) {
    let expected = eventsByTheStandard(bytes)
    for arrival in Arrival.allCases {
        let found = try scan(bytes, arrival, limit: bytes.count + 1)
        try hold(found.events == expected, "arriving \(arrival): \(found.events), should be \(expected)")
        try hold(!found.isOversized, "oversized, although all of it is within the limit")
        let bounded = try scan(bytes, arrival, limit: 64)
        try hold(
            bounded.events.elementsEqual(expected.prefix(bounded.events.count)),
            "with a limit, other events: \(bounded.events)")
        try hold(bounded.isOversized || bounded.events.count == expected.count, "with a limit, events are missing")
    }
}

private struct Event: Equatable, CustomStringConvertible {
    var data: [UInt8]
    var dataLines: Int
    var name: [UInt8]
    var description: String { "\(name.text):\(dataLines):\(data.text.debugDescription)" }
}

private func scan(
    _ bytes: [UInt8], _ arrival: Arrival, limit: Int
) throws(BrokenProperty) -> (events: [Event], isOversized: Bool) {
    var scanner = SSEScanner(limit: limit)
    var events: [Event] = []
    var buffer: [UInt8] = []
    var start = 0
    for end in arrival.ends(of: bytes) {
        buffer += bytes[start..<end]
        start = end
        var at = 0
        reading: while true {
            switch scanner.next(buffer.span, at: &at) {
            case .event(let event):
                let data = [UInt8].written { SSEScanner.appendData(of: event, in: buffer.span, into: &$0) }
                try hold(event.range.end == at, "an event that ends elsewhere than the scanner stands")
                if event.dataLines > 0 {
                    events.append(Event(data: data, dataLines: event.dataLines, name: buffer[event.name]))
                }
            case .needMore(let keepFrom):
                try hold(keepFrom >= 0 && keepFrom <= buffer.count, "a tail outside the buffer")
                buffer.removeFirst(keepFrom)
                try hold(buffer.count <= limit, "\(buffer.count) bytes are kept, the limit is \(limit)")
                break reading
            case .oversized: return (events, true)
            }
        }
    }
    return (events, false)
}

/// The slow, plain reader. Source: HTML Living Standard, 9.2.6.
private func eventsByTheStandard(_ bytes: [UInt8]) -> [Event] {
    var rest = bytes[...]
    if rest.starts(with: [0xEF, 0xBB, 0xBF]) { rest.removeFirst(3) }
    var events: [Event] = []
    var data: [[UInt8]] = []
    var name: [UInt8] = []
    while let end = rest.firstIndex(where: { $0 == 10 || $0 == 13 }) {
        let line = rest[..<end]
        let isPair = rest[end] == 13 && end + 1 < rest.endIndex && rest[end + 1] == 10
        rest = rest[(end + (isPair ? 2 : 1))...]
        if line.isEmpty {
            if !data.isEmpty {
                events.append(Event(data: Array(data.joined(separator: [10])), dataLines: data.count, name: name))
            }
            (data, name) = ([], [])
            continue
        }
        let colon = line.firstIndex(of: 0x3A) ?? line.endIndex
        var value = line[min(colon + 1, line.endIndex)...]
        if value.first == 0x20 { value.removeFirst() }
        switch String(decoding: line[..<colon], as: UTF8.self) {
        case "data": data.append(Array(value))
        case "event": name = Array(value)
        default: break
        }
    }
    return events
}
