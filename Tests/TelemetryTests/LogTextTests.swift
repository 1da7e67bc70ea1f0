import Testing
import Wire

@testable import Telemetry

@Suite struct LogTextTests {
    @Test func `a text is a JSON string, escaped where it must be`() {
        #expect(String(decoding: LogText("gpu-a").json, as: UTF8.self) == "\"gpu-a\"")
        #expect(String(decoding: LogText("a\"b\n").json, as: UTF8.self) == "\"a\\\"b\\n\"")
        #expect(String(decoding: LogText("").json, as: UTF8.self) == "\"\"")
    }

    @Test func `a long text is cut between characters`() {
        let text = LogText("a" + String(repeating: "é", count: 200))
        #expect(String(decoding: text.json, as: UTF8.self) == "\"a" + String(repeating: "é", count: 127) + "\"")
    }
}
