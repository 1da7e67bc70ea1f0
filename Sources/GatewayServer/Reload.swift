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
    /// Reads the configuration again and applies it whole, or not at all. Called by the process's first thread.
    ///
    /// - Returns: why nothing was changed; nil when it was.
    func reload() -> String? {
        do {
            return try workers[0].call { [self] loop in
                guard let control = ControlPlane.on(loop) else { return "not started" }
                return reloadOnLoop(control)
            }
        } catch {
            return "\(error)"
        }
    }

    /// The same, on the first loop.
    func reloadOnLoop(_ control: ControlPlane) -> String? {
        let new: GatewaySettings
        let plain: PlainSettings
        let fleet: Fleet
        let verifier: TokenVerifier
        let tls: TLSContext?
        do {
            new = try GatewaySettings.load(file: configFile, environment: Self.environment)
            let old = settings.withLock { $0 }
            let isFixed = new.listen.isSameListener(as: old.listen) && new.admin == old.admin
            if !isFixed || new.redis != old.redis || new.state != old.state {
                return "listen (but for listen.tls), admin, state and redis can't change while running: restart"
            }
            plain = PlainSettings(settings: new)
            fleet = try plain.fleet(before: self.fleet.withLock { $0 })
            verifier = try plain.verifier()
            tls = try plain.listenerTLS()
        } catch {
            return "\(error)"
        }
        let intents = control.intents
        settings.withLock { $0 = new }
        self.fleet.withLock { $0 = fleet }
        shared.authenticator.replaceVerifier(verifier)
        shared.authenticator.keys.replaceConfigured(plain.configuredKeys)
        shared.limiter.change(to: plain.limits)
        telemetry.reshape(to: plain.telemetryShape)
        log.events.setLevel(Self.level(new.log.level))
        let pipeline = plain.pipeline
        let connections = plain.connections
        for (index, worker) in workers.enumerated() {
            worker.post { [self] loop in
                guard let server = LoopServer.on(loop) else { return }
                let services = server.services
                // Connections that stand keep the certificate they were made with.
                server.tls = tls
                services.metrics = telemetry.metrics(loop: index)
                services.upstreams.use(fleet, services.metrics)
                services.fleet = fleet
                services.settings = pipeline
                services.connectionSettings = connections
            }
        }
        control.use(fleet, intents: intents)
        log.events.log(.info, "reloaded", "The configuration was read again.")
        return nil
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
