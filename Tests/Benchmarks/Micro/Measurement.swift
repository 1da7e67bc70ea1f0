import Glibc

/// How long one operation takes.
struct Measurement {
    /// What is done, and on how much.
    var name: String
    var nanoseconds: Double

    private static let rounds = 7
    /// CPU time that a round takes at least.
    private static let roundNanoseconds = 20_000_000.0

    /// The median of seven rounds of at least 20 ms each, after one to warm up: CPU time of this thread, so that other
    /// work on the machine counts only by the caches that it spoils.
    ///
    /// - Parameter operation: does the work once, for the index it is given; what it returns is used, so that the
    ///   optimiser can't leave the work out.
    static func of(_ name: String, _ operation: (Int) -> Int) -> Measurement {
        var count = 1
        var index = 0
        var used = 0
        func run() -> Double {
            let start = cpuNanoseconds()
            for _ in 0..<count {
                used &+= operation(index)
                index &+= 1
            }
            return Double(cpuNanoseconds() - start)
        }
        // Also warms up.
        while run() < roundNanoseconds { count *= 2 }
        var rounds: [Double] = []
        for _ in 0..<Self.rounds { rounds.append(run() / Double(count)) }
        rounds.sort()
        // Always false; but nothing shorter than running it can tell.
        if used == .min + 12_345 { print("") }
        return Measurement(name: name, nanoseconds: rounds[Self.rounds / 2])
    }

    private static func cpuNanoseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
