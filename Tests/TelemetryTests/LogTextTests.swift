import Testing
import Wire

@testable import Telemetry

@Suite struct LogTextTests {
    private func shown(_ text: LogText) -> String { text.json.bytes.text }

    @Test func `a text is a JSON string, escaped where it must be`() {
        #expect(shown(LogText("gpu-a")) == "\"gpu-a\"")
        #expect(shown(LogText("a\"b\n")) == "\"a\\\"b\\n\"")
        #expect(shown(LogText("")) == "\"\"")
    }

    @Test func `a long text is cut between characters`() {
        let text = LogText("a" + String(repeating: "é", count: 200))
        #expect(shown(text) == "\"a" + String(repeating: "é", count: 127) + "\"")
    }

    @Test func `what was asked for is two members, both null before anything is known`() {
        let served = LogText.served(model: "a\\u0062".utf8Span.span, pool: "chat")
        #expect(shown(served) == #""model":"a\\u0062","pool":"chat""#)
        #expect(shown(.unserved) == #""model":null,"pool":null"#)
        #expect(shown(.null) == "null")
    }
}
