import TestSupport
import Wire

/// The scanner accepts what a plain reader accepts, and nothing else. What it accepts, the reader of trees accepts, but
/// for numbers beyond `Double`; written, it reads the same.
func checkJSON(_ bytes: [UInt8]) throws(BrokenProperty) {
    let isAccepted: Bool
    do throws(JSONProblem) {
        try JSONScanner.check(bytes.span)
        isAccepted = true
    } catch {
        isAccepted = false
    }
    try hold(isAccepted == (PlainJSON.read(bytes) != nil), "to a plain reader it is \(isAccepted ? "no" : "good") JSON")
    let value: JSONValue
    do throws(JSONProblem) {
        value = try JSONValue.read(bytes.span)
    } catch {
        try hold(!isAccepted || error.reason == .numberTooLarge, "a tree finds \(error), the scanner nothing")
        return
    }
    try hold(isAccepted, "a tree is read of what the scanner refuses")
    try hold(String(validating: bytes, as: UTF8.self) != nil, "accepted, although it is not UTF-8")
    let written = [UInt8].written { $0.append(json: value) }
    guard let again = try? JSONValue.read(written.span) else {
        throw BrokenProperty(description: "written again it is refused: \(written.text)")
    }
    try hold(again == value, "written again it is another: \(written.text)")
    try hold([UInt8].written { $0.append(json: again) } == written, "written a third time it is another")
}
