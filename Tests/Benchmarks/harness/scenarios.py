"""What is asked of a gateway, and what it costs."""
import json
import os
import subprocess
import threading
import time

from harness import processes


class Load:
    """One run of the load generator, with the gateway's CPU time over it."""

    def __init__(self, bench, gateway, **options):
        command = [os.path.join(bench.folder, "load"), "--port", str(gateway.port), "--authorization", bench.tokens]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        before = processes.cpu_microseconds(gateway.process.pid)
        done = subprocess.run(command, capture_output=True, text=True, timeout=180,
                              preexec_fn=lambda: os.sched_setaffinity(0, {processes.LOAD_CPU}))
        self.cpu = processes.cpu_microseconds(gateway.process.pid) - before
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        self.result = json.loads(done.stdout)
        if self.result["failed"] or not self.result["answered"]:
            raise RuntimeError(f"{gateway.name}: {self.result['failed']} requests failed: {self.result}")

    @property
    def cpu_per_request(self):
        return self.cpu / self.result["answered"]

    @property
    def cpu_per_event(self):
        return self.cpu / self.result["events"]


def small(bench, gateway):
    Load(bench, gateway, connections=64, seconds=0.5)
    load = Load(bench, gateway, connections=64, seconds=bench.seconds)
    return load.cpu_per_request, load.result["answered"] / load.result["seconds"]


def start(bench, gateway):
    """From the start of the process to its third answer."""
    return {"start to ready ms": gateway.ready_ms}


def s1(bench, gateway):
    cpu, rate = small(bench, gateway)
    return {"S1 CPU µs/request": cpu, "S1 requests/s": rate}


def s2(bench, gateway):
    bench.replicas.shape(100, 0)
    Load(bench, gateway, connections=32, seconds=0.5, stream=True, events=100)
    load = Load(bench, gateway, connections=32, seconds=bench.seconds, stream=True, events=100)
    return {"S2 CPU µs/event": load.cpu_per_event}


def s3(bench, gateway):
    bench.replicas.shape(50, 20_000)
    load = Load(bench, gateway, connections=1000, requests=3000, stream=True, events=50, ramp_ms=1000)
    return {"S3 CPU µs/event": load.cpu_per_event, "S3 event delay p50 µs": load.result["delay_p50_us"],
            "S3 event delay p99 µs": load.result["delay_p99_us"]}


def s4(bench, gateway):
    cpu, rate = small(bench, gateway)
    return {"S4 CPU µs/request": cpu, "S4 requests/s": rate}


def s5(bench, gateway):
    Load(bench, gateway, connections=8, seconds=0.5, body=bench.large_body)
    load = Load(bench, gateway, connections=8, seconds=bench.seconds, body=bench.large_body)
    return {"S5 CPU µs/request": load.cpu_per_request}


def memory(bench, gateway):
    bench.replicas.shape(16, 250_000)
    Load(bench, gateway, connections=4, requests=8)
    idle = processes.resident_kib(gateway.process.pid)
    peak, is_over = idle, threading.Event()

    def watch():
        nonlocal peak
        while not is_over.wait(0.1):
            peak = max(peak, processes.resident_kib(gateway.process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        Load(bench, gateway, connections=2000, requests=2000, stream=True, events=16, ramp_ms=1000)
    finally:
        is_over.set()
        watcher.join()
        time.sleep(0.2)
    return {"memory idle MiB": idle / 1024, "memory KiB/stream": (peak - idle) / 2000}


# In the order of a round; those of the whole job, and those that want a fresh process.
ALL = {"s1": s1, "s2": s2, "s3": s3, "s5": s5, "s4": s4, "memory": memory,
       "start": start}
JOB = {"s4"}
FRESH = {"memory", "start"}
