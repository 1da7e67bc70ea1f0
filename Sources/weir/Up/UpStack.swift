import GatewayCore
import Glibc
import Supervision

/// The running processes of a `weir up`, and what is said about them.
struct UpStack {
    /// The executables that are run.
    struct Programs {
        let weir: String
        let replica: String
        let redis: String

        /// - Throws: `.unavailable` naming what is not there.
        init(_ installation: Installation, searchPath: String?) throws(CommandFailure) {
            weir = installation.program
            replica = try installation.replicaProgram()
            guard let found = Installation.programInPath("redis-server", path: searchPath) else {
                throw CommandFailure(
                    .unavailable, "there is no redis-server here. On Debian: apt-get install redis-server")
            }
            redis = found
        }
    }

    private let plan: UpPlan
    private let stack: StackSupervisor
    private let home: String?

    /// Writes what the children read: the ports of next time and the gateway's configuration.
    init(_ plan: UpPlan, _ programs: Programs, _ environment: [String: String]) throws {
        self.plan = plan
        home = environment["HOME"]
        let state = plan.state
        state.setAsideLogs(["redis", "gateway", "access"] + plan.replicas.map(\.name))
        try UpState.write(plan.ports.text, to: state.portsFile)
        let redis: PrivateRedis
        do throws(PrivateRedis.Problem) {
            redis = try PrivateRedis(
                directory: state.redisDirectory, program: programs.redis, log: .file(state.log("redis")))
        } catch {
            throw CommandFailure(.problem, error.description)
        }
        try UpState.write(plan.yaml(redisAddress: "unix:\(redis.socket)"), to: state.configFile)

        let replicas = plan.replicas.map { replica in
            StackSupervisor.replica(
                name: replica.name, program: programs.replica, arguments: plan.replicaArguments, port: replica.port,
                log: .file(state.log(replica.name)))
        }
        let speaker = UpSpeaker(plan)
        stack = StackSupervisor(
            redis: redis, replicas: replicas, gateway: Self.gateway(plan, programs, environment)
        ) { event in speaker.hear(event) }
    }

    /// Ready when its metrics page is: that is on the loopback address wherever clients connect.
    private static func gateway(
        _ plan: UpPlan, _ programs: Programs, _ environment: [String: String]
    ) -> ServiceSettings {
        // Variables would change the configuration that was written for it.
        let variables = environment.filter { !$0.key.hasPrefix("WEIR_") }.map { "\($0.key)=\($0.value)" }
        let port = plan.ports.metrics
        return ServiceSettings(
            name: "gateway",
            command: ChildCommand(
                programs.weir, ["serve", "--config", plan.state.configFile], environment: variables,
                output: .file(plan.state.log("gateway"))),
            readiness: .check { LocalProbe.answers(port: port, path: "/healthz") },
            startLimit: .seconds(60), patience: .seconds(35), restart: .local)
    }

    /// Blocks until Ctrl-C, SIGTERM or a process that can't be started.
    ///
    /// - Throws: `.problem` with the last lines of the log of what failed.
    func run() throws(CommandFailure) {
        Output.line("weir up in \(Spelling.path(plan.state.directory, home: home))")
        let supervisor = stack.supervisor
        let socket: SupervisorSocket
        do {
            socket = try SupervisorSocket(supervisor, path: plan.state.supervisorSocket)
        } catch {
            throw CommandFailure(.problem, "can't listen on \(plan.state.supervisorSocket): \(error)")
        }
        defer { socket.end() }
        StopSignals.watch { count in
            if count == 1 { Output.line("ending: running requests finish (Ctrl-C again ends at once)") }
            supervisor.stop(force: count > 1)
        }
        let end: Supervisor.End
        do throws(SpawnError) {
            end = try supervisor.run()
        } catch {
            throw CommandFailure(.software, error.description)
        }
        guard case .failed(let service, let reason) = end else { return }
        throw CommandFailure(
            .problem, "\(service) could not be started: \(reason)\n\(UpState.end(of: plan.state.log(service)))")
    }
}
