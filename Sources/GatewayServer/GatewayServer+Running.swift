import Balancing
import GatewayConfig
import GatewayCore
import Glibc
import Identity
import Pipeline
import Reactor
import Synchronization
import Telemetry

/// From the first accepted connection to the end of the process.
extension GatewayServer {
    // MARK: Beginning

    /// Starts the loops and accepts; from another process' hands, once everything is ready.
    ///
    /// - Returns: the place where the next process may ask; nil where there can be none.
    func begin(_ descriptors: [Int32], _ lock: ListenLock, _ inheritance: Inheritance?) throws -> HandOver? {
        log.start()
        try startLoops(inheritance?.intents ?? [:])
        let admin = settings.withLock { $0.admin }
        let adminAddress = try inheritance?.adminAddress ?? ControlPlane.openAddress(admin)
        if let inheritance {
            try waitUntilReady(inheritance)
            try inheritance.announceReady()
            if let limits = inheritance.limits {
                shared.limiter.inherit(SpentLimits.read(limits))
                close(limits)
            }
        }
        // All loops stand before the first connection may come.
        for (index, descriptor) in descriptors.enumerated() {
            try workers[index % workers.count].call { loop in try LoopServer.on(loop)?.listen(descriptor) }
        }
        inheritance?.announceAccepting()
        // Only now, so that operators hear one of the two and not the other again afterwards.
        let adminSocket = try workers[0].call { loop in
            try ControlPlane.on(loop)?.listen(admin, inherited: inheritance?.adminSocket, address: adminAddress)
        }
        log.events.log(
            .info, "started", "weir \(Self.version) listens on \(listenAddress)",
            ["address": listenAddress, "loops": String(workers.count)])
        if let inheritance {
            log.events.log(.info, "took_over", "Took over from process \(inheritance.pid).")
        }
        ServiceNotice.send("READY=1\nMAINPID=\(getpid())")
        let estate = HandOver.Estate(
            address: listenAddress, publicListeners: descriptors,
            adminSocket: (path: admin.socket, descriptor: adminSocket ?? -1),
            adminAddress: adminAddress.flatMap { descriptor in
                admin.address.map { (text: "\($0.host):\($0.port)", descriptor: descriptor) }
            }, lock: lock.shared)
        do throws(SocketError) {
            return try HandOver(self, estate, inherited: inheritance?.upgradeSocket)
        } catch {
            log.events.log(.warning, "no_upgrades", "Nobody will be able to take over: \(error).")
            return nil
        }
    }

    /// A new process that can't serve must not take the place of one that does.
    private func waitUntilReady(_ inheritance: Inheritance) throws {
        let deadline = EventLoop.monotonic() + Inheritance.readyWithin
        func isReadyEnough() -> Bool {
            (isReady || !inheritance.wasReady) && shared.authenticator.keys.state == .loaded
        }
        while !isReadyEnough(), EventLoop.monotonic() < deadline { usleep(5_000) }
        // Without its keys it can serve those of the file; so can the one before, if Redis is away.
        guard isReady || !inheritance.wasReady else {
            let limit = Inheritance.readyWithin.secondsRoundedUp
            throw StartProblem("no replica answered the new gateway within \(limit) s")
        }
    }

    // MARK: Running

    func runUntilAsked(_ handOver: HandOver?) throws -> Int32 {
        while true {
            switch Signals.wait() {
            case SIGTERM:
                handOver?.end()
                return shutDown(grace: settings.withLock { $0.timeouts.shutdownGrace })
            case SIGINT:
                handOver?.end()
                return shutDown(grace: .zero)
            case SIGHUP:
                log.reopen()
                if let problem = reload() { log.events.log(.error, "reload_refused", problem) }
            case SIGUSR1: log.reopen()
            case SIGUSR2:
                // Our own, when another process accepts in our place; an operator's otherwise.
                if case .done = upgrade.phase { return leave() }
                if let problem = upgradeRefusal ?? upgrade.start(self) {
                    log.events.log(.error, "upgrade_refused", problem)
                }
            default: break
            }
        }
    }

    /// Why there can be no upgrade now; nil when there can.
    var upgradeRefusal: String? {
        if shared.isDraining.load(ordering: .relaxed) { return "the gateway is ending" }
        if settings.withLock({ $0.hooks.restart?.supervisor }) != nil {
            return "this gateway runs under `weir up`, which would not know the new process"
        }
        return nil
    }

    /// Stops accepting after `grace`, lets running requests finish, and ends. A second signal ends at once.
    private func shutDown(grace: Interval) -> Int32 {
        shared.isDraining.store(true, ordering: .relaxed)
        ServiceNotice.send("STOPPING=1")
        log.events.log(.info, "draining", "Asked to end: running requests finish.")
        return drain(isForced: Signals.wait(atMost: grace))
    }

    private func drain(isForced: Bool) -> Int32 {
        for worker in workers { worker.post { loop in LoopServer.on(loop)?.drain() } }
        let deadline = EventLoop.monotonic() + settings.withLock { $0.timeouts.drain }
        var isHurried = isForced
        while !isHurried, connectionCount > 0, EventLoop.monotonic() < deadline {
            isHurried = Signals.wait(atMost: .milliseconds(10))
        }
        return end()
    }

    /// Another process accepts. Running requests finish, however long they may take; connections that stay unused as
    /// long as a drain may take are closed. A signal to end makes it an ordinary drain.
    private func leave() -> Int32 {
        let timeouts = settings.withLock { $0.timeouts }
        let begin = EventLoop.monotonic()
        var isDraining = false
        while connectionCount > 0, EventLoop.monotonic() < begin + timeouts.drain + timeouts.total {
            switch Signals.next(within: .milliseconds(20)) {
            case SIGTERM, SIGINT: return drain(isForced: false)
            case SIGUSR1, SIGHUP: log.reopen()
            default: break
            }
            if !isDraining, EventLoop.monotonic() >= begin + timeouts.drain {
                isDraining = true
                for worker in workers { worker.post { loop in LoopServer.on(loop)?.drain() } }
            }
        }
        return end()
    }

    private func end() -> Int32 {
        let left = connectionCount
        for worker in workers { worker.post { loop in LoopServer.on(loop)?.closeAll() } }
        _ = try? workers[0].call { loop in ControlPlane.on(loop)?.stop() }
        log.events.log(left == 0 ? .info : .warning, "stopped", "Ended with \(left) connections open.")
        log.stop(within: .seconds(2))
        return left == 0 ? 0 : 1
    }
}
