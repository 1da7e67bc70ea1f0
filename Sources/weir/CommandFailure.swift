/// How a command ends, for scripts: docs/commands.md has the table.
enum ExitStatus: Int32 {
    case done = 0
    /// Something is wrong with what was given or found, or the gateway refused.
    case problem = 1
    /// As sysexits(3), `EX_USAGE`; ArgumentParser uses it too.
    case usage = 64
    /// `EX_UNAVAILABLE`: no gateway answers, or there is no engine.
    case unavailable = 69
    /// `EX_SOFTWARE`: an answer that makes no sense, or a failure of the machine.
    case software = 70
}

/// Why a command could not do what was asked.
struct CommandFailure: Error, Equatable {
    var status: ExitStatus
    /// For people, without the name of the program. Empty when everything was said before.
    var message: String

    init(_ status: ExitStatus, _ message: String) {
        self.status = status
        self.message = message
    }
}
