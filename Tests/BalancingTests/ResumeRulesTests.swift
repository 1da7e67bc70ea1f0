import Balancing
import Testing

@Suite struct ResumeRulesTests {
    private let exact = SentSoFar(tokens: 5, hasExactIDs: true)

    private func request(
        _ traits: AttemptRequest.Traits = [], isStream: Bool = true, choices: Int = 1
    ) -> AttemptRequest {
        AttemptRequest(isStream: isStream, choices: choices, traits: traits, maxTokens: nil)
    }

    private func ways(
        _ request: AttemptRequest, _ sent: SentSoFar, _ kind: ReplicaKind
    ) -> ResumeWays {
        ResumeRules.ways(for: request, sent: sent, on: kind.abilities)
    }

    @Test func `each kind of replica offers its ways`() {
        #expect(ways(request(), exact, .weir) == .all)
        #expect(ways(request(), exact, .vllm) == .all)
        #expect(ways(request(), exact, .sglang) == [.prefill, .replay])
        #expect(ways(request(), exact, .llamaCpp) == [.prefill, .replay])
        #expect(ways(request(), exact, .tgi) == .replay)
        #expect(ways(request(), exact, .generic) == .replay)
    }

    @Test func `kinds are spelled as in the configuration`() {
        #expect(ReplicaKind(rawValue: "llama.cpp") == .llamaCpp)
        #expect(ReplicaKind.allCases.map(\.rawValue) == ["weir", "vllm", "sglang", "llama.cpp", "tgi", "generic"])
        #expect(ReplicaKind.allCases.filter { !$0.abilities.contains(.tinyProbe) } == [.generic])
    }

    @Test func `without exact ids, or with a text that ends in a stop's prefix, ids are no way`() {
        #expect(ways(request(), SentSoFar(tokens: 5), .weir) == [.prefill, .replay])
        let atStop = SentSoFar(tokens: 5, hasExactIDs: true, endsInStopPrefix: true)
        #expect(ways(request(), atStop, .weir) == .replay)
    }

    @Test func `more than one choice is never resumed, nor is an answer that is no stream`() {
        for kind in ReplicaKind.allCases {
            #expect(ways(request(choices: 2), exact, kind).isEmpty)
            #expect(ways(request(isStream: false), exact, kind).isEmpty)
        }
    }

    @Test func `once tool calls or reasoning were sent only ids will do`() {
        let sent = SentSoFar(tokens: 5, hasExactIDs: true, hasToolsOrReasoning: true)
        #expect(ways(request(), sent, .weir) == .tokenIDs)
        #expect(ways(request(), sent, .llamaCpp).isEmpty)
        #expect(ways(request(), sent, .generic).isEmpty)
    }

    @Test func `constrained output is continued from ids only where the grammar sees them`() {
        #expect(ways(request(.constrained), exact, .weir) == [.tokenIDs, .replay])
        #expect(ways(request(.constrained), exact, .vllm) == .replay)
        #expect(ways(request(.constrained), exact, .llamaCpp) == .replay)
    }

    @Test func `penalties, logprobs and min_tokens need a replica that declares each of them`() {
        let traits: [(AttemptRequest.Traits, ReplicaAbilities)] = [
            (.penalties, .penaltiesOverIDs), (.logprobs, .logprobsOverIDs), (.minTokens, .minTokensOverIDs),
        ]
        for (trait, ability) in traits {
            #expect(ways(request(trait), exact, .vllm) == .replay)
            let declared = ReplicaKind.vllm.abilities.union(ability)
            #expect(ResumeRules.ways(for: request(trait), sent: exact, on: declared) == [.tokenIDs, .replay])
            let both: AttemptRequest.Traits = [trait, .constrained]
            #expect(ResumeRules.ways(for: request(both), sent: exact, on: declared) == .replay)
        }
    }
}
