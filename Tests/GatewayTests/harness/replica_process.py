"""A scripted replica in a process of its own, which signals can end, stop and drain."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from .ports import HeldPort


class ReplicaProcess:
    """One process; `gap` is the seconds between the events of its streams."""

    def __init__(self, name, gap=0.0):
        self.name = name
        self.gap = gap
        self._held = HeldPort()
        self.port = self._held.number
        self.start()

    def start(self):
        """Starts it, on the same port as before."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.replica", self.name, str(self.port), str(self.gap)],
            cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "listening\n", f"{self.name} does not start"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def freeze(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def drain(self):
        """Asks it to end as a well-behaved engine does: it accepts nothing more, ends what runs, and is gone."""
        os.kill(self.process.pid, signal.SIGTERM)
        assert self.process.wait(20) == 0
        self._close()

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self._close()

    def _close(self):
        self.process.stdin.close()
        self.process.stdout.close()

    def stop(self):
        """Ends it for good."""
        self.kill()
        self._held.release()
