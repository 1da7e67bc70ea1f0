import Testing

@testable import Wire

@Suite struct MediaTypeTests {
    @Test(arguments: [
        ("application/json", MediaType.json), ("APPLICATION/Json", .json), ("application/json; charset=utf-8", .json),
        ("application/json;x", .json), ("text/event-stream", .eventStream),
        ("Text/Event-Stream ;charset=utf-8", .eventStream), ("application/json \t ; charset=utf-8", .json),
        ("application/json charset=utf-8", .other), ("application/json x;", .other), ("application/json ,", .other),
        ("application/jsonl", .other), ("application/jso", .other), ("text/event-streams", .other), ("", .other),
        ("application/json,text/html", .other), ("text/html", .other), ("x", .other),
    ])
    func `the type counts, whatever its case and parameters`(_ value: String, _ expected: MediaType) {
        #expect(MediaType(Array(value.utf8).span) == expected)
    }
}
