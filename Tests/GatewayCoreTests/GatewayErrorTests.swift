import Foundation
import Testing

@testable import GatewayCore

@Suite struct GatewayErrorTests {
    /// One of every case, and of every kind where a case carries one.
    static let all: [GatewayError] =
        [
            .malformedRequest(reason: "two Host fields"), .headTooLarge, .targetTooLong,
            .invalidRequest(message: "Wrong.", param: "messages[0].role"), .bodyTooLarge(limitBytes: 8),
            .unsupportedMediaType(message: "Only JSON."), .notFound(path: "/v2"), .methodNotAllowed(allowed: "POST"),
            .headTimeout, .bodyTimeout, .keysUnavailable, .missingScope("admin"), .modelNotAllowed(model: "m"),
            .modelNotFound(model: "m"), .sessionNotFound, .sessionBusy, .sessionsUnavailable, .bodyMemoryExhausted,
            .noReplica(model: "m"), .queueFull(retryAfter: .seconds(2)), .queueTimeout(retryAfter: .seconds(2)),
            .connectTimeout, .firstByteTimeout, .firstContentTimeout, .totalTimeout, .shuttingDown, .clientGone,
            .clientStalled, .internalError,
        ] + HTTPFeature.allCases.map { .unsupportedHTTP($0, reason: "only HTTP/1.1 is") }
        + TokenProblem.allCases.map { .invalidAPIKey($0) }
        + RateLimitKind.allCases.map { .rateLimited($0, retryAfter: .milliseconds(1500)) }
        + UpstreamFailure.allCases.flatMap { [.upstreamFailed($0), .upstreamBroke($0)] }

    /// Does not compile when a case is added: add it to ``all`` too, and here with the next number.
    static func number(_ error: GatewayError) -> Int {
        switch error {
        case .malformedRequest: 0
        case .headTooLarge: 1
        case .targetTooLong: 2
        case .invalidRequest: 3
        case .bodyTooLarge: 4
        case .unsupportedMediaType: 5
        case .notFound: 6
        case .methodNotAllowed: 7
        case .headTimeout: 8
        case .bodyTimeout: 9
        case .invalidAPIKey: 10
        case .keysUnavailable: 11
        case .missingScope: 12
        case .modelNotAllowed: 13
        case .modelNotFound: 14
        case .rateLimited: 15
        case .sessionNotFound: 16
        case .sessionBusy: 17
        case .sessionsUnavailable: 18
        case .bodyMemoryExhausted: 19
        case .noReplica: 20
        case .queueFull: 21
        case .queueTimeout: 22
        case .connectTimeout: 23
        case .firstByteTimeout: 24
        case .firstContentTimeout: 25
        case .totalTimeout: 26
        case .upstreamFailed: 27
        case .upstreamBroke: 28
        case .shuttingDown: 29
        case .clientGone: 30
        case .clientStalled: 31
        case .internalError: 32
        case .unsupportedHTTP: 33
        }
    }

    /// The row of docs/errors.md up to the column "when".
    static func row(_ error: GatewayError) -> String {
        let answer = error.answer
        let retry = answer.shouldNotRetry ? "yes, but don't" : answer.retryAfter == nil ? "no" : "yes"
        let code = answer.code.map { "`\($0)`" } ?? "null"
        return "| \(answer.status) | `\(answer.type)` | \(code) | `\(error.label)` | \(retry) | "
    }

    @Test func `the list of these tests has every case`() {
        #expect(Set(Self.all.map(Self.number)) == Set(0..<34))
    }

    @Test func `the manual has one row for every answer, and none for an answer that there is not`() throws {
        let manual = URL(filePath: #filePath).appending(path: "../../../docs/errors.md").standardized
        let rows = try String(contentsOf: manual, encoding: .utf8).split(separator: "\n").filter {
            $0.dropFirst(2).first?.isNumber == true && $0.hasPrefix("| ")
        }
        let expected = Set(Self.all.map(Self.row))
        for row in expected {
            let matching = rows.filter { $0.hasPrefix(row) }
            #expect(matching.count == 1 && matching[0].count > row.count + 3, "missing: \(row)")
        }
        #expect(rows.count == expected.count)
    }

    @Test func `every answer is a failure with a type, a sentence and, but for invalid requests, a code`() {
        for error in Self.all {
            let answer = error.answer
            #expect((400...599).contains(answer.status))
            #expect(!answer.type.isEmpty && answer.message.hasSuffix("."))
            #expect((answer.code == nil) == (Self.number(error) == 3))
            // OpenAI clients retry 408, 409, 429 and 5xx: a quota must say that it is no use.
            #expect(answer.shouldNotRetry == (answer.type == "insufficient_quota"))
        }
    }

    @Test func `labels and codes are snake case, so that they can be metric labels`() {
        for error in Self.all {
            for word in [error.label, error.answer.code ?? "x"] {
                #expect(
                    word.utf8.allSatisfy { ("a"..."z").contains(Character(Unicode.Scalar($0))) || $0 == 0x5F },
                    "\(word)")
            }
        }
        #expect(UpstreamFailure.firstContentTimeout.label == "first_content_timeout")
        #expect(Set(UpstreamFailure.allCases.map(\.label)).count == UpstreamFailure.allCases.count)
    }

    @Test func `a label never holds what a client sent`() {
        let marker = "clientText"
        let errors: [GatewayError] = [
            .malformedRequest(reason: marker), .unsupportedHTTP(.version, reason: marker),
            .invalidRequest(message: marker, param: marker),
            .notFound(path: marker), .unsupportedMediaType(message: marker), .missingScope(marker),
            .modelNotAllowed(model: marker),
            .modelNotFound(model: marker), .noReplica(model: marker), .methodNotAllowed(allowed: marker),
        ]
        for error in errors { #expect(!error.label.contains(marker)) }
    }

    @Test func `every reason to refuse a credential has the same answer`() {
        let answers = TokenProblem.allCases.map { GatewayError.invalidAPIKey($0).answer }
        #expect(answers.allSatisfy { $0 == answers[0] && $0.status == 401 })
    }

    @Test func `an invalid request and an unknown model name what is to blame`() {
        #expect(GatewayError.invalidRequest(message: "Wrong.", param: "stop").answer.param == "stop")
        #expect(GatewayError.invalidRequest(message: "Wrong.", param: nil).answer.param == nil)
        #expect(GatewayError.modelNotFound(model: "m").answer.param == "model")
        #expect(GatewayError.modelNotFound(model: "m").answer.message.contains("`m`"))
    }

    @Test func `limits say when to come back`() {
        for kind in RateLimitKind.allCases {
            let answer = GatewayError.rateLimited(kind, retryAfter: .milliseconds(1500)).answer
            #expect(answer.status == 429 && answer.retryAfter == .milliseconds(1500))
        }
        #expect(GatewayError.queueFull(retryAfter: .seconds(3)).answer.retryAfter == .seconds(3))
    }
}
