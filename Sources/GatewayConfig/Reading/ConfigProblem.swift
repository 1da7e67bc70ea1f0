/// One thing wrong with the configuration, and where.
package struct ConfigProblem: Error, Equatable, Sendable, CustomStringConvertible {
    /// The file, or the environment variable that brought the value.
    package var file: String
    /// Counted from 1; 0 where there is no line, as for a variable.
    package var line: Int
    package var column: Int
    /// The key, such as `pools[0].replicas[1].weight`; empty for the file as a whole.
    package var path: String
    package var message: String

    package init(file: String, line: Int = 0, column: Int = 0, path: String, message: String) {
        self.file = file
        self.line = line
        self.column = column
        self.path = path
        self.message = message
    }

    /// `config/weir.yaml:12:5: pools[0].replicas[1].weight: must be 1 to 1000, is 0`
    package var description: String {
        let place = line > 0 ? "\(file):\(line):\(column): " : "\(file): "
        return place + (path.isEmpty ? message : "\(path): \(message)")
    }
}

/// Everything wrong with the configuration: the file's problems by line, then those of the environment.
package struct ConfigProblems: Error, Equatable, Sendable, CustomStringConvertible {
    package var problems: [ConfigProblem]

    package init(_ problems: [ConfigProblem]) { self.problems = problems }

    /// One problem a line.
    package var description: String { problems.map(\.description).joined(separator: "\n") }
}
