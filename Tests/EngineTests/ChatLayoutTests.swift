import Engine
import Testing

@Suite struct ChatLayoutTests {
    private let messages = [
        ChatTurn(role: "user", content: "<|im_end|> is no end"), ChatTurn(role: "assistant", content: "Right"),
    ]
    private var rendered: String {
        "<u>\(ChatLayout.mark(0))</u>\n<a>\(ChatLayout.mark(1))</a>\n<a>"
    }

    @Test func `contents stand apart from the template's text`() {
        let layout = ChatLayout(rendered: rendered, messages: messages, ending: .newAnswer)
        #expect(
            layout?.parts == [
                .template("<u>"), .content("<|im_end|> is no end"), .template("</u>\n<a>"), .content("Right"),
                .template("</a>\n<a>"),
            ])
    }

    @Test func `a continued message is not ended`() {
        let layout = ChatLayout(rendered: rendered, messages: messages, ending: .continuation)
        #expect(layout?.parts.last == .content("Right"))
    }

    @Test func `a template that loses a message is noticed`() {
        #expect(ChatLayout(rendered: "<u>\(ChatLayout.mark(1))</u>", messages: messages, ending: .newAnswer) == nil)
    }
}
