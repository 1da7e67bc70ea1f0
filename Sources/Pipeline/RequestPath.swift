import GatewayCore
import HTTPConnections
import Reactor
import Telemetry
import Upstreams
import Wire

/// The path of every request, in order. docs/request-path.md tells the same story with its failures.
///
/// - Isolation: its loop. One long-lived task for each client connection runs ``serve(_:)``.
package struct RequestPath {
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
        while true {
            do throws(GatewayError) {
                guard try await connection.receiveHead() else { break }
                exchange.begin()
                await serve(exchange)
            } catch {
                await refuse(exchange, error)
            }
            guard connection.canContinue else { break }
        }
        services.metrics.connectionClosed()
        await connection.close(reset: exchange.mustReset)
    }

    /// Answers bytes that never became a request.
    private func refuse(_ exchange: Exchange, _ error: GatewayError) async {
        exchange.beginMalformed()
        exchange.failure = error
        await settle.run(exchange)
    }

    /// Serves one request. Every request, however it ends, passes through `settle` exactly once.
    @inline(__always)
    private func serve(_ exchange: Exchange) async {
        do throws(GatewayError) {
            switch try receive.run(exchange) {  // what is asked for
            case .local(let answer):
                exchange.served = .local(answer)
            case .request(let incoming):
                let authenticated = try authenticate.run(incoming)  // who is asking
                guard let inference = authenticated.inference else {
                    exchange.served = .local(try authorize.models(authenticated))
                    break
                }
                let read = try await readBody.run(inference)  // what, within limits
                let authorized = try authorize.run(read)  // may they, at all
                let admitted = try admit.run(authorized)  // may they, now
                switch try await recall.run(admitted) {  // what was said before
                case .replay(let reply): exchange.served = .replayed(reply)
                case .request(let recalled):
                    exchange.served = try await forward.run(recalled)  // a replica, with failover
                }
            }
        } catch {
            exchange.failure = error
        }
        await settle.run(exchange)  // remember, answer, charge, count, log
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
