import GatewayCore
import HTTPConnections
import Reactor
import Telemetry
import Upstreams
import Wire

/// The path of every request, in order. docs/request-path.md tells the same story with its failures.
///
/// Whatever a step finds lies in the exchange, an outcome too: a step that returns nothing has left one there. So the
/// task of an open stream holds next to nothing (docs/performance.md).
///
/// - Isolation: its loop. One long-lived task for each client connection runs ``serve(_:)``.
package final class RequestPath {
    let services: LoopServices

    private let receive: ReceiveStage
    private let authenticate: AuthenticateStage
    private let readBody: ReadBodyStage
    private let authorize: AuthorizeStage
    private let admit: AdmitStage
    private let recall: RecallStage
    private let forward: ForwardStage
    private let settle: SettleStage

    package init(_ services: LoopServices) {
        self.services = services
        receive = ReceiveStage()
        authenticate = AuthenticateStage(services: services)
        readBody = ReadBodyStage()
        authorize = AuthorizeStage(services: services)
        admit = AdmitStage(services: services)
        recall = RecallStage(services: services)
        forward = ForwardStage(services: services)
        settle = SettleStage(services: services)
    }

    /// Serves a client connection until it ends.
    package func serve(_ connection: ServerConnection) async {
        let exchange = Exchange(connection, services: services)
        services.metrics.connectionAccepted()
        while await wait(exchange) {
            await serve(exchange)
            guard connection.canContinue else { break }
        }
        services.metrics.connectionClosed()
        await connection.close(reset: exchange.mustReset)
    }

    /// Waits for the next request. Bytes that never became one are a failed one.
    ///
    /// - Returns: false when the connection is over.
    @inline(never)
    private func wait(_ exchange: Exchange) async -> Bool {
        do throws(GatewayError) {
            guard try await exchange.connection.receiveHead() else { return false }
            exchange.begin()
        } catch {
            exchange.beginMalformed()
            exchange.failure = error
        }
        return true
    }

    /// Serves one request. Every request, however it ends, passes through `settle` exactly once.
    @inline(__always)  // One frame less for each open stream.
    private func serve(_ exchange: Exchange) async {
        if let inference = accept(exchange),
            let read = await readBody.run(inference),  // what, within limits
            let admitted = admit(read),
            let recalled = await recall.run(admitted)  // what was said before
        {
            await forward.run(recalled)  // a replica, with failover
        }
        await settle.run(exchange)  // remember, answer, charge, count, log
    }

    @inline(never)
    private func accept(_ exchange: Exchange) -> AuthenticatedInference? {
        guard !exchange.isDecided else { return nil }
        return exchange.attempt { () throws(GatewayError) in
            switch try receive.run(exchange) {  // what is asked for
            case .local(let answer): exchange.served = .local(answer)
            case .request(let incoming):
                let authenticated = try authenticate.run(incoming)  // who is asking
                if let inference = authenticated.inference { return inference }
                exchange.served = .local(try authorize.models(authenticated))
            }
            return nil
        }
    }

    @inline(never)
    private func admit(_ read: ReadRequest) -> AdmittedRequest? {
        read.exchange.attempt { () throws(GatewayError) in
            let authorized = try authorize.run(read)  // may they, at all
            return try admit.run(authorized)  // may they, now
        }
    }
}

/// What a request that did not fail came to, before its reply or its stream's end is sent.
package enum Served {
    case local(LocalAnswer)
    /// A replica's whole reply, not sent yet.
    case whole(WholeReply)
    /// A stream that the client has, but for its end.
    case streamed
    /// A finished turn of a session, answered from the store.
    case replayed([UInt8])
    /// A replica's refusal, to be passed on in OpenAI's form.
    case refused(status: Int, body: [UInt8], retryAfter: Interval?)
}

/// What the gateway answers itself.
package enum LocalAnswer {
    case alive
    case ready(Bool)
    case preflight
    indirect case models([ListedModel])
    indirect case model(ListedModel)
}
