import Balancing
import GatewayCore
import Glibc

/// One run of a ``Supervisor``: the loop, on its thread.
struct SupervisorRun: ~Copyable {
    private struct Service {
        let settings: ServiceSettings
        let stage: Int
        var machine: ServiceMachine
        var child: ChildProcess?
        var startedAt = Moment.zero
        /// When readiness is asked for next.
        var checkAt = Moment.never
    }

    /// How often readiness is asked for.
    private static let checkInterval = Interval.milliseconds(50)

    private let supervisor: Supervisor
    private let guardian: OrphanGuard
    private var services: [Service]
    private var isStopping = false
    private var isForced = false
    private var end = Supervisor.End.stopped

    init(_ supervisor: Supervisor, guardian: OrphanGuard) {
        self.supervisor = supervisor
        self.guardian = guardian
        services = supervisor.stages.enumerated().flatMap { stage, settings in
            settings.map { settings in
                let machine = ServiceMachine(
                    startLimit: settings.startLimit, patience: settings.patience, restart: settings.restart)
                return Service(settings: settings, stage: stage, machine: machine)
            }
        }
    }

    /// Each turn takes requests, ends, deadlines and checks, in this order, then sleeps until the next of them.
    mutating func untilAllEnded() -> Supervisor.End {
        while true {
            supervisor.wake.clear()
            let now = supervisor.clock()
            takeRequests(now)
            takeEnds(now)
            if isStopping { stopLastStage(now) } else { startFirstStage(now) }
            for index in services.indices {
                if let action = services[index].machine.tick(now) { perform(action, index, now) }
                checkReadiness(index, now)
            }
            publish()
            if isStopping, services.allSatisfy({ $0.machine.state == .stopped }) { return end }
            sleep()
        }
    }

    private mutating func takeRequests(_ now: Moment) {
        let requests = supervisor.takeRequests()
        if requests.stop { isStopping = true }
        if requests.force, !isForced {
            isForced = true
            for index in services.indices {
                let action = services[index].machine.force()
                if let action { perform(action, index, now) } else { reportIfStopped(index, nil) }
            }
        }
        if isStopping { return }
        for name in requests.restarts {
            guard let index = services.firstIndex(where: { $0.settings.name == name }) else { continue }
            if let action = services[index].machine.requestRestart(now) { perform(action, index, now) }
        }
    }

    private mutating func takeEnds(_ now: Moment) {
        for index in services.indices {
            guard let exit = services[index].child?.exit else { continue }
            services[index].child = nil
            let action = services[index].machine.exited(now)
            if let action {
                perform(action, index, now)
            } else if services[index].machine.state == .stopped {
                reportIfStopped(index, exit)
            } else {
                reportEnd(index, exit, now)
            }
        }
    }

    private mutating func reportEnd(_ index: Int, _ exit: ChildExit, _ now: Moment) {
        switch services[index].machine.state {
        case .coolingDown(let until):
            report(index, .endedTooOften(exit, pause: until - now))
            failUnlessEverReady(index, "it \(exit)")
        case .resting(let until):
            report(index, .ended(exit, restartAfter: until - now))
        default:
            break
        }
    }

    private mutating func failUnlessEverReady(_ index: Int, _ reason: String) {
        guard !services[index].machine.hasBeenReady, !isStopping else { return }
        end = .failed(service: services[index].settings.name, reason: reason)
        isStopping = true
    }

    /// Starts what waits in the first stage that is not complete.
    private mutating func startFirstStage(_ now: Moment) {
        guard let stage = services.first(where: { !$0.machine.hasBeenReady })?.stage else { return }
        for index in services.indices where services[index].stage == stage {
            if let action = services[index].machine.start(now) { perform(action, index, now) }
        }
    }

    /// Ends what runs in the last stage that has not ended.
    private mutating func stopLastStage(_ now: Moment) {
        while let stage = services.last(where: { $0.machine.state != .stopped })?.stage {
            for index in services.indices where services[index].stage == stage {
                if services[index].machine.state == .stopped { continue }
                let action = services[index].machine.requestStop(now)
                if let action { perform(action, index, now) } else { reportIfStopped(index, nil) }
            }
            if services.contains(where: { $0.stage == stage && $0.machine.state != .stopped }) { return }
        }
    }

    private mutating func perform(_ action: ServiceMachine.Action, _ index: Int, _ now: Moment) {
        switch action {
        case .spawn:
            spawn(index, now)
        case .terminate:
            report(index, .stopping)
            services[index].child?.send(SIGTERM)
        case .kill:
            let isLate = services[index].machine.state == .starting
            report(index, isLate ? .startLimitOver : .killed)
            services[index].child?.send(SIGKILL, toGroup: true)
            if isLate { failUnlessEverReady(index, "it was not ready in time") }
        }
    }

    private mutating func spawn(_ index: Int, _ now: Moment) {
        do throws(SpawnError) {
            let child = try ChildProcess.start(services[index].settings.command, guardedBy: guardian)
            services[index].child = child
            services[index].startedAt = now
            services[index].checkAt = now
            report(index, .started(pid: child.pid))
        } catch {
            _ = services[index].machine.exited(now)
            switch services[index].machine.state {
            case .resting(let until), .coolingDown(let until):
                report(index, .notStarted(error, retryAfter: until - now))
            default:
                break
            }
            // A program that isn't there won't be there in a second.
            failUnlessEverReady(index, error.description)
        }
    }

    private mutating func checkReadiness(_ index: Int, _ now: Moment) {
        // One that has just ended must not be taken for ready because something else answers in its place.
        guard services[index].machine.state == .starting, let child = services[index].child, child.exit == nil,
            now >= services[index].checkAt
        else { return }
        switch services[index].settings.readiness {
        case .started: break
        case .check(let isReady):
            guard isReady() else {
                services[index].checkAt = supervisor.clock() + Self.checkInterval
                return
            }
        }
        services[index].machine.becameReady()
        report(index, .ready(after: supervisor.clock() - services[index].startedAt))
        // What waits for it need not wait for another turn.
        supervisor.wake.set()
    }

    private func report(_ index: Int, _ kind: SupervisorEvent.Kind) {
        supervisor.onEvent(SupervisorEvent(service: services[index].settings.name, kind: kind))
    }

    private func reportIfStopped(_ index: Int, _ exit: ChildExit?) {
        if services[index].machine.state == .stopped { report(index, .stopped(exit)) }
    }

    private func publish() {
        supervisor.publish(
            services.map {
                Supervisor.Status(
                    name: $0.settings.name, state: $0.machine.state, pid: $0.child?.pid, restarts: $0.machine.restarts)
            })
    }

    /// Until a process ends, somebody asks for something, or a deadline comes.
    private func sleep() {
        var pollers = [pollfd(fd: supervisor.wake.descriptor, events: Int16(POLLIN), revents: 0)]
        var next = Moment.never
        for service in services {
            if let child = service.child {
                pollers.append(pollfd(fd: child.ended.descriptor, events: Int16(POLLIN), revents: 0))
            }
            next = min(next, service.machine.nextDeadline)
            if service.machine.state == .starting { next = min(next, service.checkAt) }
        }
        var milliseconds: Int32 = -1
        if next != .never {
            milliseconds = Int32(clamping: (next - supervisor.clock()).millisecondsRoundedUp)
        }
        _ = poll(&pollers, nfds_t(pollers.count), milliseconds)
    }
}
