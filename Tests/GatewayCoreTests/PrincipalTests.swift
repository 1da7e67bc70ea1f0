import Testing

@testable import GatewayCore

@Suite struct PrincipalTests {
    @Test func `without a list every model may be used, with one only those in it`() {
        #expect(Principal(kind: .apiKey, id: "a").mayUse(model: "m"))
        let limited = Principal(kind: .apiKey, id: "a", models: ["m", "n"])
        #expect(limited.mayUse(model: "m") && limited.mayUse(model: "n"))
        #expect(!limited.mayUse(model: "M") && !limited.mayUse(model: ""))
        #expect(!Principal(kind: .token, id: "a", models: []).mayUse(model: "m"))
    }

    @Test func `usage adds up`() {
        #expect(Usage(promptTokens: 3, completionTokens: 4).totalTokens == 7)
        #expect(Usage() == Usage(promptTokens: 0, completionTokens: 0))
    }
}
