"""The real `weir serve`, started with a configuration of the test's own and ended by its process id."""

import copy
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import jwt

from .client import Connection
from .waiting import PATIENCE, eventually

ROOT = Path(__file__).resolve().parents[3]

#: Two well-formed API keys, and what HS256 tokens are signed with.
KEY = "sk-weir-" + "A" * 42 + "A"
OTHER_KEY = "sk-weir-" + "B" * 42 + "A"
SECRET = "a secret for tests only, of more than 32 bytes"
ISSUER = "https://issuer.test"
AUDIENCE = "weir-tests"


def weir_bin():
    """The executable under test: WEIR_BIN, else the debug build."""
    found = Path(os.environ.get("WEIR_BIN") or ROOT / ".build/debug/weir").resolve()
    assert found.exists(), f"{found} is missing: build it, or name it in WEIR_BIN"
    return found


def clean_environment(**extra):
    """This process's environment without WEIR_ variables, which are settings to the gateway."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    return {**kept, **extra}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def token(subject="ada", **changes):
    """A signed HS256 token; a claim given as None is left out."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": int(time.time()) + 600, **changes}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, SECRET, "HS256")


def merged(base, changes):
    """`base` with `changes` laid over it, sections merged and everything else replaced."""
    result = copy.deepcopy(base)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        else:
            result[name] = value
    return result


def replica_settings(replica, **changes):
    return {"name": replica.name, "url": replica.url, "kind": "vllm", **changes}


def settings(replicas, directory, pool=None, **changes):
    """A whole configuration: the defaults of these tests, `pool` laid over the pool and `changes` over everything."""
    replicas = [r if isinstance(r, dict) else replica_settings(r) for r in replicas]
    base = {
        "listen": {"address": "127.0.0.1:0", "loops": 2},
        "admin": {"address": "off"},
        "state": {"directory": str(directory)},
        "identity": {
            "apiKeys": [
                {"id": "team-a", "sha256": sha256(KEY)},
                {"id": "team-b", "sha256": sha256(OTHER_KEY)},
            ],
            "jwt": [{
                "issuer": ISSUER, "audiences": [AUDIENCE],
                "keys": [{"algorithm": "HS256", "secret": SECRET}],
            }],
        },
        "rateLimit": {"requests": 1_000_000},
        "pools": [merged({
            "name": "main", "models": ["tiny"], "replicas": replicas,
            # A deep probe is a request to whoever counts them: no idle minute of a shared gateway may bring one.
            "probe": {
                "interval": "1s", "timeout": "1s", "fall": 3, "rise": 1, "ramp": "0s", "warmUp": False,
                "deepInterval": "1h",
            },
            "retry": {"budgetPerSecond": 1000},
        }, pool or {})],
    }
    return merged(base, changes)


class Gateway:
    """A running gateway. `Gateway.start(...)` returns once it can serve."""

    #: Those that were launched and not yet stopped, oldest first.
    running = []

    def __init__(self, configuration, environment=None, directory=None, names=None):
        self.directory = Path(directory or tempfile.mkdtemp(prefix="weir-"))
        self.file = self.directory / "weir.yaml"
        self.configure(configuration)
        self.log_file = self.directory / "access.log"
        self.events = []
        self.process = None
        self.address = None
        self._environment = clean_environment(**(environment or {}))
        self._names = names

    @classmethod
    def start(cls, replicas, pool=None, ready=True, environment=None, names=None, **changes):
        directory = tempfile.mkdtemp(prefix="weir-")
        gateway = cls(settings(replicas, directory, pool, **changes), environment, directory, names)
        try:
            gateway.launch(ready)
        except BaseException as problem:
            problem.add_note(gateway.last_words())
            gateway.kill()
            raise
        return gateway

    def configure(self, configuration):
        """Writes the file: text as it is, a mapping as JSON, which is YAML."""
        text = configuration if isinstance(configuration, str) else json.dumps(configuration, indent=1)
        self.file.write_text(text)
        self.settings = configuration

    def launch(self, ready=True):
        before = self._names.command if self._names else []
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*before, weir_bin(), "serve", "--config", self.file], stdout=log, stderr=subprocess.PIPE, text=True,
                env=self._environment, start_new_session=True)
        self._reader = threading.Thread(target=self._read_events, args=[self.process.stderr], daemon=True)
        self._reader.start()
        Gateway.running.append(self)
        started = eventually(lambda: self.event("started") or self._ended(), "the gateway says that it listens")
        host, _, port = started["address"].rpartition(":")
        self.address = (host, int(port))
        if ready:
            eventually(self.is_ready, "/readyz answers 200")

    def _ended(self):
        if self.process.poll() is not None:
            self._reader.join(5)
            raise AssertionError(f"the gateway ended with {self.process.returncode}: {self.events} {self.log_text()}")

    def _read_events(self, pipe):
        with pipe:
            for line in pipe:
                try:
                    self.events.append(json.loads(line))
                except ValueError:
                    self.events.append({"event": None, "message": line.rstrip("\n")})

    # What it says.

    def event(self, name):
        """The last event of that name."""
        return next((event for event in reversed(self.events) if event["event"] == name), None)

    def log_text(self):
        return self.log_file.read_text()

    def access_lines(self):
        """The access log's whole lines, each parsed."""
        return [json.loads(line) for line in self.log_text().split("\n")[:-1]]

    def access_line(self, request_id):
        """The line of one request, waited for."""
        return eventually(
            lambda: next((line for line in self.access_lines() if line["id"] == request_id), None),
            f"an access line for {request_id}")

    # How to reach it.

    @property
    def url(self):
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def admin_socket(self):
        return str(self.directory / "admin.sock")

    def connect(self, timeout=PATIENCE, receive_buffer=None):
        peer = socket.socket()
        peer.settimeout(timeout)
        if receive_buffer:
            # Before the connection is made, or its window is larger.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.connect(self.address)
        return Connection(peer)

    def request(self, method, path, body=None, fields=(), key=KEY):
        """One request on a connection of its own."""
        with self.connect() as connection:
            return connection.request(method, path, body, fields, key)

    def chat(self, *messages, key=KEY, fields=(), **members):
        """One chat completion: texts are user messages."""
        return self.request("POST", "/v1/chat/completions", chat_body(*messages, **members), fields, key)

    def admin(self, method, path, body=None):
        """One request to the admin API on its Unix socket."""
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(PATIENCE)
        peer.connect(self.admin_socket)
        with Connection(peer) as connection:
            return connection.request(method, path, body, key=None)

    def metrics(self):
        """Every sample of the metrics page: text before the value -> value."""
        page = self.admin("GET", "/metrics").text
        samples = (line.rsplit(" ", 1) for line in page.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def told(self):
        """What it has counted of its replicas, and its events: for the message of an assertion about counts."""
        counted = {
            name: value for name, value in self.metrics().items()
            if value and name.startswith(("weir_replica_requests", "weir_retries", "weir_resumes", "weir_replica_up"))}
        events = [(event.get("time"), event["event"], event.get("message")) for event in self.events]
        return "\n".join(map(str, [*counted.items(), *events]))

    def last_words(self, count=20):
        """Its last events, and the last lines of its access log."""
        events = [json.dumps(event) for event in self.events[-count:]]
        return "\n".join([*events, "", *self.log_text().splitlines()[-count:]])

    def replicas(self):
        """What the admin API says of each replica, by name."""
        return {replica["name"]: replica for replica in self.admin("GET", "/admin/v1/replicas").json["replicas"]}

    def is_ready(self):
        self._ended()
        try:
            return self.request("GET", "/readyz", key=None).status == 200
        except OSError:
            return False

    def wait_for(self, serving):
        """Waits until exactly the replicas named in `serving` serve."""
        eventually(
            lambda: {name for name, replica in self.replicas().items() if replica["serving"]} == set(serving),
            f"{sorted(serving)} serve")

    # How it ends.

    def signal(self, number):
        os.kill(self.process.pid, number)

    def end(self, seconds=PATIENCE):
        """Waits for the process and returns its exit status."""
        status = self.process.wait(seconds)
        self._reader.join(5)
        return status

    def stop(self):
        """Asks it to end, and makes sure that it did so well."""
        if self.process is None or self.process.returncode is not None:
            self.kill()
            return
        try:
            self.signal(signal.SIGTERM)
            how = f"ended with {status}" if (status := self.end()) else None
        except subprocess.TimeoutExpired:
            how = f"does not end within {PATIENCE} s"
        words = self.last_words()
        self.kill()
        assert how is None, f"the gateway {how}:\n{words}"

    def kill(self):
        """Ends it at once, if it still runs, and removes what it wrote."""
        Gateway.running = [other for other in Gateway.running if other is not self]
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)


def chat_body(*messages, **members):
    """A chat request's body as bytes: texts are user messages."""
    messages = [m if isinstance(m, dict) else {"role": "user", "content": m} for m in messages]
    return json.dumps({"model": "tiny", "messages": messages, **members}).encode()
