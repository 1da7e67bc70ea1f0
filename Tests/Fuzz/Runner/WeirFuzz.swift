import Glibc

@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ argumentCount: UnsafeMutablePointer<Int32>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ check: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

/// The target of this process: the environment's `WEIR_FUZZ_TARGET`, since the arguments are libFuzzer's.
private let target = getenv("WEIR_FUZZ_TARGET").flatMap { FuzzTarget(rawValue: String(cString: $0)) }

/// Feeds one target with what libFuzzer thinks of, until its arguments say stop or a property breaks.
@main
enum WeirFuzz {
    static func main() {
        guard target != nil else {
            // `Tests/Fuzz/run` reads this list.
            for target in FuzzTarget.allCases { print(target.rawValue, target.bytesMax) }
            return
        }
        var count = CommandLine.argc
        // libFuzzer's type for argv has no optional in it; it reads `count` of them.
        var arguments = UnsafeMutableRawPointer(CommandLine.unsafeArgv)
            .assumingMemoryBound(to: UnsafeMutablePointer<CChar>?.self)
        let status = runFuzzer(&count, &arguments) { start, count in
            WeirFuzz.check(Array(UnsafeBufferPointer(start: start, count: count)))
            return 0
        }
        exit(status)
    }

    private static func check(_ bytes: [UInt8]) {
        do throws(BrokenProperty) {
            try target?.check(bytes)
        } catch {
            let message = Array("\nbroken property: \(error)\n".utf8)
            _ = write(STDERR_FILENO, message, message.count)
            // libFuzzer then keeps the input.
            abort()
        }
    }
}
