"""The gateways that are compared, and the replicas behind them."""
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import socket
import time

from harness import processes

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEERS = os.path.join(HERE, "peers")
SECRET = "an example secret of 32 bytes..."
SMALL = json.dumps({"model": "bench-model", "messages": [{"role": "user", "content": "hi"}]})


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(subject, expires, secret=SECRET):
    header = base64url(b'{"alg":"HS256","typ":"JWT","kid":"k1"}')
    claims = base64url(json.dumps({"iss": "bench", "aud": "bench", "sub": subject, "exp": expires}).encode())
    signature = hmac.new(secret.encode(), f"{header}.{claims}".encode(), hashlib.sha256).digest()
    return f"{header}.{claims}.{base64url(signature)}"


def post(port, authorization):
    """The status of a small request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", SMALL,
                           {"Content-Type": "application/json", "Authorization": authorization})
        reply = connection.getresponse()
        reply.read()
        return reply.status
    finally:
        connection.close()


def free_port():
    """A port that is free now, and so is the one behind it."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + 1))
                return port


class Replicas:
    """Three imitated replicas on the load's CPU."""

    def __init__(self, folder):
        self.ports = [free_port() for _ in range(3)]
        self.processes = [
            processes.start([os.path.join(folder, "replica"), str(port)], processes.LOAD_CPU,
                            os.path.join(folder, "replicas.log"))
            for port in self.ports]
        for port in self.ports:
            wait_until(lambda port=port: self._get(port, "/health"), "a replica")

    @staticmethod
    def _get(port, path):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def shape(self, events, gap_us):
        """What streams look like from now on."""
        for port in self.ports:
            self._get(port, f"/shape?events={events}&gap_us={gap_us}")

    def stop(self):
        for process in self.processes:
            processes.stop(process)


def wait_until(is_ready, what, seconds=30, pause=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if is_ready():
                return
        time.sleep(pause)
    raise RuntimeError(f"{what} is not ready after {seconds} s")


class Gateway:
    """One gateway, run fresh for every round. `does_job`: tokens and limits are on."""

    name = ""
    always_does_job = False

    def __init__(self, folder, replicas, authorization):
        self.folder, self.replicas, self.authorization = folder, replicas, authorization
        self.process, self.ready_ms = None, None

    def start(self, does_job):
        self.port = free_port()
        log = os.path.join(self.folder, f"{self.name}.log")
        command = self.command(does_job)
        begin = time.monotonic()
        self.process = processes.start(command, processes.GATEWAY_CPU, log, TMPDIR=self.folder, **self.environment())

        def answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see {log}")
            return all(post(self.port, self.authorization) == 200 for _ in range(3))

        wait_until(answers, self.name, pause=0.002)
        self.ready_ms = (time.monotonic() - begin) * 1000
        if does_job or self.always_does_job:
            forged = "Bearer " + token("key-000", int(time.time()) + 600, "another secret, also of 32 bytes")
            if (status := post(self.port, forged)) != 401:
                raise RuntimeError(f"{self.name} answers {status} to a forged token")

    def stop(self):
        if self.process:
            processes.stop(self.process)
        self.process = None

    def environment(self):
        return {}

    def fill(self, template, **values):
        """The path of a configuration made of the template in `peers`."""
        with open(os.path.join(PEERS, template)) as file:
            text = file.read()
        values |= {"PORT": self.port, "SECRET": SECRET, "FOLDER": self.folder, "PEERS": PEERS}
        values |= {f"REPLICA{index + 1}": port for index, port in enumerate(self.replicas.ports)}
        # Twice: parts that are filled in have names to fill in themselves.
        for name, value in list(values.items()) * 2:
            text = text.replace(f"@{name}@", str(value))
        path = os.path.join(self.folder, template)
        with open(path, "w") as file:
            file.write(text)
        return path

    @staticmethod
    def part(name, is_wanted):
        if not is_wanted:
            return ""
        with open(os.path.join(PEERS, name)) as file:
            return file.read().rstrip()


class HAProxy(Gateway):
    name = "haproxy"

    def command(self, does_job):
        config = self.fill("haproxy.cfg", JOB=self.part("haproxy-job.cfg", does_job),
                           TABLE=self.part("haproxy-table.cfg", does_job))
        return ["haproxy", "-db", "-f", config]


class Nginx(Gateway):
    name = "nginx"
    modules = "/usr/lib/nginx/modules"

    def command(self, does_job):
        modules = "".join(f"load_module {self.modules}/{name}.so;\n"
                          for name in ("ndk_http_module", "ngx_http_lua_module")) if does_job else ""
        config = self.fill("nginx.conf", MODULES=modules, USER="user root;" if os.geteuid() == 0 else "",
                           JOB_HTTP=self.part("nginx-job-http.conf", does_job),
                           JOB_LOCATION=self.part("nginx-job-location.conf", does_job))
        return ["nginx", "-p", self.folder, "-c", config, "-e", "stderr"]


class Weir(Gateway):
    """Does its whole job in every scenario; there is no other way to run it."""

    name = "weir"
    always_does_job = True
    executable = os.path.join(HERE, "../../.build/release/weir")

    def command(self, does_job):
        return [os.path.join(HERE, "start-weir"), str(self.port), *map(str, self.replicas.ports), SECRET]

    def environment(self):
        return {"WEIR_BIN": os.path.abspath(self.executable)}
