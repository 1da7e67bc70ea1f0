// How the keys of a section are declared. Each function makes one ``SettingsKey``.

extension SettingsKey where Section: SettingsSection {
    /// A key with one value and a default.
    static func value<Value: Equatable>(
        _ name: String, _ path: WritableKeyPath<Section, Value>, _ format: SettingFormat<Value>,
        _ rule: SettingRule<Value> = .any, isRequired: Bool = false
    ) -> Self {
        Self(
            name: name,
            read: { section, node, at, reader in
                if let value = reader.value(node, at: at, as: format) { section[keyPath: path] = value }
            },
            override: { section, at, reader in
                if let value = reader.value(at, as: format) { section[keyPath: path] = value }
            },
            problems: { section, at in
                let value = section[keyPath: path]
                var found: [ConfigProblem] = []
                if isRequired, value == Section()[keyPath: path] {
                    found.append(at, "must be given")
                } else if !rule.allows(value) {
                    found.append(at, "must be \(rule.sentence), is \(shown(value, format))")
                }
                return found
            },
            export: { .scalar(printed($0[keyPath: path], format)) },
            describe: { at in
                let defaultText = isRequired ? "required" : printed(Section()[keyPath: path], format)
                return [
                    SettingDescription(
                        path: at.description, kind: format.kind, defaultText: defaultText, range: rule.sentence,
                        isSection: false)
                ]
            })
    }

    /// A number, size or duration with its range.
    static func value<Value: Comparable>(
        _ name: String, _ path: WritableKeyPath<Section, Value>, _ format: SettingFormat<Value>,
        _ range: ClosedRange<Value>
    ) -> Self {
        value(name, path, format, .range(range, format))
    }

    /// One of a few words.
    static func choice<Value: RawRepresentable<String> & CaseIterable & Equatable>(
        _ name: String, _ path: WritableKeyPath<Section, Value>
    ) -> Self {
        value(name, path, .choice, SettingRule(sentence: SettingFormat<Value>.listed) { _ in true })
    }

    /// A key that may be absent, which is its default. An empty value or variable makes it absent.
    static func optional<Value: Equatable>(
        _ name: String, _ path: WritableKeyPath<Section, Value?>, _ format: SettingFormat<Value>,
        _ rule: SettingRule<Value> = .any
    ) -> Self {
        Self(
            name: name,
            read: { section, node, at, reader in
                if node.isNull {
                    reader.note(at, node)
                    section[keyPath: path] = nil
                } else if let value = reader.value(node, at: at, as: format) {
                    section[keyPath: path] = value
                }
            },
            override: { section, at, reader in
                guard let text = reader.text(at) else { return }
                if text.isEmpty {
                    section[keyPath: path] = nil
                } else if let value = reader.parse(text, at, format) {
                    section[keyPath: path] = value
                }
            },
            problems: { section, at in
                var found: [ConfigProblem] = []
                if let value = section[keyPath: path], !rule.allows(value) {
                    found.append(at, "must be \(rule.sentence), is \(shown(value, format))")
                }
                return found
            },
            export: { $0[keyPath: path].map { .scalar(printed($0, format)) } },
            describe: { at in
                [
                    SettingDescription(
                        path: at.description, kind: format.kind, defaultText: "none", range: rule.sentence,
                        isSection: false)
                ]
            })
    }

    /// A number, size or duration with its range that may be absent.
    static func optional<Value: Comparable>(
        _ name: String, _ path: WritableKeyPath<Section, Value?>, _ format: SettingFormat<Value>,
        _ range: ClosedRange<Value>
    ) -> Self {
        optional(name, path, format, .range(range, format))
    }

    /// A list of single values.
    static func list<Value: Equatable>(
        _ name: String, _ path: WritableKeyPath<Section, [Value]>, _ format: SettingFormat<Value>,
        count: ClosedRange<Int>, _ rule: SettingRule<Value> = .any
    ) -> Self {
        Self(
            name: name,
            read: { section, node, at, reader in
                guard let nodes = reader.list(node, at: at) else { return }
                section[keyPath: path] = nodes.enumerated().compactMap { index, node in
                    reader.value(node, at: at.element(index), as: format)
                }
            },
            override: { section, at, reader in
                if let values = reader.values(at, as: format) { section[keyPath: path] = values }
            },
            problems: { listProblems($0[keyPath: path], $1, format, count, rule) },
            export: { .scalars($0[keyPath: path].map { printed($0, format) }) },
            describe: { at in [listDescription(at, format.kind, "[]", count, rule.sentence)] })
    }

    /// A list of single values that may be absent, which is not the same as empty.
    static func optionalList<Value: Equatable>(
        _ name: String, _ path: WritableKeyPath<Section, [Value]?>, _ format: SettingFormat<Value>,
        count: ClosedRange<Int>, _ rule: SettingRule<Value> = .any
    ) -> Self {
        Self(
            name: name,
            read: { section, node, at, reader in
                guard !node.isNull else { return reader.note(at, node) }
                guard let nodes = reader.list(node, at: at) else { return }
                section[keyPath: path] = nodes.enumerated().compactMap { index, node in
                    reader.value(node, at: at.element(index), as: format)
                }
            },
            override: { section, at, reader in
                if let values = reader.values(at, as: format) { section[keyPath: path] = values.isEmpty ? nil : values }
            },
            problems: { section, at in
                section[keyPath: path].map { listProblems($0, at, format, count, rule) } ?? []
            },
            export: { $0[keyPath: path].map { .scalars($0.map { printed($0, format) }) } },
            describe: { at in [listDescription(at, format.kind, "none", count, rule.sentence)] })
    }

    private static func listProblems<Value>(
        _ values: [Value], _ at: SettingPath, _ format: SettingFormat<Value>, _ count: ClosedRange<Int>,
        _ rule: SettingRule<Value>
    ) -> [ConfigProblem] {
        var found = countProblems(values.count, at, count)
        for (index, value) in values.enumerated() where !rule.allows(value) {
            found.append(at.element(index), "must be \(rule.sentence), is \(shown(value, format))")
        }
        return found
    }

    static func countProblems(_ count: Int, _ at: SettingPath, _ allowed: ClosedRange<Int>) -> [ConfigProblem] {
        var found: [ConfigProblem] = []
        if !allowed.contains(count) {
            let atLeastOne = allowed.lowerBound == 1 && count == 0
            found.append(at, atLeastOne ? "must have at least one" : "must have \(listed(allowed)), has \(count)")
        }
        return found
    }

    static func listDescription(
        _ at: SettingPath, _ kind: String, _ defaultText: String, _ count: ClosedRange<Int>, _ sentence: String
    ) -> SettingDescription {
        SettingDescription(
            path: at.description, kind: "list of \(kind)", defaultText: count.lowerBound > 0 ? "required" : defaultText,
            range: sentence.isEmpty ? listed(count) : "\(listed(count)), each \(sentence)", isSection: false)
    }

    private static func listed(_ count: ClosedRange<Int>) -> String {
        count.lowerBound == 0 ? "at most \(count.upperBound)" : "\(count.lowerBound) to \(count.upperBound)"
    }

    /// As the file has it.
    private static func printed<Value>(_ value: Value, _ format: SettingFormat<Value>) -> String {
        let text = format.print(value)
        return format.isQuoted ? ExportedSetting.quoted(text) : text
    }

    /// As messages show it.
    private static func shown<Value>(_ value: Value, _ format: SettingFormat<Value>) -> String {
        format.isQuoted ? "`\(format.print(value))`" : format.print(value)
    }
}
