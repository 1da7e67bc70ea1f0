import CCurl
import GatewayCore
import Glibc
import Reactor
import Synchronization

/// One call of a hook: what is run or called, and what it is told.
package struct HookCall: Equatable, Sendable {
    package enum Action: Equatable, Sendable {
        /// Program and arguments; a program that ends with 0 has succeeded. Its output goes nowhere.
        case command([String])
        /// Gets a POST of JSON; an answer of 200 to 299 is success. Redirects are not followed.
        case webhook(url: String, body: [UInt8])
        /// One line to the control socket of a `weir up`, answered by `ok` or by `failed` and the reason.
        case supervisor(socket: String, line: String)
    }

    package var action: Action
    /// `NAME=value` pairs that a program finds in its environment, besides ours.
    package var variables: [String]
    package var timeout: Interval

    package init(_ action: Action, variables: [String] = [], timeout: Interval) {
        self.action = action
        self.variables = variables
        self.timeout = timeout
    }
}

/// How a hook's call ended.
package enum HookResult: Equatable, Sendable {
    /// The rest of a supervisor's `ok` line; empty otherwise.
    case ok(String)
    case failed(String)
    case timedOut
    /// Too many were waiting: it was not called.
    case dropped

    /// For metrics.
    package var label: String {
        switch self {
        case .ok: "ok"
        case .failed: "failed"
        case .timedOut: "timeout"
        case .dropped: "dropped"
        }
    }

    /// Why it failed, for people; nil when it did not.
    package var problem: String? {
        switch self {
        case .ok: nil
        case .failed(let reason): reason
        case .timedOut: "it was not done in time"
        case .dropped: "too many hooks were waiting"
        }
    }
}

/// Runs hooks on threads of their own, a bounded number at once, each for a bounded time.
///
/// - Isolation: any thread; results come on a thread of the runner.
package final class HookRunner: Sendable {
    /// Calls that may wait for their turn.
    package static let waitingMax = 64
    /// Bytes of a webhook's answer that are read.
    private static let answerBytesMax = 64 << 10

    private struct Job: Sendable {
        let call: HookCall
        let done: @Sendable (HookResult) -> Void
    }

    private struct State {
        var waiting: [Job] = []
        var running = 0
        var concurrency: Int
    }

    private let state: Mutex<State>

    package init(concurrency: Int) {
        precondition(concurrency > 0)
        state = Mutex(State(concurrency: concurrency))
    }

    /// How many may run at once from now on.
    package func setConcurrency(_ count: Int) { state.withLock { $0.concurrency = max(1, count) } }

    /// Runs `call` as soon as there is a turn, and says how it ended.
    package func run(_ call: HookCall, done: @escaping @Sendable (HookResult) -> Void) {
        enum Turn { case now, later, never }
        let job = Job(call: call, done: done)
        let turn = state.withLock { state -> Turn in
            if state.running < state.concurrency {
                state.running += 1
                return .now
            }
            guard state.waiting.count < Self.waitingMax else { return .never }
            state.waiting.append(job)
            return .later
        }
        switch turn {
        case .now: detachThread { self.work(job) }
        case .later: break
        case .never: done(.dropped)
        }
    }

    private func work(_ first: Job) {
        var job = first
        while true {
            job.done(Self.perform(job.call))
            let next = state.withLock { state -> Job? in
                if state.running <= state.concurrency, !state.waiting.isEmpty { return state.waiting.removeFirst() }
                state.running -= 1
                return nil
            }
            guard let next else { return }
            job = next
        }
    }

    // MARK: One call

    /// Blocks, at most about as long as the call's time-out.
    static func perform(_ call: HookCall) -> HookResult {
        switch call.action {
        case .command(let command): run(command, call)
        case .webhook(let url, let body): post(body, to: url, call.timeout)
        case .supervisor(let socket, let line): ask(socket, line, call.timeout)
        }
    }

    private static func run(_ command: [String], _ call: HookCall) -> HookResult {
        guard let program = command.first else { return .failed("there is no program") }
        let child: ChildProcess
        do throws(SpawnError) {
            child = try ChildProcess.start(
                ChildCommand(
                    program, Array(command.dropFirst()), environment: ourEnvironment + call.variables,
                    output: .discarded))
        } catch {
            return .failed(error.description)
        }
        switch child.waitForExit(within: call.timeout) {
        case .status(0): return .ok("")
        case let exit?: return .failed("\(program) \(exit)")
        case nil:
            child.kill()
            return .timedOut
        }
    }

    private static var ourEnvironment: [String] {
        var pairs: [String] = []
        var next = environ
        while let entry = next.pointee {
            pairs.append(String(cString: entry))
            next += 1
        }
        return pairs
    }

    private static func ask(_ socket: String, _ line: String, _ timeout: Interval) -> HookResult {
        do throws(SocketError) {
            let channel = try UnixChannel.connect(to: socket, timeout: timeout)
            defer { channel.close() }
            try channel.send(line: line)
            guard let answer = channel.receiveLine() else { return .timedOut }
            if answer == "ok" || answer.hasPrefix("ok ") { return .ok(String(answer.dropFirst(3))) }
            return .failed(answer.hasPrefix("failed ") ? String(answer.dropFirst(7)) : answer)
        } catch {
            return .failed("the supervisor can't be asked: \(error)")
        }
    }

    private static func post(_ body: [UInt8], to url: String, _ timeout: Interval) -> HookResult {
        guard let handle = curl_easy_init() else { return .failed("libcurl could not start") }
        defer { curl_easy_cleanup(handle) }
        let headers = curl_slist_append(nil, "Content-Type: application/json")
        defer { curl_slist_free_all(headers) }
        weir_curl_set_text(handle, CURLOPT_URL, url)
        weir_curl_set_text(handle, CURLOPT_PROTOCOLS_STR, "http,https")
        weir_curl_set_text(handle, CURLOPT_USERAGENT, "weir")
        weir_curl_set_long(handle, CURLOPT_NOSIGNAL, 1)
        weir_curl_set_long(handle, CURLOPT_TIMEOUT_MS, Int(timeout.millisecondsRoundedUp))
        weir_curl_set_long(handle, CURLOPT_MAXFILESIZE, answerBytesMax)
        weir_curl_set_pointer(handle, CURLOPT_HTTPHEADER, headers)
        // The answer's body is of no interest.
        weir_curl_set_writer(handle) { _, size, count, _ in size * count }
        let code = body.withUnsafeBytes { bytes in
            weir_curl_set_long(handle, CURLOPT_POST, 1)
            weir_curl_set_long(handle, CURLOPT_POSTFIELDSIZE, bytes.count)
            // libcurl only reads from it, and only until `perform` returns.
            weir_curl_set_pointer(handle, CURLOPT_POSTFIELDS, UnsafeMutableRawPointer(mutating: bytes.baseAddress))
            return curl_easy_perform(handle)
        }
        if code == CURLE_OPERATION_TIMEDOUT { return .timedOut }
        guard code == CURLE_OK else { return .failed(String(cString: curl_easy_strerror(code))) }
        var status = 0
        weir_curl_get_long(handle, CURLINFO_RESPONSE_CODE, &status)
        return (200..<300).contains(status) ? .ok("") : .failed("it was answered with \(status)")
    }
}
