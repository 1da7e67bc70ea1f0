import Foundation
import Glibc

/// How files are read; tests give their own.
struct ConfigFiles {
    /// The whole file, or why there is none. More than `limit` bytes are refused.
    let read: (_ path: String, _ limit: Int) -> Result<[UInt8], BadValue>

    static var real: ConfigFiles {
        ConfigFiles { path, limit in
            let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
            guard descriptor >= 0 else { return .failure(BadValue(String(cString: strerror(errno)))) }
            defer { close(descriptor) }
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 64 << 10)
            while bytes.count <= limit {
                let count = Glibc.read(descriptor, &buffer, buffer.count)
                if count < 0 && errno == EINTR { continue }
                guard count >= 0 else { return .failure(BadValue(String(cString: strerror(errno)))) }
                if count == 0 { return .success(bytes) }
                bytes += buffer[..<count]
            }
            return .failure(BadValue("larger than \(SettingFormat.size.print(limit))"))
        }
    }
}

/// Reads what keys ending in `File` and `Env` name.
struct SecretReader {
    static let secretBytesMax = 64 << 10
    static let fileBytesMax = 4 << 20

    let files: ConfigFiles
    let environment: [String: String]
    private(set) var problems: [ConfigProblem] = []
    /// Variables that hold a secret, which makes them known.
    private(set) var variables: Set<String> = []

    init(files: ConfigFiles, environment: [String: String]) {
        self.files = files
        self.environment = environment
    }

    mutating func report(_ path: SettingPath, _ message: String) { problems.append(path, message) }

    /// The secret of the file or the variable, whichever is named; `nil` if neither is, or after a problem is noted.
    /// One line end after it is not part of it.
    mutating func secret(
        file: String?, _ filePath: SettingPath, variable: String?, _ variablePath: SettingPath
    ) -> Secret? {
        if let file {
            guard var bytes = read(file, filePath, limit: Self.secretBytesMax) else { return nil }
            if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
            if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
            if bytes.isEmpty { problems.append(filePath, "the file \(file) is empty") }
            return bytes.isEmpty ? nil : Secret(bytes: bytes)
        }
        if let variable {
            variables.insert(variable)
            guard let value = environment[variable], !value.isEmpty else {
                // Its name is not repeated: it may be a secret that was put there by mistake.
                problems.append(variablePath, "the variable that it names is not set")
                return nil
            }
            return Secret(value)
        }
        return nil
    }

    /// Notes a problem unless the file can be read.
    mutating func check(file: String?, _ path: SettingPath) {
        if let file, !file.isEmpty { _ = read(file, path, limit: Self.fileBytesMax) }
    }

    private mutating func read(_ file: String, _ path: SettingPath, limit: Int) -> [UInt8]? {
        switch files.read(file, limit) {
        case .success(let bytes): return bytes
        case .failure(let problem):
            problems.append(path, "the file \(file) can't be read: \(problem.expectation)")
            return nil
        }
    }
}
