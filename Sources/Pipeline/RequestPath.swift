import GatewayCore
import HTTPConnections
import Reactor
import Telemetry
import Upstreams
import Wire

/// The path of every request, in order. docs/request-path.md tells the same story with its failures.
///
/// Whatever a step finds lies in the exchange, an outcome too: a step that returns nothing has left one there. So the
/// task of an open stream holds next to nothing (docs/performance.md), and the loop can take the steps while the task
/// sleeps: the task is there for what can't be a step, an `await` (docs/decisions/005-the-loop-takes-the-steps.md).
///
/// - Isolation: its loop. One long-lived task for each client connection runs ``serve(_:)``.
package final class RequestPath {
    let services: LoopServices
    /// Requests that came at once on one connection are answered in one go up to here; then others have their turn.
    private static let requestsPerTurn = 16

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

    /// Serves the client connection of `exchange` until it ends. It may be another client's afterwards, and be served
    /// again.
    package func serve(_ exchange: Exchange) async {
        let connection = exchange.connection
        exchange.clientCame()
        services.metrics.connectionAccepted()
        connection.expectRequest()
        exchange.wait = goOn(exchange, .ready)
        serving: while true {
            switch exchange.wait {
            case .change(let until):
                // Till something else is to be awaited the exchange goes on by itself, while this task sleeps.
                await connection.parking.park(until: until, deputy: exchange)
                continue
            case .body: await readBody.receiveBody(exchange)
            case .session: await recall.open(exchange)
            case .place: await services.upstreams.waitForPlace(exchange.call)
            case .turnEnd: await settle.endTurn(exchange)
            case .sending: await settle.flush(exchange)
            case .end: break serving
            }
            exchange.wait = goOn(exchange, .ready)
        }
        services.metrics.connectionClosed()
        await connection.close(reset: exchange.mustReset)
        exchange.clientLeft()
    }

    /// Takes the connection's requests through the stages, from where the last call stopped to where something has to
    /// be waited for. Every request, however it ends, passes through `settle` exactly once.
    ///
    /// - Returns: what to wait for before it is called again.
    func goOn(_ exchange: Exchange, _ wake: Parking.Wake) -> Exchange.Wait {
        var left = Self.requestsPerTurn
        var step = exchange.step
        defer { exchange.step = step }
        while true {
            switch step {
            case .receive:
                switch look(for: exchange) {
                case .incomplete(let until): return .change(until: until)
                case .over: return .end
                case .complete: step = accept(exchange).map { .body($0) } ?? .remember  // who is asking
                }
            case .body(let inference):
                step = .read(inference)
                if readBody.mustWait(exchange, inference) { return .body }
            case .read(let inference):  // what, within limits
                step = admit(exchange, inference).map { .recall($0) } ?? .remember
            case .recall(let admitted):
                step = .prepare(admitted)
                if recall.mustWait(exchange, admitted) { return .session }  // what was said before
            case .prepare(let admitted):
                step = prepare(exchange, admitted) ? .forward : .remember
            case .forward:
                var isLate = false
                if case .deadline = wake { isLate = true }
                switch forward.goOn(exchange, isLate: isLate) {  // a replica, with failover
                case .until(let moment): return .change(until: moment)
                case .queue: return .place
                case nil: step = .remember
                }
            case .remember:
                step = .answer
                if exchange.session != nil { return .turnEnd }
            case .answer:
                settle.answer(exchange)
                step = .close
                if exchange.connection.needsFlush { return .sending }
            case .close:
                settle.close(exchange)  // charge, count, log
                guard exchange.connection.canContinue else { return .end }
                step = .receive
                exchange.connection.expectRequest()
                left -= 1
                if left == 0 { return .change(until: services.loop.now) }
            }
        }
    }

    /// Looks for the next request. Bytes that never became one are a failed one.
    @inline(never)
    private func look(for exchange: Exchange) -> ServerConnection.HeadLook {
        do throws(GatewayError) {
            let look = try exchange.connection.lookForHead()
            if case .complete = look { exchange.begin() }
            return look
        } catch {
            exchange.beginMalformed()
            exchange.failure = error
            return .complete
        }
    }

    @inline(never)
    private func accept(_ exchange: Exchange) -> AuthenticatedInference? {
        guard !exchange.isDecided else { return nil }
        return exchange.attempt { () throws(GatewayError) in
            switch try receive.run(exchange) {  // what is asked for
            case .local(let answer): exchange.served = .local(answer)
            case .request(let incoming):
                let authenticated = try authenticate.run(exchange, incoming)
                if let inference = authenticated.inference(exchange) { return inference }
                exchange.served = .local(try authorize.models(exchange, authenticated))
            }
            return nil
        }
    }

    @inline(never)
    private func admit(_ exchange: Exchange, _ inference: AuthenticatedInference) -> AdmittedRequest? {
        guard let read = readBody.run(exchange, inference) else { return nil }
        return exchange.attempt { () throws(GatewayError) in
            let authorized = try authorize.run(exchange, read)  // may they, at all
            return try admit.run(exchange, authorized)  // may they, now
        }
    }

    @inline(never)
    private func prepare(_ exchange: Exchange, _ admitted: AdmittedRequest) -> Bool {
        guard let recalled = recall.run(exchange, admitted) else { return false }
        return forward.prepare(exchange, recalled)
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
