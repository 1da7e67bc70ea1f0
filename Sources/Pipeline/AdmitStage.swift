import GatewayCore
import HTTPConnections
import Limiting
import Reactor
import Telemetry
import Upstreams
import Wire

/// A request that has paid for itself. Only ``AdmitStage`` can make one.
package struct AdmittedRequest {
    fileprivate init() {}
}

/// Spends from the caller's budget before any replica is touched.
///
/// - In: ``AuthorizedRequest``, because the estimate needs the body's size and `max_tokens`.
/// - Out: ``AdmittedRequest``; what was reserved is in the exchange, for `settle`.
/// - Throws: `.rateLimited` (429) when a window or the slots are spent; nothing was spent then.
/// - Isolation: the request's loop; the slot's lock is held for the arithmetic only.
struct AdmitStage {
    let services: LoopServices

    @inline(__always)
    func run(_ exchange: Exchange, _ authorized: AuthorizedRequest) throws(GatewayError) -> AdmittedRequest {
        try reserve(exchange)
        return AdmittedRequest()
    }

    @inline(never)
    private func reserve(_ exchange: Exchange) throws(GatewayError) {
        // Taken out and put back: to keep it while it is still there would be to count a reference.
        guard let caller = exchange.caller.take() else { throw .internalError }
        defer { exchange.caller = caller }
        while true {
            let decision = caller.withSlot { slot in
                slot.reserve(tokens: exchange.estimate, now: services.loop.now, standing: &exchange.standing)
            }
            switch decision {
            case .reserved(let reservation):
                exchange.reservation = reservation
                services.counters.admitted()
                return
            case .refused(let kind, let retryAfter):
                services.counters.rejected(kind)
                throw .rateLimited(kind, retryAfter: retryAfter)
            case nil:
                caller.replaceSlot(
                    by: services.shared.limiter.slot(for: caller.principal, now: services.loop.now))
            }
        }
    }
}
