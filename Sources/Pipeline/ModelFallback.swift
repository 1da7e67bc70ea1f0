import GatewayCore
import Reactor
import Telemetry
import Upstreams
import Wire

/// Asks other models while the one that was asked for can't answer.
///
/// Three reasons: its pool is exhausted (no replica, all full or busy, every attempt failed before the first content),
/// the prompt is too long for it, or its stream broke and none of its replicas can go on with it: then the other model
/// goes on, in the first one's name, by prefill or by saying the same. Never a content filter: what one model refuses
/// to say, another must not say instead. A caller falls back only to models that its key may use. If nobody answers,
/// the client hears what became of the model that it asked for.
final class ModelFallback {
    private var waiting: [(pool: Pool, model: ServedModel)]
    private let first: (result: Result<ForwardResult, GatewayError>, pool: Pool, named: NamedModel)

    private init(
        waiting: [(pool: Pool, model: ServedModel)],
        first: (result: Result<ForwardResult, GatewayError>, pool: Pool, named: NamedModel)
    ) {
        self.waiting = waiting
        self.first = first
    }

    /// Turns the call to the next model, if `result` is a reason to.
    ///
    /// - Parameter fallback: nil until the first turn; what is left to try is kept in it.
    /// - Returns: false when `result` stands.
    @inline(never)
    static func turn(
        _ exchange: Exchange, after result: Result<ForwardResult, GatewayError>, _ fallback: inout ModelFallback?
    ) -> Bool {
        let call = exchange.call
        let broken = brokenStream(result)
        guard let reason = broken == nil ? reason(result) : .broken, call.relay.hasContent == (broken != nil),
            call.deadline > exchange.services.loop.now, let pool = call.pool, let named = exchange.named
        else { return false }
        if fallback == nil {
            let allowed = exchange.services.fleet.fallbacks(of: named.model).filter { next in
                exchange.principal?.mayUse(model: next.model.name) ?? true
            }
            fallback = ModelFallback(waiting: allowed.reversed(), first: (result, pool, named))
        }
        guard let next = fallback?.waiting.popLast() else { return false }
        exchange.services.metrics.fellBack(reason, pool: exchange.services.upstreams.place(of: pool))
        exchange.named = NamedModel(named.written, named.kind, next, exchange.services)
        exchange.loggedFallback = LogText(next.model.name)
        call.turn(to: next.pool, next.model, resuming: broken)
        return true
    }

    /// What the client hears in the end: an answer, or how the model failed that it asked for.
    func finalResult(
        _ exchange: Exchange, _ result: Result<ForwardResult, GatewayError>
    ) -> Result<ForwardResult, GatewayError> {
        guard Self.reason(result) != nil, !exchange.call.relay.hasContent else { return result }
        exchange.named = first.named
        exchange.loggedFallback = nil
        exchange.call.turn(to: first.pool, first.named.model)
        return first.result
    }

    /// Why the stream broke that can't go on with the model that began it.
    private static func brokenStream(_ result: Result<ForwardResult, GatewayError>) -> UpstreamFailure? {
        if case .failure(.upstreamBroke(let failure)) = result { failure } else { nil }
    }

    /// Why another model may be asked before the first content; nil if `result` stands.
    static func reason(_ result: Result<ForwardResult, GatewayError>) -> FallbackReason? {
        switch result {
        case .success(.whole), .success(.streamed): nil
        case .success(.refused(let status, let body, _)):
            switch status {
            case 429, 503: .exhausted
            case 400..<500:
                UpstreamError.normalise(status: status, body: body.span).code == "context_length_exceeded"
                    ? .contextLength : nil
            default: nil
            }
        case .failure(let error):
            switch error {
            case .noReplica, .queueFull, .queueTimeout, .connectTimeout, .firstByteTimeout, .firstContentTimeout,
                .upstreamFailed:
                .exhausted
            default: nil
            }
        }
    }
}
