import GatewayCore
import Glibc
import Limiting
import Pipeline
import Reactor
import Wire

/// What callers have spent of their limits, as a process that takes over reads it: a file without a name that both
/// processes hold, a line of JSON for each caller. Times are of the system's monotonic clock, which both share.
///
///     {"caller":"key:team-a","requests":[1200000000,3,…],"burst":[…],"tokens":[]}
enum SpentLimits {
    /// A file that is gone as soon as nobody holds it. - Returns: its descriptor; nil where none can be made.
    static func makeFile(in directory: String) -> Int32? {
        let path = "\(directory)/limits.\(getpid())"
        let descriptor = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return nil }
        unlink(path)
        return descriptor
    }

    static func write(_ all: [(caller: String, spent: KeyBudget.Spent)], to descriptor: Int32) {
        var text = ByteWriter(capacity: 65_536)
        for (caller, spent) in all {
            text.openObject()
            text.member("caller", string: caller)
            append("requests", spent.requests, to: &text)
            append("burst", spent.burst, to: &text)
            append("tokens", spent.tokens, to: &text)
            text.closeObject()
            text.append("\n")
        }
        let bytes = text.withUnsafeBytes { Array($0) }
        var done = 0
        while done < bytes.count {
            let rest = Array(bytes[done...])
            let count = pwrite(descriptor, rest, rest.count, off_t(done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            done += count
        }
    }

    private static func append(_ name: StaticString, _ spendings: [SlidingWindow.Spending], to text: inout ByteWriter) {
        text.member(name)
        text.openArray()
        for part in spendings {
            text.element()
            text.append(decimal: Int(part.at.nanoseconds))
            text.element()
            text.append(decimal: part.cost)
        }
        text.closeArray()
    }

    /// What was written there; lines that make no sense are left out.
    static func read(_ descriptor: Int32) -> [(caller: String, spent: KeyBudget.Spent)] {
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = pread(descriptor, &block, block.count, off_t(bytes.count))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes.append(contentsOf: block[..<count])
        }
        return bytes.split(separator: UInt8(ascii: "\n")).compactMap { line in
            guard let entry = try? JSONValue.read(Array(line).span), let caller = entry["caller"]?.string else {
                return nil
            }
            return (
                caller,
                KeyBudget.Spent(
                    requests: spendings(entry["requests"]), burst: spendings(entry["burst"]),
                    tokens: spendings(entry["tokens"]))
            )
        }
    }

    private static func spendings(_ list: JSONValue?) -> [SlidingWindow.Spending] {
        let numbers = (list?.array ?? []).compactMap(\.int)
        return stride(from: 0, to: numbers.count - 1, by: 2).map { place in
            SlidingWindow.Spending(
                at: Moment(nanoseconds: Int64(numbers[place])),
                cost: max(0, min(numbers[place + 1], SlidingWindow.limitMax)))
        }
    }
}
