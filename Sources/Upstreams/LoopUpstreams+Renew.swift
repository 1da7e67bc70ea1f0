import Balancing
import GatewayCore
import Wire

/// Requests that span a reload.
///
/// One that is at a replica stays there, and its old pool's settings hold for it. When it needs a replica again (a
/// retry, a resume, its turn in the queue) it goes on in the configuration in force: with its weights, its limits, its
/// new replicas, and none that it removed.
extension LoopUpstreams {
    /// The route in force for the call's model, which is the call's pool from now on.
    ///
    /// A stream with content stays in the pool of its name: another one may run another model.
    ///
    /// - Returns: nil if nobody serves the model any more.
    func presentRoute(for call: UpstreamCall) -> Route? {
        guard let pool = call.pool else { return nil }
        if let route = route(of: pool) { return route }
        guard let found = fleet.find(model: call.modelName), let route = route(of: found.pool),
            found.pool.name == pool.name || !call.relay.hasContent
        else { return nil }
        call.pool = found.pool
        let name = found.model.upstreamName
        if name != nil || call.renamesModel {
            call.edits.model = BodyEdits.quoted(name ?? found.model.name)
        }
        return route
    }

    /// The route that the request before took, if this one can take it as well: nearly always.
    @inline(__always)
    func usualRoute(for call: UpstreamCall) -> Route? {
        guard let route = call.journey.route, route.isInForce, route.pool === call.pool else { return nil }
        return route
    }

    /// Whether the route was replaced by another one that the call can go on in.
    func isReplaced(_ route: Route, for call: UpstreamCall) -> Bool {
        !route.isInForce && presentRoute(for: call) != nil
    }

    /// Takes the request on into the configuration in force. Where its model is gone, it stays with what there was.
    func renew(_ call: UpstreamCall) {
        guard call.journey.route?.isInForce == false, let route = presentRoute(for: call) else { return }
        call.journey.turn(to: route)
    }
}
