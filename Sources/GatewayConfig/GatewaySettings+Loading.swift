extension GatewaySettings {
    /// Reads `file`, lays the `WEIR_…` variables of `environment` over it, reads the files and variables that hold
    /// secrets, and checks the result.
    ///
    /// - Throws: everything that is wrong, at once, in the order of the file.
    /// - Cost: blocks on the disk.
    package static func load(file: String, environment: [String: String]) throws(ConfigProblems) -> GatewaySettings {
        let bytes: [UInt8]
        switch ConfigFiles.real.read(file, ConfigDocument.textBytesMax) {
        case .success(let read): bytes = read
        case .failure(let problem):
            throw ConfigProblems([ConfigProblem(file: file, path: "", message: "can't be read: \(problem.expectation)")]
            )
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            let good = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).prefix {
                String(validating: $0, as: UTF8.self) != nil
            }
            throw ConfigProblems([
                ConfigProblem(file: file, line: good.count + 1, column: 1, path: "", message: "not valid UTF-8")
            ])
        }
        return try parse(text: text, file: file, environment: environment)
    }

    /// The same for a text; `file` is for messages and for paths, which are relative to its folder.
    package static func parse(
        text: String, file: String = "weir.yaml", environment: [String: String] = [:]
    ) throws(ConfigProblems) -> GatewaySettings {
        try parse(text: text, file: file, environment: environment, files: .real)
    }

    static func parse(
        text: String, file: String, environment: [String: String], files: ConfigFiles
    ) throws(ConfigProblems) -> GatewaySettings {
        var settings = GatewaySettings()
        let document = ConfigDocument(text: text, file: file)
        // A text that could not be read as a whole would only bring problems that are none.
        guard document.problems.isEmpty else { throw ConfigProblems(document.problems) }

        var reader = SettingsReader(file: file)
        if let root = document.root { reader.read(&settings, from: root, at: .root) }

        var variables = EnvironmentReader(environment, directory: reader.directory)
        variables.override(&settings, at: .root)

        var secrets = SecretReader(files: files, environment: environment)
        settings.fillIn(&secrets, environment: environment)

        let origins = reader.origins.merging(variables.origins) { $1 }
        let unreadable = reader.problems + variables.problems
        let merged = (secrets.problems + settings.problems())
            .filter { problem in !unreadable.contains { $0.covers(problem) } }
            .map { $0.located(in: file, by: origins) }
        let problems = unreadable + variables.unknown(exempt: secrets.variables) + merged
        guard problems.isEmpty else { throw ConfigProblems(problems.inFileOrder) }
        return settings
    }

    /// Everything wrong with these values, in the order of the keys, without their places. Empty means usable.
    ///
    /// Runs after all sources are merged, so no source can slip past it.
    package func problems() -> [ConfigProblem] { problems(at: .root) }

    /// The effective settings as a file with every key. Secrets of the file are shown as `***`.
    package func yaml() -> String {
        var text = ""
        ExportedSetting.write(exported(self), indent: 0, into: &text)
        return text
    }

    /// Every key there is, for the manual.
    package static var descriptions: [SettingDescription] {
        keys.flatMap { $0.describe(SettingPath.root.key($0.name)) }
    }
}

extension ConfigProblem {
    /// Whether `other` may only follow from this one: it is about the same key, one below (the empty path is above
    /// all), or the section or list that this one is directly in.
    fileprivate func covers(_ other: ConfigProblem) -> Bool {
        path.isEmpty || other.path == path || other.path.hasPrefix("\(path).") || other.path.hasPrefix("\(path)[")
            || (!other.path.isEmpty && other.path[...] == Self.parent(of: path[...]))
    }

    private static func parent(of path: Substring) -> Substring {
        path.lastIndex { $0 == "." || $0 == "[" }.map { path[..<$0] } ?? ""
    }

    /// The problem with the place of its key, or of the nearest one above that is given.
    fileprivate func located(in file: String, by origins: [String: SettingsReader.Origin]) -> ConfigProblem {
        var located = self
        located.file = file
        (located.line, located.column) = (1, 1)
        var key = path[...]
        while true {
            switch origins[String(key)] {
            case .file(let line, let column):
                (located.line, located.column) = (line, column)
                return located
            case .variable(let name):
                located.file = name
                (located.line, located.column) = (0, 0)
                return located
            case nil where key.isEmpty: return located
            case nil: key = Self.parent(of: key)
            }
        }
    }
}

extension [ConfigProblem] {
    /// Those of the file by line, then those of variables; in the given order where they share a place.
    fileprivate var inFileOrder: [ConfigProblem] {
        func place(_ problem: EnumeratedSequence<Self>.Element) -> (Int, Int, Int) {
            (problem.element.line == 0 ? .max : problem.element.line, problem.element.column, problem.offset)
        }
        return enumerated().sorted { place($0) < place($1) }.map(\.element)
    }
}
