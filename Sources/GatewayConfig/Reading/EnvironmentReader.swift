/// Lays `WEIR_…` variables over settings: `listen.connectionsMax` is `WEIR_LISTEN_CONNECTIONS_MAX`, the weight of the
/// second replica of the first pool `WEIR_POOLS_0_REPLICAS_1_WEIGHT`. Lists of single values are separated by commas.
struct EnvironmentReader {
    /// Those that begin with `WEIR_`.
    private let variables: [String: String]
    private var used: Set<String> = []
    /// Every name that was asked for, for suggestions.
    private var known: [String] = []
    private(set) var problems: [ConfigProblem] = []
    private(set) var origins: [String: SettingsReader.Origin] = [:]
    let directory: String

    /// Variables of the commands, which are no settings.
    static let ofCommands: Set<String> = ["WEIR_CONFIG", "WEIR_URL", "WEIR_API_KEY", "WEIR_ADMIN_KEY"]

    init(_ environment: [String: String], directory: String) {
        variables = environment.filter { name, _ in
            name.hasPrefix("WEIR_") && !Self.ofCommands.contains(name) && !Self.isOfKubernetes(name)
        }
        self.directory = directory
    }

    /// Kubernetes sets these in every pod beside a service named `weir`; they are never meant for us.
    private static func isOfKubernetes(_ name: String) -> Bool {
        name == "WEIR_PORT" || name.hasPrefix("WEIR_PORT_") || name.hasPrefix("WEIR_SERVICE_")
    }

    /// Whether any variable concerns `path` or what is below it: spares the walk through long lists.
    func concerns(_ path: SettingPath) -> Bool {
        !variables.isEmpty && variables.keys.contains { $0 == path.variable || $0.hasPrefix(path.variable + "_") }
    }

    /// The variables used so far; a section that was absent exists when its keys used one.
    var usedCount: Int { used.count }

    mutating func text(_ path: SettingPath) -> String? {
        known.append(path.variable)
        guard let text = variables[path.variable] else { return nil }
        used.insert(path.variable)
        origins[path.description] = .variable(path.variable)
        return text
    }

    mutating func value<Value>(_ path: SettingPath, as format: SettingFormat<Value>) -> Value? {
        text(path).flatMap { parse($0, path, format) }
    }

    mutating func parse<Value>(_ text: String, _ path: SettingPath, _ format: SettingFormat<Value>) -> Value? {
        do {
            return try format.parse(text, directory)
        } catch {
            problems.append(
                ConfigProblem(file: path.variable, path: path.description, message: "must be \(error.expectation)"))
            return nil
        }
    }

    mutating func values<Value>(_ path: SettingPath, as format: SettingFormat<Value>) -> [Value]? {
        guard let text = text(path) else { return nil }
        var values: [Value] = []
        for part in text.split(separator: ",") {
            let trimmed = String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
            guard let value = parse(trimmed, path, format) else { return nil }
            values.append(value)
        }
        return values
    }

    mutating func override<Section: SettingsSection>(_ section: inout Section, at path: SettingPath) {
        guard concerns(path) else { return }
        for key in Section.keys { key.override(&section, path.key(key.name), &self) }
    }

    /// Variables that name no setting. `exempt` are those that settings name as holding a secret.
    func unknown(exempt: Set<String>) -> [ConfigProblem] {
        variables.keys.filter { !used.contains($0) && !exempt.contains($0) }.sorted().map { name in
            let hint = Suggestion.closest(to: name, among: known).map { "; did you mean `\($0)`?" } ?? ""
            return ConfigProblem(file: name, path: "", message: "names no setting of this file\(hint)")
        }
    }
}
