import GatewayConfig
import GatewayCore
import Glibc
import Identity
import Pipeline
import Reactor
import Synchronization
import Telemetry
import Upstreams

/// Taking a new configuration on while requests run.
extension GatewayServer {
    /// A configuration that was read again, and everything made from it.
    private struct Prepared: Sendable {
        let settings: GatewaySettings
        let fleet: Fleet
        let verifier: TokenVerifier
        let tls: TLSContext?
    }

    /// Reads the configuration again and applies it whole, or not at all. Blocks while names are looked up: never on a
    /// loop.
    ///
    /// - Returns: why nothing was changed; nil when it was.
    func reload() -> String? {
        reloading.withLock { _ in
            do {
                let prepared = try prepareReload()
                return try workers[0].call { [self] loop in
                    guard let control = ControlPlane.on(loop) else { return "not started" }
                    apply(prepared, control)
                    return nil
                }
            } catch {
                return "\(error)"
            }
        }
    }

    private func prepareReload() throws -> Prepared {
        let new = try GatewaySettings.load(file: configFile, environment: Self.environment)
        let old = settings.withLock { $0 }
        let isFixed = new.listen.isSameListener(as: old.listen) && new.admin == old.admin
        if !isFixed || new.redis != old.redis || new.state != old.state {
            throw StartProblem(
                "listen (but for listen.tls), admin, state and redis can't change while running: restart")
        }
        let plain = PlainSettings(settings: new)
        return Prepared(
            settings: new, fleet: try plain.fleet(before: fleet.withLock { $0 }), verifier: try plain.verifier(),
            tls: try plain.listenerTLS())
    }

    /// On the first loop.
    private func apply(_ prepared: Prepared, _ control: ControlPlane) {
        let (new, fleet, tls) = (prepared.settings, prepared.fleet, prepared.tls)
        let plain = PlainSettings(settings: new)
        let intents = control.intents
        settings.withLock { $0 = new }
        self.fleet.withLock { $0 = fleet }
        shared.authenticator.replaceVerifier(prepared.verifier)
        shared.authenticator.keys.replaceConfigured(plain.configuredKeys)
        shared.limiter.change(to: plain.limits)
        telemetry.reshape(to: plain.telemetryShape)
        log.events.setLevel(Self.level(new.log.level))
        let pipeline = plain.pipeline
        let connections = plain.connections
        for (index, worker) in workers.enumerated() {
            worker.post { [self] loop in
                guard let server = LoopServer.on(loop) else { return }
                // Connections that stand keep the certificate they were made with.
                server.tls = tls
                server.services.use(
                    fleet, telemetry.metrics(loop: index), settings: pipeline, connectionSettings: connections)
                server.letVacantGo()
            }
        }
        control.use(fleet, intents: intents)
        log.events.log(.info, "reloaded", "The configuration was read again.")
    }

    /// The process's environment.
    static var environment: [String: String] {
        var variables: [String: String] = [:]
        var next = environ
        while let entry = next.pointee {
            let text = String(cString: entry)
            if let equals = text.firstIndex(of: "=") {
                variables[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            next += 1
        }
        return variables
    }
}

extension ListenSettings {
    /// Whether the open sockets serve these settings too: all but TLS, which each connection takes anew.
    fileprivate func isSameListener(as other: ListenSettings) -> Bool {
        var settings = self
        settings.tls = other.tls
        return settings == other
    }
}
