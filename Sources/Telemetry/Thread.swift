import GatewayCore
import Glibc

/// A thread without a loop.
enum Thread {
    private final class Work {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Runs `work` on a thread of its own with all signals blocked: they belong to the main thread.
    static func detach(_ work: @escaping @Sendable () -> Void) {
        var everything = sigset_t()
        var before = sigset_t()
        sigfillset(&everything)
        pthread_sigmask(SIG_SETMASK, &everything, &before)
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(Work(work)).toOpaque()
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, argument)
        precondition(result == 0, "no thread left for the log writer")
        pthread_detach(thread)
        pthread_sigmask(SIG_SETMASK, &before, nil)
    }
}

extension WallTime {
    /// What the system's clock says now.
    package static var now: WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(nanosecondsSinceEpoch: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}
