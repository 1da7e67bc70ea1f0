/// A mapping of the configuration file.
///
/// ``keys`` is the one description of it: reading, variables, range checks, printing and the manual's test go by it.
protocol SettingsSection: Equatable {
    /// Every default.
    init()
    static var keys: [SettingsKey<Self>] { get }
    /// What is wrong beyond the range of single keys. `path` is that of the section.
    func rules(at path: SettingPath) -> [ConfigProblem]
}

extension SettingsSection {
    func rules(at path: SettingPath) -> [ConfigProblem] { [] }

    /// Everything wrong with these values, in the order of the keys. Empty means usable.
    ///
    /// Runs after all sources are merged, so no source can slip past it.
    func problems(at path: SettingPath) -> [ConfigProblem] {
        Self.keys.flatMap { $0.problems(self, path.key($0.name)) } + rules(at: path)
    }
}

/// One key of a section, with its type erased: what can be done with it as closures.
struct SettingsKey<Section> {
    let name: String
    let read: (inout Section, ConfigNode, SettingPath, inout SettingsReader) -> Void
    let override: (inout Section, SettingPath, inout EnvironmentReader) -> Void
    let problems: (Section, SettingPath) -> [ConfigProblem]
    /// `nil` leaves the key out.
    let export: (Section) -> ExportedSetting?
    let describe: (SettingPath) -> [SettingDescription]
}

/// One key as the manual has to describe it.
package struct SettingDescription: Equatable, Sendable {
    /// `pools[].replicas[].weight`
    package let path: String
    /// `integer`, `list of path`, `section`, …
    package let kind: String
    /// As it is written in the file: `8MiB`, `[]`; `none` where absence is the default, `required` where there is none.
    package let defaultText: String
    /// `1 to 1000`; empty when anything goes.
    package let range: String
    /// Whether it only holds other keys.
    package let isSection: Bool
}

/// The path of a key, such as `pools[0].replicas[1].weight`.
struct SettingPath: Hashable, CustomStringConvertible {
    /// As messages show it.
    let description: String
    /// The name of the variable that overrides it.
    let variable: String

    static let root = SettingPath(description: "", variable: "WEIR")

    func key(_ name: String) -> SettingPath {
        SettingPath(
            description: description.isEmpty ? name : "\(description).\(name)",
            variable: "\(variable)_\(Self.upperSnake(name))")
    }

    func element(_ index: Int) -> SettingPath {
        SettingPath(description: "\(description)[\(index)]", variable: "\(variable)_\(index)")
    }

    /// Stands for every element, in descriptions.
    var anyElement: SettingPath { SettingPath(description: "\(description)[]", variable: "\(variable)_N") }

    /// `maxInFlight` becomes `MAX_IN_FLIGHT`, `clientCAFile` `CLIENT_CA_FILE`, `sha256` `SHA256`.
    static func upperSnake(_ name: String) -> String {
        let characters = Array(name)
        var result = ""
        for (index, character) in characters.enumerated() {
            let beginsWord =
                index > 0 && character.isUppercase
                && (!characters[index - 1].isUppercase
                    || (index + 1 < characters.count && characters[index + 1].isLowercase))
            if beginsWord { result += "_" }
            result += character.uppercased()
        }
        return result
    }
}

extension [ConfigProblem] {
    /// A problem of the merged settings; where the value came from is added by the reader.
    mutating func append(_ path: SettingPath, _ message: String) {
        append(ConfigProblem(file: "", path: path.description, message: message))
    }
}
