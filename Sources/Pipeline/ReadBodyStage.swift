import GatewayCore
import HTTPConnections
import Upstreams
import Wire

/// A request whose body was read and checked.
package struct ReadRequest {
    fileprivate init() {}
}

/// Reads the body, whole, and what the gateway needs of it in one pass.
///
/// - In: ``AuthenticatedInference``. Out: ``ReadRequest``; the facts are in the call. Nothing when it failed.
/// - Fails with: `.unsupportedMediaType` (415), `.bodyTooLarge` (413), `.bodyMemoryExhausted` (503),
///   `.bodyTimeout` (408), `.invalidRequest` (400), `.malformedRequest` (400).
struct ReadBodyStage {
    /// Checks what the head says of the body.
    ///
    /// - Returns: whether ``receiveBody(_:)`` is to come first; not if all of it came with the head, or if it failed.
    @inline(never)
    func mustWait(_ exchange: Exchange, _ request: AuthenticatedInference) -> Bool {
        let isWhole = exchange.attempt { () throws(GatewayError) in
            try checkType(exchange.connection)
            return try exchange.connection.takeBody()
        }
        return isWhole == false
    }

    @inline(__always)
    func run(_ exchange: Exchange, _ request: AuthenticatedInference) -> ReadRequest? {
        read(exchange) ? ReadRequest() : nil
    }

    func receiveBody(_ exchange: Exchange) async {
        do throws(GatewayError) {
            let deadline = exchange.arrivedAt + exchange.services.settings.totalTimeout
            try await exchange.connection.receiveBody(until: deadline)
        } catch {
            exchange.failure = error
        }
    }

    @inline(never)
    private func read(_ exchange: Exchange) -> Bool {
        guard !exchange.isDecided else { return false }
        return exchange.attempt { () throws(GatewayError) in try readFacts(exchange) } != nil
    }

    private func readFacts(_ exchange: Exchange) throws(GatewayError) {
        guard case .inference(let kind) = exchange.endpoint else { throw .internalError }
        let connection = exchange.connection
        let range = connection.bodyRange
        try connection.withRequest { bytes throws(GatewayError) in
            do throws(BodyProblem) {
                try exchange.call.read(bytes.extracting(range), kind: kind)
            } catch {
                throw error.error
            }
        }
        exchange.estimate = range.count / 4 + (exchange.call.maxTokens ?? 0)
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
