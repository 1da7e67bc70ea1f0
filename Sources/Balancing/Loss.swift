package import GatewayCore

/// Why a request is given up: those of the ``GatewayError``s that an ``Attempt`` can end with.
///
/// Plain words, so that the machine's actions are copied without counting references; the model's name, which one of
/// the errors has, is added by ``error(model:)``.
package enum Loss: Equatable, Sendable {
    case noReplica
    case queueFull(retryAfter: Interval)
    case connectTimeout, firstByteTimeout, firstContentTimeout, totalTimeout
    case upstreamFailed(UpstreamFailure)
    case upstreamBroke(UpstreamFailure)

    /// - Parameter model: the public name of the model that was asked for.
    package func error(model: String) -> GatewayError {
        switch self {
        case .noReplica: .noReplica(model: model)
        case .queueFull(let retryAfter): .queueFull(retryAfter: retryAfter)
        case .connectTimeout: .connectTimeout
        case .firstByteTimeout: .firstByteTimeout
        case .firstContentTimeout: .firstContentTimeout
        case .totalTimeout: .totalTimeout
        case .upstreamFailed(let failure): .upstreamFailed(failure)
        case .upstreamBroke(let failure): .upstreamBroke(failure)
        }
    }
}
