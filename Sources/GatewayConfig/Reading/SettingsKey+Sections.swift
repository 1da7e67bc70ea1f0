// Keys that hold other keys.

extension SettingsKey where Section: SettingsSection {
    /// A section that is always there, with its defaults.
    static func section<Inner: SettingsSection>(_ name: String, _ path: WritableKeyPath<Section, Inner>) -> Self {
        Self(
            name: name,
            read: { section, node, at, reader in reader.read(&section[keyPath: path], from: node, at: at) },
            override: { section, at, reader in reader.override(&section[keyPath: path], at: at) },
            problems: { section, at in section[keyPath: path].problems(at: at) },
            export: { .section(exported($0[keyPath: path])) },
            describe: { at in described(Inner.self, at, at, kind: "section", defaultText: "") })
    }

    /// A section that means something by being there.
    static func optionalSection<Inner: SettingsSection>(
        _ name: String, _ path: WritableKeyPath<Section, Inner?>
    ) -> Self {
        Self(
            name: name,
            read: { section, node, at, reader in
                if node.isNull {
                    return reader.report(at, node, "is empty: remove it, or write {} for all its defaults")
                }
                var inner = Inner()
                reader.read(&inner, from: node, at: at)
                section[keyPath: path] = inner
            },
            override: { section, at, reader in
                var inner = section[keyPath: path] ?? Inner()
                let before = reader.usedCount
                reader.override(&inner, at: at)
                if reader.usedCount > before { section[keyPath: path] = inner }
            },
            problems: { section, at in section[keyPath: path]?.problems(at: at) ?? [] },
            export: { $0[keyPath: path].map { .section(exported($0)) } },
            describe: { at in described(Inner.self, at, at, kind: "section", defaultText: "none") })
    }

    /// A list of sections. With `shorthand` an element may also be a single value.
    static func sections<Inner: SettingsSection>(
        _ name: String, _ path: WritableKeyPath<Section, [Inner]>, count: ClosedRange<Int>,
        shorthand: WritableKeyPath<Inner, String>? = nil
    ) -> Self {
        Self(
            name: name,
            read: { section, node, at, reader in
                guard let nodes = reader.list(node, at: at) else { return }
                section[keyPath: path] = nodes.enumerated().map { index, node in
                    var inner = Inner()
                    if let shorthand, case .scalar = node.value, !node.isNull {
                        let text = reader.value(node, at: at.element(index), as: .text)
                        inner[keyPath: shorthand] = text ?? ""
                    } else {
                        reader.read(&inner, from: node, at: at.element(index))
                    }
                    return inner
                }
            },
            override: { section, at, reader in
                guard reader.concerns(at) else { return }
                for index in section[keyPath: path].indices {
                    reader.override(&section[keyPath: path][index], at: at.element(index))
                }
            },
            problems: { section, at in
                let list = section[keyPath: path]
                return countProblems(list.count, at, count)
                    + list.enumerated().flatMap { index, inner in inner.problems(at: at.element(index)) }
            },
            export: { .sections($0[keyPath: path].map(exported)) },
            describe: { at in
                let list = listDescription(at, "section", "[]", count, "")
                return described(
                    Inner.self, at, at.anyElement, kind: list.kind, defaultText: list.defaultText, list.range)
            })
    }

    /// Bytes nobody may see. `isShown` is false where they came from a file or variable that another key names.
    static func secret(
        _ name: String, _ path: WritableKeyPath<Section, Secret?>, isShown: @escaping (Section) -> Bool
    ) -> Self {
        let format = SettingFormat<Secret>("secret") { text, _ throws(BadValue) in
            Secret(text)
        } print: { _ in
            "***"
        }
        let key = Self.optional(name, path, format)
        return Self(
            name: name, read: key.read, override: key.override, problems: key.problems,
            export: { isShown($0) && $0[keyPath: path] != nil ? .scalar("\"***\"") : nil }, describe: key.describe)
    }

    private static func described<Inner: SettingsSection>(
        _ inner: Inner.Type, _ at: SettingPath, _ keysAt: SettingPath, kind: String, defaultText: String,
        _ range: String = ""
    ) -> [SettingDescription] {
        [
            SettingDescription(
                path: at.description, kind: kind, defaultText: defaultText, range: range, isSection: true)
        ] + Inner.keys.flatMap { $0.describe(keysAt.key($0.name)) }
    }
}

/// The keys of a section that have something to print.
func exported<Section: SettingsSection>(_ section: Section) -> [(name: String, value: ExportedSetting)] {
    Section.keys.compactMap { key in key.export(section).map { (key.name, $0) } }
}
