import GatewayCore
import Testing

@testable import Telemetry

@Suite struct OutcomeTests {
    @Test func `every error has an index of its own, whose label is the error's`() {
        for error in Outcome.exemplars { #expect(Outcome(error).label == error.label) }
        for failure in UpstreamFailure.allCases {
            #expect(Outcome(.upstreamBroke(failure)).label == GatewayError.upstreamBroke(failure).label)
        }
        #expect(Outcome.ok.label == "ok")
    }

    @Test func `no label stands for two outcomes, and all fit into a pool's counters`() {
        #expect(Set(Outcome.labels).count == Outcome.labels.count)
        #expect(Outcome.labels.count <= Outcome.capacity)
        #expect(Set(AttemptResult.labels).count == AttemptResult.labels.count)
        #expect(AttemptResult.labels.count <= AttemptResult.capacity)
        #expect(PoolMetrics().requests.count == Outcome.capacity)
        #expect(ReplicaMetrics().attempts.count == AttemptResult.capacity)
    }

    @Test func `every failure, reason and limit is numbered by its position`() {
        #expect(UpstreamFailure.allCases.map(\.index) == Array(UpstreamFailure.allCases.indices))
        #expect(TokenProblem.allCases.map(\.index) == Array(TokenProblem.allCases.indices))
        #expect(RateLimitKind.allCases.map(\.index) == Array(RateLimitKind.allCases.indices))
        #expect(ResumeResult.allCases.map(\.rawValue) == Array(ResumeResult.allCases.indices))
        for failure in UpstreamFailure.allCases { #expect(AttemptResult.failed(failure).label == failure.label) }
        let connections = ConnectionMetrics()
        #expect(connections.authenticationFailures.count == TokenProblem.allCases.count)
        #expect(connections.limiterRejected.count == RateLimitKind.allCases.count)
        #expect(ResumeOutcome.allCases.map(\.rawValue) == Array(ResumeOutcome.allCases.indices))
        #expect(PoolMetrics().resumes.count == ResumeResult.allCases.count * ResumeOutcome.allCases.count)
    }

    @Test func `labels are snake case`() {
        let resumes = ResumeResult.allCases.map(\.label) + ResumeOutcome.allCases.map(\.label)
        for label in Outcome.labels + AttemptResult.labels + TokenProblem.labels + resumes {
            #expect(!label.isEmpty && label.utf8.allSatisfy { $0 == 0x5F || (0x61...0x7A).contains($0) }, "\(label)")
        }
    }
}
