import GatewayCore
import HTTPConnections
import Upstreams
import Wire

/// A request whose body was read and checked.
package struct ReadRequest {
    let exchange: Exchange

    fileprivate init(exchange: Exchange) { self.exchange = exchange }
}

/// Reads the body, whole, and what the gateway needs of it in one pass.
///
/// - In: ``AuthenticatedInference``. Out: ``ReadRequest``; the facts are in the call.
/// - Throws: `.unsupportedMediaType` (415), `.bodyTooLarge` (413), `.bodyMemoryExhausted` (503), `.bodyTimeout` (408),
///   `.invalidRequest` (400), `.malformedRequest` (400).
struct ReadBodyStage {
    @inline(__always)
    func run(_ request: AuthenticatedInference) async throws(GatewayError) -> ReadRequest {
        let exchange = request.exchange
        try checkType(exchange.connection)
        if try !exchange.connection.takeBody() {
            let deadline = exchange.arrivedAt + exchange.services.settings.totalTimeout
            try await exchange.connection.receiveBody(until: deadline)
        }
        try read(exchange)
        return ReadRequest(exchange: exchange)
    }

    @inline(never)
    private func read(_ exchange: Exchange) throws(GatewayError) {
        guard case .inference(let kind) = exchange.endpoint else { throw .internalError }
        let connection = exchange.connection
        let range = connection.bodyRange
        exchange.call.request = try connection.withRequest { bytes throws(GatewayError) in
            do throws(BodyProblem) {
                return try ChatRequest.read(bytes.extracting(range), kind: kind)
            } catch {
                throw error.error
            }
        }
    }

    private func checkType(_ connection: ServerConnection) throws(GatewayError) {
        if let encoding = connection.first(.contentEncoding),
            !connection.withRequest({ $0.extracting(encoding).equalsIgnoringCase("identity") })
        {
            throw .unsupportedMediaType(message: "A request body must not have a Content-Encoding.")
        }
        if case .none = connection.framing {
            throw .invalidRequest(message: "The request has no body; a JSON object is expected.", param: nil)
        }
        guard let type = connection.first(.contentType) else { return }
        let isJSON = connection.withRequest { MediaType($0.extracting(type)) == .json }
        if !isJSON { throw .unsupportedMediaType(message: "The Content-Type must be application/json.") }
    }
}
