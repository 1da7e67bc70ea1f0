/// `pools[].models[].fallback`: every name stands for another model that is served, and no chain of them comes back.
struct FallbackRules {
    private struct Entry {
        var model: String
        var fallback: [String]
        var path: SettingPath
    }

    private let entries: [Entry]
    private let places: [String: Int]

    init(_ pools: [PoolSettings]) {
        var entries: [Entry] = []
        for (index, pool) in pools.enumerated() {
            let path = SettingPath.root.key("pools").element(index).key("models")
            for (index, model) in pool.models.enumerated() {
                let path = path.element(index).key("fallback")
                entries.append(Entry(model: model.name, fallback: model.fallback, path: path))
            }
        }
        self.entries = entries
        // A name that is used twice is a problem of its own.
        places = Dictionary(entries.enumerated().map { ($1.model, $0) }) { first, _ in first }
    }

    func problems() -> [ConfigProblem] {
        var found: [ConfigProblem] = []
        for entry in entries {
            for (index, name) in entry.fallback.enumerated() where places[name] == nil && !name.isEmpty {
                let hint = Suggestion.closest(to: name, among: entries.map(\.model)).map { "; did you mean `\($0)`?" }
                found.append(entry.path.element(index), "no pool serves `\(name)`\(hint ?? "")")
            }
        }
        var states = Array(repeating: State.unseen, count: entries.count)
        var trail: [String] = []
        for start in entries.indices { follow(start, &states, &trail, &found) }
        return found
    }

    private enum State { case unseen, onTrail, done }

    /// Models that may follow one another: far more than are ever tried for one request.
    private static let depthMax = 32

    /// Depth first; each model once.
    private func follow(
        _ place: Int, _ states: inout [State], _ trail: inout [String], _ found: inout [ConfigProblem]
    ) {
        guard states[place] == .unseen else { return }
        states[place] = .onTrail
        let entry = entries[place]
        trail.append(entry.model)
        for (index, name) in entry.fallback.enumerated() {
            guard let next = places[name] else { continue }
            if states[next] == .onTrail {
                let circle = trail[(trail.firstIndex(of: name) ?? 0)...] + [name]
                found.append(
                    entry.path.element(index),
                    "leads back to `\(name)` (\(circle.map { "`\($0)`" }.joined(separator: " → ")))")
            } else if trail.count >= Self.depthMax {
                found.append(entry.path.element(index), "more than \(Self.depthMax) models follow one another")
            } else {
                follow(next, &states, &trail, &found)
            }
        }
        trail.removeLast()
        states[place] = .done
    }
}
