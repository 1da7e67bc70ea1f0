import ArgumentParser
import Glibc

/// `--listen`: an IPv4 address and a port.
struct ListenAddress: ExpressibleByArgument, CustomStringConvertible {
    let host: String
    let port: UInt16
    private let address: in_addr

    init?(argument: String) {
        guard let colon = argument.lastIndex(of: ":"), let port = UInt16(argument[argument.index(after: colon)...])
        else { return nil }
        let host = String(argument[..<colon]) == "localhost" ? "127.0.0.1" : String(argument[..<colon])
        var address = in_addr()
        guard inet_pton(AF_INET, host, &address) == 1 else { return nil }
        self.init(host: host, port: port, address: address)
    }

    private init(host: String, port: UInt16, address: in_addr) {
        self.host = host
        self.port = port
        self.address = address
    }

    static var usual: ListenAddress {
        ListenAddress(host: "127.0.0.1", port: 8080, address: in_addr(s_addr: UInt32(0x7F00_0001).bigEndian))
    }

    var description: String { "\(host):\(port)" }
    var defaultValueDescription: String { description }

    /// Where a client of this machine finds it.
    var url: String { "http://\(host == "0.0.0.0" ? "127.0.0.1" : host):\(port)" }

    /// The same with a port that is free now, where the kernel was to choose it.
    ///
    /// - Throws: `.problem` when somebody listens there already or the address is not this machine's.
    func checked() throws(CommandFailure) -> ListenAddress {
        if port == 0 {
            return ListenAddress(host: host, port: try UpPorts.any(), address: address)
        }
        guard UpPorts.isFree(port, address: address) else {
            let reason = errno == EADDRINUSE ? "it is taken" : String(cString: strerror(errno))
            throw CommandFailure(
                .problem, "can't listen on \(self): \(reason); name another address with --listen 127.0.0.1:PORT")
        }
        return self
    }
}
