/// Tokens that one answer cost, as its replica counted them.
///
/// Source: OpenAI API reference, "usage".
package struct Usage: Equatable, Sendable {
    package var promptTokens: Int
    package var completionTokens: Int
    package var totalTokens: Int { promptTokens + completionTokens }

    package init(promptTokens: Int = 0, completionTokens: Int = 0) {
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
    }
}
