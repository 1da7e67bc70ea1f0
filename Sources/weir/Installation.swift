import Glibc

/// Where the other files of this installation are, seen from the running executable.
///
/// In a build folder everything lies beside `weir`; an installed one has `bin/weir`, `lib/weir/weir-replica` and
/// `share/weir/`.
struct Installation {
    /// The running executable.
    let program: String

    private var folder: String { Self.parent(of: program) }

    /// Source: proc(5), `/proc/pid/exe`.
    static var current: Installation {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        guard count > 0 else { return Installation(program: CommandLine.arguments.first ?? "weir") }
        return Installation(program: String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    /// - Throws: `.unavailable` with the places that were searched.
    func replicaProgram() throws(CommandFailure) -> String {
        let places = ["weir-replica", "../lib/weir/weir-replica", "../libexec/weir/weir-replica"]
            .map { "\(folder)/\($0)" }
        if let found = places.first(where: { access($0, X_OK) == 0 }) { return found }
        throw CommandFailure(
            .unavailable,
            "weir-replica is not installed: searched \(places.joined(separator: ", ")). `make build` makes it.")
    }

    /// The model that comes with Weir: installed, or in the checkout that the executable was built in.
    func tinyModel() throws(CommandFailure) -> String {
        let file = "weir-tiny.gguf"
        var places = ["\(folder)/../share/weir/\(file)"]
        // A build folder is a few levels inside its checkout: .build/x86_64-unknown-linux-gnu/release.
        var above = folder
        for _ in 0..<6 where above != "/" {
            above = Self.parent(of: above)
            places.append("\(above == "/" ? "" : above)/Models/tiny/\(file)")
        }
        if let found = places.first(where: { access($0, R_OK) == 0 }) { return Self.canonical(found) }
        throw CommandFailure(
            .problem, "the tiny model \(file) is not beside \(program); name a GGUF file with --model FILE")
    }

    /// The first `name` in the search path, as a shell would find it.
    static func programInPath(_ name: String, path: String?) -> String? {
        let folders = (path ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":") + ["/usr/sbin", "/usr/bin"]
        return folders.lazy.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    /// Without symbolic links and dots; as it is if that can't be found out.
    static func canonical(_ path: String) -> String {
        guard let resolved = realpath(path, nil) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
