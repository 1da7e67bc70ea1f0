package import GatewayCore

/// What each way of failing means. Attempts, health and the breaker decide by these and by nothing else.
extension UpstreamFailure {
    /// What a reply's status says of its replica, unless it is a success; `nil` for what is the client's own doing.
    package init?(status: Int) {
        switch status {
        case 429, 503: self = .busy
        case 401, 403, 404: self = .refusedUs
        case 400..<500: return nil
        case 500..<600: self = .serverError
        default: self = .malformedReply
        }
    }

    /// The replica was just found dead: moving off it is free, and traffic tells its ``HealthMachine``.
    package var declaresDead: Bool {
        switch self {
        case .connectFailed, .connectTimeout, .reset, .cut, .declaredDead: true
        default: false
        }
    }

    /// The replica kept us waiting: this request never goes there again.
    package var isTimeout: Bool {
        switch self {
        case .connectTimeout, .firstByteTimeout, .firstContentTimeout, .stalled, .totalTimeout: true
        default: false
        }
    }

    /// What traffic reports to the ``HealthMachine``; `nil` if it is none of its business.
    package var healthReason: HealthMachine.Reason? {
        switch self {
        case .connectFailed, .reset, .cut: .refused
        case .connectTimeout: .timedOut
        default: nil
        }
    }

    /// Whether the ``Breaker`` counts it. Being busy never does; nor does what health has seen already.
    package var countsForBreaker: Bool {
        switch self {
        case .connectFailed, .connectTimeout, .declaredDead, .busy, .totalTimeout: false
        case .reset, .cut, .firstByteTimeout, .firstContentTimeout, .stalled, .malformedReply, .wrongContentType,
            .encodedReply, .emptyAnswer, .malformedEvent, .oversizedEvent, .missingEnd, .aborted, .inBandError,
            .refusedUs, .serverError:
            true
        }
    }
}
