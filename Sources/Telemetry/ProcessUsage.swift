import Glibc

/// What this process costs, as the kernel counts it.
package struct ProcessUsage: Sendable {
    /// `nil` where `/proc` can't be read.
    package var residentBytes: Int?
    package var threads: Int?
    package var openDescriptors: Int?
    package var descriptorsMax: Int?
    package var cpuSeconds: Double = 0

    /// Reads `/proc/self` and asks for limits. A few system calls: for a scrape, not for a loop's every turn.
    package static func now() -> ProcessUsage {
        var usage = ProcessUsage()
        let statm = read("/proc/self/statm").split(separator: " ")
        if statm.count > 1, let pages = Int(statm[1]) {
            usage.residentBytes = pages * Int(sysconf(Int32(_SC_PAGESIZE)))
        }
        // The second field, the command, may hold spaces; what follows its closing bracket does not.
        let stat = read("/proc/self/stat")
        if let end = stat.lastIndex(of: ")") {
            let fields = stat[end...].split(separator: " ")
            if fields.count > 18 { usage.threads = Int(fields[18]) }
        }
        usage.openDescriptors = countDescriptors()
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            usage.descriptorsMax = Int(clamping: limit.rlim_cur)
        }
        var spent = timespec()
        if clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent) == 0 {
            usage.cpuSeconds = Double(spent.tv_sec) + Double(spent.tv_nsec) / 1e9
        }
        return usage
    }

    /// The first 4 KiB of a file of `/proc`, or nothing.
    private static func read(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        return String(unsafeUninitializedCapacity: 4096) { max(0, Glibc.read(descriptor, $0.baseAddress, $0.count)) }
    }

    private static func countDescriptors() -> Int? {
        guard let folder = opendir("/proc/self/fd") else { return nil }
        defer { closedir(folder) }
        var count = 0
        while readdir(folder) != nil { count += 1 }
        return max(0, count - 3)  // not `.`, `..` and the folder itself
    }
}
