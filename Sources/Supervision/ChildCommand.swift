/// What is run as a child process, and where its output goes.
package struct ChildCommand: Equatable, Sendable {
    /// Where standard output and standard error go. Input is always empty.
    package enum Output: Equatable, Sendable {
        /// To where ours goes.
        case inherited
        case discarded
        /// Appended to a file, made with mode 0640 if it isn't there. Its folder must be.
        case file(String)
    }

    /// The executable's path; not searched for.
    package var program: String
    /// Without the program's own name.
    package var arguments: [String]
    /// `NAME=value` pairs in place of ours; `nil` hands ours down.
    package var environment: [String]?
    package var output: Output

    package init(
        _ program: String, _ arguments: [String] = [], environment: [String]? = nil, output: Output = .inherited
    ) {
        self.program = program
        self.arguments = arguments
        self.environment = environment
        self.output = output
    }
}

/// A child process could not be started.
package struct SpawnError: Error, Equatable, Sendable, CustomStringConvertible {
    package let program: String
    package let errno: Int32

    package var description: String { "can't start \(program): \(errorText(errno))" }
}

/// How a child process ended.
package enum ChildExit: Equatable, Sendable, CustomStringConvertible {
    case status(Int32)
    case signal(Int32)

    package var description: String {
        switch self {
        case .status(let status): "ended with status \(status)"
        case .signal(let number): "was ended by signal \(number)\(Self.name(number))"
        }
    }

    private static func name(_ number: Int32) -> String {
        switch number {
        case 2: " (SIGINT)"
        case 6: " (SIGABRT)"
        case 9: " (SIGKILL)"
        case 11: " (SIGSEGV)"
        case 15: " (SIGTERM)"
        default: ""
        }
    }
}
