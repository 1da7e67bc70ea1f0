import GatewayCore
import Glibc
import HTTPConnections
import Wire

/// Upgrades over the admin API. Once one is done, it is the new process that answers here.
extension AdminAPI {
    func upgrade() -> AdminReply {
        let phase = server.upgrade.phase
        return .json { writer in
            writer.openObject()
            writer.member("state", string: phase.name)
            writer.member("pid", number: Int(getpid()))
            let (next, problem): (Int32?, String?) =
                switch phase {
                case .none: (nil, nil)
                case .starting(let pid), .done(let pid): (pid, nil)
                case .failed(let problem): (nil, problem)
                }
            writer.member("next_pid")
            if let next { writer.append(decimal: Int(next)) } else { writer.append("null") }
            writer.member("problem", string: problem)
            writer.closeObject()
        }
    }

    func startUpgrade() -> AdminReply {
        if control.rolling?.state == .running {
            return .problem(409, "upgrade_refused", "Replicas are being restarted; wait until that is over.")
        }
        if let problem = server.upgradeRefusal ?? server.upgrade.start(server) {
            return .problem(409, "upgrade_refused", "Nothing was started: \(problem).")
        }
        return upgrade()
    }
}
