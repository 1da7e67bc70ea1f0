import Balancing
import GatewayCore

/// A whole gateway on one machine, as `weir up` runs it: a private redis-server, then replicas, then the gateway.
///
///     let stack = StackSupervisor(redis: redis, replicas: replicas, gateway: gateway) { print($0.sentence) }
///     StopSignals.watch { stack.supervisor.stop(force: $0 > 1) }
///     switch try stack.supervisor.run() { … }
///
/// Each part starts when the one before is ready, and ends before it: the gateway finishes its streams while the
/// replicas still answer, and Redis is the last to go.
package struct StackSupervisor: Sendable {
    package let supervisor: Supervisor

    package init(
        redis: PrivateRedis, replicas: [ServiceSettings], gateway: ServiceSettings?,
        onEvent: @escaping @Sendable (SupervisorEvent) -> Void
    ) {
        let stages = [[redis.service], replicas, gateway.map { [$0] } ?? []].filter { !$0.isEmpty }
        supervisor = Supervisor(stages: stages, onEvent: onEvent)
    }

    /// A `weir-replica` that is ready when its `/health` says 200, which it does once its model is loaded.
    ///
    /// - Parameter arguments: without `--port`, which is added.
    package static func replica(
        name: String, program: String, arguments: [String], port: UInt16, log: ChildCommand.Output
    ) -> ServiceSettings {
        ServiceSettings(
            name: name, command: ChildCommand(program, arguments + ["--port", "\(port)"], output: log),
            readiness: .check { LocalProbe.answers(port: port, path: "/health") },
            startLimit: .seconds(120), patience: .seconds(35), restart: .replica)
    }

    /// A `weir serve` that is ready when `/readyz` on its public port says 200.
    package static func gateway(
        program: String, arguments: [String], port: UInt16, log: ChildCommand.Output
    ) -> ServiceSettings {
        ServiceSettings(
            name: "gateway", command: ChildCommand(program, arguments, output: log),
            readiness: .check { LocalProbe.answers(port: port, path: "/readyz") },
            startLimit: .seconds(60), patience: .seconds(35), restart: .local)
    }
}
