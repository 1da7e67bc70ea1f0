import Glibc

/// Turns SIGINT, SIGTERM and SIGHUP into calls, on a thread of its own, where anything may be done.
package enum StopSignals {
    /// From now on `received` is called with 1 for the first signal, 2 for the second, and so on.
    ///
    /// Call it in `main`, before any other thread starts: threads inherit that these signals are blocked. Children
    /// started by ``ChildProcess`` don't. Call it once.
    package static func watch(_ received: @escaping @Sendable (_ count: Int) -> Void) {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGINT)
        sigaddset(&signals, SIGTERM)
        sigaddset(&signals, SIGHUP)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        detachThread {
            var signals = sigset_t()
            sigemptyset(&signals)
            sigaddset(&signals, SIGINT)
            sigaddset(&signals, SIGTERM)
            sigaddset(&signals, SIGHUP)
            var count = 0
            // Ends with the process.
            while true {
                var signal: Int32 = 0
                guard sigwait(&signals, &signal) == 0 else { continue }
                count += 1
                received(count)
            }
        }
    }
}
