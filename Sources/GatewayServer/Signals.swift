import GatewayCore
import Glibc

/// Signals as things to wait for: blocked in all threads, taken by the first one.
enum Signals {
    private static func handled() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2] { sigaddset(&set, signal) }
        return set
    }

    /// Call before any thread is started.
    static func prepare() {
        var set = handled()
        pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
    }

    /// The next signal.
    static func wait() -> Int32 {
        var set = handled()
        var signal: Int32 = 0
        while sigwait(&set, &signal) != 0 {}
        return signal
    }

    /// The next signal within `interval`; nil when none came.
    static func next(within interval: Interval) -> Int32? {
        var set = handled()
        var time = Self.time(interval)
        let signal = sigtimedwait(&set, nil, &time)
        return signal > 0 ? signal : nil
    }

    /// Waits for `interval`. - Returns: whether a signal to end came meanwhile.
    static func wait(atMost interval: Interval) -> Bool {
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGTERM)
        sigaddset(&set, SIGINT)
        var time = Self.time(interval)
        return sigtimedwait(&set, nil, &time) > 0
    }

    private static func time(_ interval: Interval) -> timespec {
        timespec(tv_sec: Int(interval.nanoseconds / 1_000_000_000), tv_nsec: Int(interval.nanoseconds % 1_000_000_000))
    }
}
