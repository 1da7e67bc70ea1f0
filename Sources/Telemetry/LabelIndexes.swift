import GatewayCore

// Positions in `allCases`, by `switch`: a new case does not compile until it has a number, and a look-up costs nothing.

extension RateLimitKind {
    var index: Int {
        switch self {
        case .requests: 0
        case .tokens: 1
        case .concurrency: 2
        case .quota: 3
        }
    }
}

extension HTTPFeature {
    var index: Int {
        switch self {
        case .expectation: 0
        case .codingOrMethod: 1
        case .version: 2
        }
    }
}

extension TokenProblem {
    var index: Int {
        switch self {
        case .missing: 0
        case .malformed: 1
        case .unknownKey: 2
        case .revoked: 3
        case .badSignature: 4
        case .expired: 5
        case .notYetValid: 6
        case .wrongIssuer: 7
        case .wrongAudience: 8
        case .unsupportedAlgorithm: 9
        case .missingClaim: 10
        case .criticalHeader: 11
        }
    }

    /// `rawValue` in snake case: the value of the label `reason`.
    package var label: String { Self.labels[index] }

    static let labels: [String] = allCases.map { problem in
        var label = ""
        for character in problem.rawValue {
            if character.isUppercase { label += "_" }
            label += character.lowercased()
        }
        return label
    }
}

extension UpstreamFailure {
    var index: Int {
        switch self {
        case .connectFailed: 0
        case .connectTimeout: 1
        case .reset: 2
        case .cut: 3
        case .firstByteTimeout: 4
        case .firstContentTimeout: 5
        case .stalled: 6
        case .totalTimeout: 7
        case .malformedReply: 8
        case .wrongContentType: 9
        case .encodedReply: 10
        case .emptyAnswer: 11
        case .malformedEvent: 12
        case .oversizedEvent: 13
        case .missingEnd: 14
        case .aborted: 15
        case .inBandError: 16
        case .busy: 17
        case .refusedUs: 18
        case .serverError: 19
        case .declaredDead: 20
        }
    }
}
