import Balancing
import GatewayCore
import Testing

@Suite struct CoolDownTests {
    @Test func `a reply without a time cools nobody down`() {
        #expect(CoolDown.end(retryAfter: nil, now: .zero) == nil)
        #expect(CoolDown.end(retryAfter: .zero, now: .zero) == nil)
    }

    @Test func `a mistaken header takes a replica out for two minutes at most`() {
        #expect(CoolDown.end(retryAfter: .seconds(7), now: .zero) == .zero + .seconds(7))
        #expect(CoolDown.end(retryAfter: .seconds(86_400), now: .zero) == .zero + .seconds(120))
    }
}
