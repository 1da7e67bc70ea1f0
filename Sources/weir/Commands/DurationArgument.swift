import ArgumentParser

/// A length of time on the command line: `90s`, `10m`, `12h` or `30d`.
struct DurationArgument: ExpressibleByArgument, Equatable {
    /// At least one, at most a hundred years.
    let seconds: Int

    init?(argument: String) {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]
        guard let last = argument.last, let factor = units[last],
            argument.dropLast().allSatisfy({ $0.isASCII && $0.isNumber }),
            let count = Int(argument.dropLast())
        else { return nil }
        let (seconds, overflow) = count.multipliedReportingOverflow(by: factor)
        guard !overflow, (1...3_155_760_000).contains(seconds) else { return nil }
        self.seconds = seconds
    }
}

extension String {
    /// The parts between commas, without spaces around them and without empty ones.
    var commaSeparated: [String] {
        split(separator: ",").map { part in
            String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }.filter { !$0.isEmpty }
    }
}
