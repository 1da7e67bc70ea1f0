import Glibc

/// Gives back what only the start needed: reading arguments and YAML touches half of the executable and of a dozen
/// libraries, which then stay in memory although the gateway never runs that code again.
enum StartupMemory {
    /// Unmaps the pages of all executable mappings. Code that is run again comes back from the page
    /// cache, page by page, without a read from the disk as long as it is cached there.
    ///
    /// - Cost: about a millisecond, and some hundred page faults afterwards; once, before the gateway starts.
    static func giveBack() {
        guard let maps = try? SecretFile.read("/proc/self/maps") else { return }
        for line in maps.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
            // Private mappings of files that can't be written to: what is dropped is in the file.
            guard fields.count == 6, fields[1].elementsEqual("r-xp".utf8), fields[5].contains(UInt8(ascii: "/")) else {
                continue
            }
            let ends = fields[0].split(separator: UInt8(ascii: "-"))
                .compactMap { UInt(String(decoding: $0, as: UTF8.self), radix: 16) }
            guard ends.count == 2, ends[0] < ends[1] else { continue }
            madvise(UnsafeMutableRawPointer(bitPattern: ends[0]), Int(ends[1] - ends[0]), MADV_DONTNEED)
        }
    }
}
