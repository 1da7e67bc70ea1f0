import GatewayCore
import HTTPConnections
import Upstreams
import Wire

/// A request that a path and a method were found for.
///
/// As the types of the other stages, it proves that its stage was passed, and holds nothing: what the stages find lies
/// in the exchange, which they are given with it.
package struct IncomingRequest {
    fileprivate init() {}
}

/// Decides what is asked for. Health and preflights are answered here, without a credential.
///
/// - Throws: `.notFound` (404), `.methodNotAllowed` (405).
struct ReceiveStage {
    enum Received {
        case local(LocalAnswer)
        case request(IncomingRequest)
    }

    @inline(__always)
    func run(_ exchange: Exchange) throws(GatewayError) -> Received {
        let connection = exchange.connection
        if connection.method.isOptions { return .local(.preflight) }
        switch exchange.endpoint {
        case .unknown:
            throw .notFound(path: connection.withRequest { $0.extracting(connection.path).text })
        case let endpoint where !endpoint.allows(connection.method):
            throw .methodNotAllowed(allowed: endpoint.allowedMethods)
        case .alive: return .local(.alive)
        case .ready:
            let services = exchange.services
            return .local(.ready(!services.isDraining && services.fleet.isAnyServing))
        case .inference, .models, .model:
            return .request(IncomingRequest())
        }
    }
}
