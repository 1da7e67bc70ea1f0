"""A real redis-server on a Unix socket."""

import shutil
import socket
import subprocess
from pathlib import Path

from .waiting import eventually


class Redis:
    """A redis-server without persistence in `directory`; ended by its process id."""

    def __init__(self, directory):
        self.program = shutil.which("redis-server")
        assert self.program, "redis-server is not installed"
        self.directory = Path(directory)
        self.path = str(self.directory / "redis.sock")
        self.process = None
        self.start()

    @property
    def address(self):
        return f"unix:{self.path}"

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no",
             "--dir", str(self.directory), "--daemonize", "no"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, "redis-server answers PING")

    def _answers(self):
        try:
            return self.command("PING") == "PONG"
        except OSError:
            return False

    def command(self, *words):
        """Runs one command on a connection of its own."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.path)
            parts = [str(word).encode() for word in words]
            connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts))
            with connection.makefile("rb") as replies:
                return self._read(replies)

    def _read(self, replies):
        line = replies.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:].decode()
        if kind == b"+":
            return rest
        if kind == b"-":
            raise AssertionError(f"Redis says {rest}")
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else replies.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return None if rest == "-1" else [self._read(replies) for _ in range(int(rest))]
        raise AssertionError(f"no RESP2: {line!r}")

    def keys(self, pattern="*"):
        return sorted(self.command("KEYS", pattern))

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    stop = kill
