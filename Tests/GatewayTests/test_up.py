"""`weir up`: redis, three embedded replicas and a gateway, from one command."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

from harness.gateway import clean_environment, weir_bin
from harness.process import open_files
from harness.waiting import PATIENCE, eventually


def children(pid):
    """Process ids and command lines of a process' children, however they were started."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            state, parent = stat.rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found[int(folder.name)] = command
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Up:
    """A running `weir up`, whose lines are read as they come."""

    def __init__(self, state, *arguments):
        self.state = state
        self.lines = []
        self.process = subprocess.Popen(
            [weir_bin(), "up", "--listen", "127.0.0.1:0", "--state", str(state), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=clean_environment(), restore_signals=True, start_new_session=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, pattern, since=0):
        """The first line from `since` on that has the pattern."""
        def find():
            assert self.process.poll() is None, "\n".join(self.lines)
            return next((line for line in self.lines[since:] if re.search(pattern, line)), None)
        return eventually(find, f"a line like {pattern!r}; there are:\n" + "\n".join(self.lines))

    def greeted(self):
        self.wait_for("^Ctrl-C ends everything")
        return self

    def fact(self, name):
        return re.search(rf"^  {name} +(\S+)$", "\n".join(self.lines), re.MULTILINE).group(1)

    @property
    def curl_line(self):
        return next(line for line in self.lines if line.startswith("curl "))

    def curl(self):
        """What the printed line prints when it is pasted into a shell."""
        return subprocess.run(["bash", "-c", self.curl_line], capture_output=True, text=True, timeout=PATIENCE).stdout

    def weir(self, *arguments):
        return subprocess.run(
            [weir_bin(), *arguments, "--socket", str(self.state / "admin.sock"), "-o", "json"], capture_output=True,
            text=True, timeout=PATIENCE, env=clean_environment())

    def child(self, word):
        return next(pid for pid, command in children(self.process.pid).items() if word in command)

    def stop(self, number=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def ended(self):
        """Its exit status, once it has ended and everything it said is in `lines`."""
        status = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return status


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """One that runs for all tests of this file that leave it running."""
    started = Up(tmp_path_factory.mktemp("up"))
    yield started.greeted()
    started.stop()


def test_the_printed_line_streams_an_answer(up):
    assert f"Bearer {up.fact('API key')}" in up.curl_line and up.fact("URL") in up.curl_line
    events = [line[6:] for line in up.curl().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    text = "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1])
    assert "weir" in text.lower()


def test_three_replicas_serve_with_weights_five_three_and_one(up):
    replicas = json.loads(up.weir("replicas", "list").stdout)["replicas"]
    assert [replica["weight"] for replica in replicas] == [5, 3, 1]
    assert all(replica["serving"] for replica in replicas)


def test_only_its_owner_can_look_into_its_state(up):
    for name in (".", "admin.sock", "up.sock", "redis/redis.sock", "weir.yaml", "ports"):
        assert os.stat(up.state / name).st_mode & 0o077 == 0, name
    assert up.fact("API key") not in (up.state / "weir.yaml").read_text()


def test_nothing_of_it_is_reachable_from_other_machines_and_redis_has_no_port(up):
    ports = set()
    for pid in [*children(up.process.pid), up.process.pid]:
        owned = set(open_files(pid).values())
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in owned:
                address, port = fields[1].split(":")
                assert address == "0100007F"
                ports.add(int(port, 16))
    # The gateway, its metrics, three replicas.
    assert len(ports) == 5 and 6379 not in ports


@pytest.mark.parametrize(
    "word, name", [("weir-replica", "replica-[123]"), (" serve ", "gateway"), ("redis-server", "redis")])
def test_a_killed_process_comes_back(up, word, name):
    seen = len(up.lines)
    killed = up.child(word)
    os.kill(killed, signal.SIGKILL)
    up.wait_for(rf"{name} was ended by signal 9 .*starting it again", seen)
    up.wait_for(rf"{name} is ready", seen)
    assert up.child(word) != killed
    eventually(lambda: "data: [DONE]" in up.curl(), "the same line, with the same key, streams again")


def asked(up, stream):
    """One answer's text; raises when it is not a whole one."""
    body = {"model": up.fact("model"), "stream": stream, "temperature": 0, "max_tokens": 60, "messages": [
        {"role": "user", "content": "What is a weir?"}]}
    request = urllib.request.Request(up.fact("URL") + "/chat/completions", json.dumps(body).encode(), {
        "Content-Type": "application/json", "Authorization": f"Bearer {up.fact('API key')}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        text = reply.read().decode()
    if not stream:
        return json.loads(text)["choices"][0]["message"]["content"]
    events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", events[-2:]
    deltas = [json.loads(event)["choices"] for event in events[:-1]]
    return "".join(choices[0]["delta"].get("content") or "" for choices in deltas if choices)


def test_a_rolling_restart_under_load_fails_and_alters_nothing(up):
    expected = asked(up, False)
    assert asked(up, True) == expected and len(expected) > 20
    before = {pid for pid, command in children(up.process.pid).items() if "weir-replica" in command}
    done, failed, counts = threading.Event(), [], [0, 0, 0]

    def ask(place):
        while not done.is_set():
            try:
                answer = asked(up, stream=place > 0)
                assert answer == expected, answer
                counts[place] += 1
            except Exception as problem:
                failed.append(repr(problem))
                return

    threads = [threading.Thread(target=ask, args=[place]) for place in range(3)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: failed or min(counts) > 3, "requests run")
        result = up.weir("replicas", "restart", "--rolling")
        seen = min(counts)
        eventually(lambda: failed or min(counts) > seen + 3, "requests go on")
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    assert not failed, failed
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert [step["state"] for step in report["replicas"]] == ["done"] * 3
    after = {pid for pid, command in children(up.process.pid).items() if "weir-replica" in command}
    assert len(after) == 3 and not after & before
    replicas = json.loads(up.weir("replicas", "list").stdout)["replicas"]
    assert all(replica["serving"] and replica["intent"] == "enabled" for replica in replicas)


def test_a_replica_that_keeps_dying_is_left_alone_and_the_gateway_says_so(tmp_path):
    up = Up(tmp_path, "--replicas", "2").greeted()

    def metric():
        with urllib.request.urlopen(up.fact("metrics"), timeout=PATIENCE) as page:
            text = page.read().decode()
        return re.search(r'weir_replica_restart_cooldown{pool="main",replica="replica-1"} (\d)', text).group(1)

    try:
        for number in range(4):
            eventually(lambda: metric() == "0", "it is not left alone")
            pid = next(
                pid for pid, command in children(up.process.pid).items()
                if "weir-replica" in command and f"--port {json.loads((tmp_path / 'ports').read_text())['replicas'][0]}"
                in command)
            seen = len(up.lines)
            os.kill(pid, signal.SIGKILL)
            up.wait_for("replica-1 was ended by signal 9", seen)
            if number < 3:
                up.wait_for("replica-1 is ready", seen)
        up.wait_for("too often; leaving it alone for 60.0 s")
        eventually(lambda: metric() == "1", "the metric says so")
        assert json.loads(up.weir("status").stdout)["cooling_down"] == ["replica-1"]
        assert "data: [DONE]" in up.curl(), "the other one answers"
    finally:
        assert up.stop() == 0


def test_an_upgrade_under_supervision_is_refused(up):
    result = up.weir("upgrade")
    assert result.returncode == 1 and "runs under `weir up`" in result.stderr


def test_a_second_one_in_the_same_folder_is_refused(up):
    other = Up(up.state)
    assert other.ended() == 1
    assert f"another weir up (process {up.process.pid}) runs in {up.state}" in "\n".join(other.lines)
    assert "--state" in "\n".join(other.lines)


def test_two_that_start_at_the_same_time_take_nothing_from_each_other(tmp_path):
    pair = [Up(tmp_path / name, "--replicas", "1") for name in ("one", "two")]
    try:
        for up in pair:
            up.greeted()
        ports = [{up.fact("URL"), up.fact("metrics")} for up in pair]
        assert not ports[0] & ports[1]
        for up in pair:
            assert "data: [DONE]" in up.curl()
    finally:
        for up in pair:
            up.stop()


def test_an_address_that_is_taken_is_named_with_the_option_that_changes_it(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = Up(tmp_path, "--listen", address)
        assert other.ended() == 1
    assert f"can't listen on {address}: it is taken" in other.lines[0] and "--listen" in other.lines[0]


def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    other = Up(tmp_path / "state", "--model", str(bad), "--replicas", "1")
    assert other.ended() == 1
    text = "\n".join(other.lines)
    assert "replica-1 could not be started" in text and "replica-1.log" in text


def test_the_next_start_goes_on_with_the_state_and_replaces_the_key(tmp_path):
    first = Up(tmp_path).greeted()
    processes = [first.process.pid, *children(first.process.pid)]
    ports = (tmp_path / "ports").read_text()
    kept = json.loads(first.weir("keys", "create", "--name", "kept").stdout)["key"]
    assert first.stop() == 0
    assert not [pid for pid in processes if is_running(pid)]

    second = Up(tmp_path).greeted()
    assert (tmp_path / "ports").read_text() == ports
    assert "data: [DONE]" in second.curl()

    def status(key):
        line = second.curl_line.replace(second.fact("API key"), key)
        line = line.replace("curl -N", "curl -s -o /dev/null -w '%{http_code}'", 1)
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=PATIENCE).stdout

    assert status(kept) == "200"
    assert first.fact("API key") != second.fact("API key")
    assert status(first.fact("API key")) == "401"
    assert second.stop(signal.SIGTERM) == 0


def test_nothing_stays_behind_when_it_is_killed(tmp_path):
    started = Up(tmp_path, "--replicas", "1").greeted()
    left = list(children(started.process.pid))
    assert len(left) >= 3
    started.process.kill()
    started.process.wait(PATIENCE)
    eventually(lambda: not [pid for pid in left if is_running(pid)], "all its children have ended")
