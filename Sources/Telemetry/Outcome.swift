import GatewayCore

/// How a request ended, as a small dense number: what counters are indexed by and what the access log spells out.
///
/// One for success and one for every ``GatewayError/label`` that there can be; nothing that a client sent gets in.
package struct Outcome: Equatable, Sendable {
    let index: UInt8

    private init(index: Int) { self.index = UInt8(truncatingIfNeeded: index) }

    /// The client got the whole answer.
    package static var ok: Outcome { Outcome(index: 0) }

    /// The outcome of a request that failed with `error`.
    package init(_ error: GatewayError) {
        let index =
            switch error {
            case .malformedRequest: 1
            case .headTooLarge: 2
            case .targetTooLong: 3
            case .invalidRequest: 4
            case .bodyTooLarge: 5
            case .unsupportedMediaType: 6
            case .notFound: 7
            case .methodNotAllowed: 8
            case .headTimeout: 9
            case .bodyTimeout: 10
            case .invalidAPIKey: 11
            case .keysUnavailable: 12
            case .missingScope: 13
            case .modelNotAllowed: 14
            case .modelNotFound: 15
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
            case .shuttingDown: 27
            case .clientGone: 28
            case .clientStalled: 29
            case .internalError: 30
            case .unsupportedHTTP(let feature, _): 31 + feature.index
            case .rateLimited(let kind, _): Self.rateLimited + kind.index
            case .upstreamFailed(let failure), .upstreamBroke(let failure): Self.upstream + failure.index
            }
        self.init(index: index)
    }

    /// The value of the label `outcome` and of the log's member of that name.
    package var label: String { Self.labels[Int(index)] }

    private static let rateLimited = 31 + HTTPFeature.allCases.count
    private static let upstream = rateLimited + RateLimitKind.allCases.count

    /// One error for every index but the first, in order.
    static let exemplars: [GatewayError] =
        [
            .malformedRequest(reason: ""), .headTooLarge, .targetTooLong, .invalidRequest(message: "", param: nil),
            .bodyTooLarge(limitBytes: 0), .unsupportedMediaType(message: ""), .notFound(path: ""),
            .methodNotAllowed(allowed: ""), .headTimeout, .bodyTimeout, .invalidAPIKey(.missing), .keysUnavailable,
            .missingScope(""), .modelNotAllowed(model: ""), .modelNotFound(model: ""), .sessionNotFound, .sessionBusy,
            .sessionsUnavailable, .bodyMemoryExhausted, .noReplica(model: ""), .queueFull(retryAfter: .zero),
            .queueTimeout(retryAfter: .zero), .connectTimeout, .firstByteTimeout, .firstContentTimeout, .totalTimeout,
            .shuttingDown, .clientGone, .clientStalled, .internalError,
        ] + HTTPFeature.allCases.map { .unsupportedHTTP($0, reason: "") }
        + RateLimitKind.allCases.map { .rateLimited($0, retryAfter: .zero) }
        + UpstreamFailure.allCases.map { .upstreamFailed($0) }

    static let labels: [String] = ["ok"] + exemplars.map(\.label)
    /// Room for every outcome; a test holds it above ``labels``' count.
    static let capacity = 64
}

/// How one attempt at a replica ended: ok, passed on, given up by us, or one of the ``UpstreamFailure``s.
package struct AttemptResult: Equatable, Sendable {
    let index: UInt8

    /// The whole answer came.
    package static var ok: AttemptResult { AttemptResult(index: 0) }
    /// The replica refused the request itself (4xx), and its answer was passed on.
    package static var rejected: AttemptResult { AttemptResult(index: 1) }
    /// The client left while the replica was at work.
    package static var clientGone: AttemptResult { AttemptResult(index: 2) }
    package static func failed(_ failure: UpstreamFailure) -> AttemptResult {
        AttemptResult(index: UInt8(truncatingIfNeeded: 3 + failure.index))
    }

    package var label: String { Self.labels[Int(index)] }

    static let labels: [String] = ["ok", "rejected", "client_gone"] + UpstreamFailure.allCases.map(\.label)
    /// Room for every result; a test holds it above ``labels``' count.
    static let capacity = 32
}
