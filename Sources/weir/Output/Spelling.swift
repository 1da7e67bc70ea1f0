import Glibc

/// How values are written for people.
enum Spelling {
    static func yesOrNo(_ value: Bool?) -> String {
        switch value {
        case true?: "yes"
        case false?: "no"
        case nil: "?"
        }
    }

    /// A path in the home folder begins with `~`.
    static func path(_ path: String, home: String?) -> String {
        guard let home, home.count > 1, path.hasPrefix(home + "/") else { return path }
        return "~" + path.dropFirst(home.count)
    }

    /// `2026-11-21 03:10:22` in UTC; `never` for none.
    static func time(_ secondsSinceEpoch: Int?) -> String {
        guard let secondsSinceEpoch else { return "never" }
        var seconds = time_t(secondsSinceEpoch)
        var parts = tm()
        guard gmtime_r(&seconds, &parts) != nil else { return "?" }
        var buffer = [CChar](repeating: 0, count: 32)
        let count = strftime(&buffer, buffer.count, "%Y-%m-%d %H:%M:%SZ", &parts)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// `3d 4h`, `2h 5m`, `7m 12s` or `9s`: the two largest units.
    static func length(seconds: Int) -> String {
        let units = [
            ("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60),
        ]
        guard let first = units.firstIndex(where: { $0.1 > 0 }) else { return "0s" }
        return units[first..<min(first + 2, units.count)].map { "\($0.1)\($0.0)" }.joined(separator: " ")
    }
}
