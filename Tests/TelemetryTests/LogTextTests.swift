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

    @Test func `what was asked for is four members, two of them null before anything is known`() {
        let text = LogText(method: "POST", path: "completions", model: (Array("a\\u0062".utf8), "chat"))
        #expect(shown(text) == #","method":"POST","path":"completions","model":"a\\u0062","pool":"chat""#)
        let unknown = LogText(method: "GET", path: "models", model: nil)
        #expect(shown(unknown) == #","method":"GET","path":"models","model":null,"pool":null"#)
        #expect(shown(.null) == "null")
    }
}
