#if Engine
import Engine
import GatewayCore
import Glibc
import Reactor

extension ReplicaProcess {
    /// Serves until a signal ends it.
    static func run(_ settings: ReplicaSettings) -> Never {
        // Every thread inherits the mask, so that the signals wait for `sigwait` below.
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGTERM)
        sigaddset(&signals, SIGINT)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        signal(SIGPIPE, SIG_IGN)

        let address = resolve(settings)
        let worker = Worker()
        worker.start(name: "http")
        let shutdown = Shutdown(worker)
        Task.detached {
            do {
                try await serve(settings, at: address, on: worker, until: shutdown)
            } catch {
                fail("\(error)")
            }
            // Skips the destructors of libraries, which nothing depends on.
            _exit(0)
        }

        var received: Int32 = 0
        sigwait(&signals, &received)
        shutdown.request()
        sigwait(&signals, &received)
        complain("ended at once by a second signal")
        _exit(1)
    }

    private static func resolve(_ settings: ReplicaSettings) -> SocketAddress {
        do throws(SocketError) {
            let found = try SocketAddress.resolve(host: settings.host, port: settings.port)
            if let first = found.first { return first }
        } catch {
            fail("\(error)")
        }
        fail("\(settings.host) has no address")
    }

    private static func serve(
        _ settings: ReplicaSettings, at address: SocketAddress, on worker: Worker, until shutdown: Shutdown
    ) async throws {
        let descriptor = try Listener.open(address, sharesPort: false)
        announce("listening on http://\(bracketed(settings.host)):\(Listener.port(of: descriptor))")
        let engine = LlamaEngine(settings.engine) { report($0) }
        try await worker.run { loop in
            let server = ReplicaServer(loop, worker, engine, alias: settings.alias)
            try server.listen(on: descriptor)
            await shutdown.wait(on: loop)
            await server.drain(deadline: loop.now + .seconds(settings.drainSeconds))
        }
        // Loading can't be interrupted, and nothing depends on it.
        if engine.state == .loading { _exit(0) }
        engine.stop()
    }

    private static func report(_ state: EngineState) {
        switch state {
        case .ready(let model):
            complain("serving \(model.name): \(model.bytes / 1024) KiB, \(model.contextTokens) tokens of context")
        case .failed(let reason): fail(reason)
        case .loading, .stopped: break
        }
    }

    private static func bracketed(_ host: String) -> String { host.contains(":") ? "[\(host)]" : host }

    /// Ends without the destructors of libraries that other threads still use.
    private static func fail(_ reason: String) -> Never {
        complain(reason)
        _exit(1)
    }
}
#endif
