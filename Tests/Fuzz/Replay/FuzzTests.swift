import Glibc
import TestSupport
import Testing

/// Every fuzz target on its seeds and on mutations of them: what `make fuzz` does for longer, and guided by coverage.
@Suite struct FuzzTests {
    @Test(arguments: FuzzTarget.allCases)
    func `the seeds hold`(_ target: FuzzTarget) throws {
        let seeds = try Seeds.of(target)
        #expect(seeds.count >= 3)
        for seed in seeds { expectHolds(target, seed.bytes, "the seed \(seed.name)") }
    }

    @Test(arguments: FuzzTarget.allCases)
    func `mutations of the seeds hold`(_ target: FuzzTarget) throws {
        let seeds = try Seeds.of(target)
        var generator = SplitMix64(seed: 3)
        for round in 0..<(target == .config ? 400 : 3_000) {
            let one = seeds[generator.below(seeds.count)].bytes
            let other = seeds[generator.below(seeds.count)].bytes
            let mutated = Array(one.mutated(with: other, by: &generator).prefix(target.bytesMax))
            expectHolds(target, mutated, "round \(round)")
        }
    }

    @Test func `a broken property is noticed`() {
        #expect(throws: BrokenProperty.self) { try hold(false, "it must be") }
    }

    private func expectHolds(_ target: FuzzTarget, _ bytes: [UInt8], _ origin: String) {
        do throws(BrokenProperty) {
            try target.check(bytes)
        } catch {
            Issue.record("\(target.rawValue), \(origin): \(error); the input: \(bytes.text.debugDescription)")
        }
    }
}

/// Files under `Tests/Fuzz/seeds`.
private enum Seeds {
    static func of(_ target: FuzzTarget, file: String = #filePath) throws -> [(name: String, bytes: [UInt8])] {
        let parts = file.split(separator: "/", omittingEmptySubsequences: false).dropLast(2)
        let folder = "\(parts.joined(separator: "/"))/seeds/\(target.rawValue)"
        let directory = try #require(opendir(folder))
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return try names.sorted().map { ($0, try read("\(folder)/\($0)")) }
    }

    private static func read(_ path: String) throws -> [UInt8] {
        let stream = try #require(fopen(path, "r"))
        defer { fclose(stream) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = fread(&bytes, 1, bytes.count, stream)
        return Array(bytes[..<count])
    }
}

extension [UInt8] {
    /// One to four changes: a byte flipped, replaced, doubled or taken out, a stretch repeated, removed or taken over.
    fileprivate func mutated(with other: [UInt8], by generator: inout SplitMix64) -> [UInt8] {
        var bytes = self
        func below(_ count: Int) -> Int { generator.below(count) }
        for _ in 0...below(4) where !bytes.isEmpty {
            let at = below(bytes.count)
            let end = Swift.min(bytes.count, at + below(12) + 1)
            switch below(7) {
            case 0: bytes[at] ^= 1 << UInt8(below(8))
            case 1: bytes[at] = UInt8(below(256))
            case 2: bytes.insert(Array("\r\n\0 :;\"\\{}[],0-".utf8)[below(15)], at: at)
            case 3: bytes.removeSubrange(at..<end)
            case 4: bytes.insert(contentsOf: bytes[at..<end], at: at)
            case 5: bytes = Array(bytes[..<at])
            default:
                let from = below(other.count + 1)
                bytes.replaceSubrange(at..<end, with: other[from..<Swift.min(other.count, from + below(24))])
            }
        }
        return bytes
    }
}
