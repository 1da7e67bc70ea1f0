import GatewayCore
import Telemetry
import Testing
import Upstreams

@testable import Pipeline

@Suite struct ModelFallbackTests {
    private func reason(status: Int, code: String = "x") -> FallbackReason? {
        let body = Array(#"{"error":{"message":"no","type":"invalid_request_error","code":"\#(code)"}}"#.utf8)
        return ModelFallback.reason(.success(.refused(status: status, body: body, retryAfter: nil)))
    }

    @Test func `another model is asked where no replica could answer, and for nothing that was asked wrong`() {
        let cannot: [GatewayError] = [
            .noReplica(model: "m"), .queueFull(retryAfter: .seconds(1)), .queueTimeout(retryAfter: .seconds(1)),
            .connectTimeout, .firstByteTimeout, .firstContentTimeout,
        ]
        for error in cannot + UpstreamFailure.allCases.map({ .upstreamFailed($0) }) {
            #expect(ModelFallback.reason(.failure(error)) == .exhausted, "\(error)")
        }
        let stands: [GatewayError] = [
            .clientGone, .totalTimeout, .internalError, .invalidRequest(message: "", param: nil),
            .invalidAPIKey(.expired), .modelNotAllowed(model: "m"), .rateLimited(.requests, retryAfter: .zero),
            .sessionBusy,
        ]
        // A broken stream has its own way to go on, with what the client has of it.
        for error in stands + UpstreamFailure.allCases.map({ .upstreamBroke($0) }) {
            #expect(ModelFallback.reason(.failure(error)) == nil, "\(error)")
        }
        #expect(ModelFallback.reason(.success(.streamed)) == nil)
    }

    @Test func `of a replica's refusals only being busy and too long a prompt lead to another model`() {
        for status in 400...599 {
            let expected: FallbackReason? = status == 429 || status == 503 ? .exhausted : nil
            #expect(reason(status: status) == expected, "\(status)")
            #expect(reason(status: status, code: "content_policy_violation") == expected, "\(status)")
        }
        #expect(reason(status: 400, code: "context_length_exceeded") == .contextLength)
        #expect(reason(status: 413, code: "context_length_exceeded") == .contextLength)
        #expect(reason(status: 500, code: "context_length_exceeded") == nil)
    }
}
