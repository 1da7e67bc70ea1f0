#if Engine
import CLinux
import CLlama
import Glibc
import Synchronization

/// llama.cpp with one model, on a thread of its own.
///
///     let engine = LlamaEngine(settings) { state in … }
///     let id = try engine.submit(request) { event in … }
///     engine.cancel(id)
///     engine.stop()
///
/// Both closures are called on the engine's thread and must return soon: no answer goes on meanwhile.
///
/// Owns: the thread, which owns everything of llama.cpp from loading to freeing; it ends with ``stop()``, which has to
/// be called before the last reference goes.
/// Isolation: any thread; the mailbox's lock is held for a few assignments.
package final class LlamaEngine: Sendable {
    private struct Mailbox {
        var state = EngineState.loading
        var submitted: [Job] = []
        var cancelled: [GenerationID] = []
        var isStopping = false
        /// As of the engine's last step.
        var running = 0
        var waiting = 0
        var nextID: UInt64 = 1
        var thread: pthread_t?
    }

    private let settings: EngineSettings
    private let mailbox = Mutex(Mailbox())
    /// An eventfd that wakes the thread where it sleeps because it has nothing to do.
    private let wake: Int32
    private let onState: @Sendable (EngineState) -> Void
    /// What llama.cpp looks at in the middle of a batch, which takes seconds with a large model.
    private let isAborting = Atomic(false)

    /// Starts to load; ``state`` and `onState` say when that is done.
    ///
    /// - Precondition: `settings.slots` is 1 to 64, the other numbers are positive.
    package init(_ settings: EngineSettings, onState: @escaping @Sendable (EngineState) -> Void = { _ in }) {
        precondition((1...64).contains(settings.slots) && settings.contextTokens > 0 && settings.waitingMax > 0)
        self.settings = settings
        self.onState = onState
        wake = eventfd(0, Int32(EFD_CLOEXEC))
        precondition(wake >= 0, "no file descriptor left for the engine")
        startThread()
    }

    deinit { close(wake) }

    package var state: EngineState { mailbox.withLock { $0.state } }

    /// Requests that are being answered, and requests that wait for a slot.
    package var load: (running: Int, waiting: Int) {
        mailbox.withLock { ($0.running, $0.waiting + $0.submitted.count) }
    }

    /// Queues a request; its events go to `report`.
    ///
    /// - Throws: ``EngineRefusal``; `report` is not called then.
    package func submit(
        _ request: GenerationRequest, report: @escaping @Sendable (GenerationEvent) -> Void
    ) throws(EngineRefusal) -> GenerationID {
        let id = try mailbox.withLock { (box: inout sending Mailbox) throws(EngineRefusal) -> GenerationID in
            guard !box.isStopping else { throw .stopped }
            switch box.state {
            case .loading: throw .loading
            case .failed, .stopped: throw .stopped
            case .ready: break
            }
            let free = settings.slots - box.running
            guard box.waiting + box.submitted.count < settings.waitingMax + free else { throw .queueFull }
            let id = GenerationID(number: box.nextID)
            box.nextID += 1
            box.submitted.append(Job(id: id, request: request, report: report))
            return id
        }
        wakeThread()
        return id
    }

    /// Forgets a request before its next token. An event that is under way may still be reported.
    package func cancel(_ id: GenerationID) {
        mailbox.withLock { $0.cancelled.append(id) }
        wakeThread()
    }

    /// Fails what is running with `.stopped`, frees the model and waits until that is done. Idempotent.
    ///
    /// Never called from `report` or `onState`: the engine's thread can't wait for itself.
    package func stop() {
        let thread = mailbox.withLock { box -> pthread_t? in
            box.isStopping = true
            isAborting.store(true, ordering: .relaxed)
            defer { box.thread = nil }
            return box.thread
        }
        guard let thread else { return }
        wakeThread()
        pthread_join(thread, nil)
    }

    private func wakeThread() {
        var one: UInt64 = 1
        _ = write(wake, &one, 8)
    }
}

// The thread.
extension LlamaEngine {
    private func startThread() {
        let retained = Unmanaged.passRetained(self).toOpaque()
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                // `startThread` passed exactly this, retained for us.
                Unmanaged<LlamaEngine>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, retained)
        precondition(code == 0, "no thread left for the engine")
        mailbox.withLock { $0.thread = thread }
    }

    private func run() {
        _ = pthread_setname_np(pthread_self(), "engine")
        LlamaLog.install(isVerbose: settings.isVerbose)
        llama_backend_init()
        do throws(ModelLoadFailure) {
            let model = try LlamaModel(settings)
            let scheduler = try BatchScheduler(
                model, settings,
                abort: { data in
                    // `run` passed the engine, which lives as long as this thread.
                    Unmanaged<LlamaEngine>.fromOpaque(data!).takeUnretainedValue().isAborting.load(ordering: .relaxed)
                }, abortData: Unmanaged.passUnretained(self).toOpaque())
            scheduler.warmUp()
            enter(.ready(model.facts))
            serve(scheduler)
            enter(.stopped)
        } catch {
            enter(.failed(error.message))
        }
    }

    private func enter(_ state: EngineState) {
        mailbox.withLock { $0.state = state }
        onState(state)
    }

    /// Steps while there is work and sleeps while there is none, until stopped.
    private func serve(_ scheduler: BatchScheduler) {
        while true {
            let (submitted, cancelled, isStopping) = mailbox.withLock { box in
                let mail = (box.submitted, box.cancelled, box.isStopping)
                box.running = scheduler.running
                box.waiting = scheduler.waitingCount + mail.0.count
                box.submitted = []
                box.cancelled = []
                return mail
            }
            for job in submitted { scheduler.add(job) }
            for id in cancelled { scheduler.cancel(id) }
            if isStopping {
                scheduler.failAll(.stopped)
                return
            }
            if !scheduler.isIdle {
                scheduler.runStep()
                continue
            }
            mailbox.withLock {
                $0.running = 0
                $0.waiting = 0
            }
            var count: UInt64 = 0
            // Returns at once if something was put into the mailbox since it was emptied.
            _ = read(wake, &count, 8)
        }
    }
}

/// llama.cpp's messages, of which there is one sink in a process: errors go to standard error, the rest nowhere.
enum LlamaLog {
    static func install(isVerbose: Bool) {
        if isVerbose {
            llama_log_set({ _, text, _ in LlamaLog.write(text) }, nil)
        } else {
            llama_log_set({ level, text, _ in if level == GGML_LOG_LEVEL_ERROR { LlamaLog.write(text) } }, nil)
        }
    }

    private static func write(_ text: UnsafePointer<CChar>?) {
        guard let text else { return }
        _ = Glibc.write(STDERR_FILENO, text, strlen(text))
    }
}
#endif
