"""llama.cpp's own HTTP server, which nobody of Weir wrote: a real third-party replica that is up in half a second.

The wheel `xllamacpp` carries the server; this starts it in a process of its own, which can be killed:

    python -m harness.llama_server MODEL PORT     prints its address on the first line; ends when its input does
"""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from .gateway import clean_environment
from .ports import HeldPort
from .waiting import PATIENCE, eventually

#: Requests that it works on at once; each has its share of the context.
SLOTS = 4
CONTEXT = 4096


class LlamaServer:
    """One server process over the model file `model`."""

    def __init__(self, name, model):
        self.name = name
        self.model = model
        self._held = HeldPort()
        self.port = self._held.number
        self.process = None
        self.start()

    def start(self):
        """Starts it, on the same port as before, and waits until it is healthy."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.llama_server", self.model, str(self.port)],
            cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=clean_environment())
        self.url = self.process.stdout.readline().strip()
        assert self.url == f"http://127.0.0.1:{self.port}", f"llama.cpp's server says {self.url!r}"
        eventually(self.is_healthy, f"{self.name} is healthy")

    def is_healthy(self):
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=PATIENCE) as reply:
                return reply.status == 200
        except OSError:
            return False

    def gauge(self, name):
        """One sample of its own metrics page."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=PATIENCE) as reply:
            page = reply.read().decode()
        return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(f"llamacpp:{name} "))

    def freeze(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self):
        """Ends it as the kernel ends a process that has no memory left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()

    def stop(self):
        """Ends it for good."""
        self.kill()
        self._held.release()


def main():
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.model_alias = {"tiny"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(sys.argv[2])
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = SLOTS
    # With a shared cache the same prompt is not always answered with the same text.
    parameters.kv_unified = False
    parameters.cache_prompt = False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.endpoint_metrics = True
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
