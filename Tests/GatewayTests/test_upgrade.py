"""A new process takes over from a running gateway: nobody is refused, reset or cut off."""

import ctypes
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from harness import modes
from harness.asking import HELLO, Asking, on_new_connections, streaming
from harness.client import Connection, text_of
from harness.gateway import KEY, OTHER_KEY, chat_body, clean_environment, merged, weir_bin
from harness.ports import free_port
from harness.waiting import PATIENCE, eventually

CHAT = "/v1/chat/completions"
PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def successors():
    """Processes whose parent has ended become ours, and none of them outlives its test."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    pids = []
    yield pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except OSError:
            pass


def weir(gateway, *arguments):
    return subprocess.run(
        [weir_bin(), *arguments, "--socket", gateway.admin_socket], capture_output=True, text=True, timeout=120,
        env=clean_environment())


def pid_of(gateway):
    return gateway.admin("GET", "/admin/v1/status").json["pid"]


def upgraded(gateway, successors):
    """Upgrades, and returns the new process's id."""
    done = weir(gateway, "upgrade", "-o", "json")
    assert done.returncode == 0, done.stderr
    successors.append(json.loads(done.stdout)["pid"])
    return successors[-1]


def first_ended(gateway):
    """The exit status of the process that the test started."""
    return gateway.process.wait(40)


def ended_well(gateway):
    """How many processes have ended and left nothing open. All of them write to the first one's standard error."""
    return sum(event["message"] == "Ended with 0 connections open." for event in gateway.events)


def kept_alive(asking):
    """A client that keeps its connection as long as the gateway does, and believes what it is told about that."""
    with asking.gateway.connect() as connection:
        for _ in range(200):
            reply = connection.request("POST", CHAT, chat_body("Hello"), key=KEY)
            assert reply.status == 200 and reply.content == HELLO, reply
            if asking.done.is_set() or reply.field("connection") == "close":
                return


def idle_then_used(asking):
    """Connects, waits a little, and asks only then."""
    with asking.gateway.connect() as connection:
        asking.done.wait(0.3)
        assert connection.request("GET", "/v1/models", key=KEY).status == 200


def test_three_upgrades_in_a_row_refuse_reset_and_cut_nothing(stage, successors):
    replicas = stage.replicas("one", "two")
    gateway = stage.gateway(replicas)
    slow = stage.replica("slow")
    pools = [*gateway.settings["pools"], {"name": "slow", "models": ["slow"], "replicas": [
        {"name": "slow", "url": slow.url, "kind": "vllm"}]}]
    gateway.configure(merged(gateway.settings, {"pools": pools}))
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    gateway.wait_for({"one", "two", "slow"})

    def open_stream():
        steps = slow.steps(allowed=1)
        slow.next(modes.streamed(steps=steps))
        connection = gateway.connect(60)
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True, model="slow"), key=KEY)
        assert connection.read_head()[0] == 200
        return connection, connection.events(), steps

    pids, streams = [gateway.process.pid], [open_stream()]
    with Asking(gateway, on_new_connections, on_new_connections, streaming, kept_alive, idle_then_used) as asking:
        for _ in range(3):
            asking.more()
            pids.append(upgraded(gateway, successors))
            assert pid_of(gateway) == pids[-1]
            streams.append(open_stream())
        asking.more()
    assert not asking.failed, asking.failed
    assert len(set(pids)) == 4
    assert gateway.process.poll() is None, "the first process still has a stream"
    for connection, events, steps in streams:
        steps.allow(50)
        events = list(events)
        assert events[-1] == "[DONE]"
        assert text_of([json.loads(event) for event in events[:-1]]) == HELLO
        connection.close()
    assert first_ended(gateway) == 0
    # The others' parents ask for their exit statuses; 0 is what goes with this sentence.
    eventually(lambda: ended_well(gateway) == 3, "the others have ended", 40)
    assert gateway.chat("Hello").status == 200
    os.kill(pids[-1], signal.SIGTERM)
    eventually(lambda: ended_well(gateway) == 4, "the last one ends too")
    eventually(lambda: not Path(gateway.admin_socket).exists(), "it tidies up")


def test_the_number_of_loops_may_change(stage, successors):
    gateway = stage.gateway([stage.replica()])
    with Asking(gateway, on_new_connections, on_new_connections, idle_then_used) as asking:
        for loops in (1, 4, 2):
            gateway.configure(merged(gateway.settings, {"listen": {"loops": loops}}))
            asking.more()
            upgraded(gateway, successors)
            assert gateway.admin("GET", "/admin/v1/status").json["loops"] == loops
        asking.more()
    assert not asking.failed, asking.failed
    assert first_ended(gateway) == 0
    eventually(lambda: ended_well(gateway) == 3, "the others have ended too", 40)


def test_connections_that_nobody_has_accepted_yet_are_served(stage, successors):
    gateway = stage.gateway([stage.replica()])
    os.kill(gateway.process.pid, signal.SIGSTOP)
    connections = [gateway.connect(60) for _ in range(200)]
    for connection in connections:
        connection.send_request("GET", "/v1/models", key=KEY)
    os.kill(gateway.process.pid, signal.SIGCONT)
    upgraded(gateway, successors)
    for connection in connections:
        assert connection.read_reply().status == 200
        connection.close()
    assert first_ended(gateway) == 0


BAD = {
    "a configuration with a problem": (lambda s: merged(s, {"rateLimit": {"requests": -1}}), "rateLimit.requests"),
    "a certificate that is not there": (
        lambda s: merged(s, {"listen": {"tls": {"certificateFile": "/absent", "keyFile": "/absent"}}}), "/absent"),
    "another address": (
        lambda s: merged(s, {"listen": {"address": f"127.0.0.1:{free_port()}"}}), "listen.address"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_start_leaves_the_running_gateway_as_it_was(stage, what):
    gateway = stage.gateway([stage.replica()])
    pid, good = gateway.process.pid, gateway.settings
    change, said = BAD[what]
    gateway.configure(change(good))
    with Asking(gateway, on_new_connections, kept_alive) as asking:
        asking.more(5)
        done = weir(gateway, "upgrade")
        assert done.returncode == 1 and "goes on unchanged" in done.stderr and said in done.stderr, done.stderr
        asking.more(5)
    assert not asking.failed, asking.failed
    assert pid_of(gateway) == pid
    eventually(lambda: gateway.event("upgrade_failed"), "it says so")
    gateway.configure(good)


def test_a_new_configuration_without_a_replica_that_serves_does_not_take_over(stage):
    gateway = stage.gateway([stage.replica()])
    pool = {**gateway.settings["pools"][0], "replicas": [{"name": "gone", "url": f"http://127.0.0.1:{free_port()}"}]}
    gateway.configure(merged(gateway.settings, {"pools": [pool]}))
    done = weir(gateway, "upgrade")
    assert done.returncode == 1 and "no replica answered" in done.stderr
    assert pid_of(gateway) == gateway.process.pid and gateway.chat("Hello").status == 200


@pytest.mark.parametrize("lines", [[], ["take over"], ["take over", "ready"], ["nonsense"]])
def test_a_process_that_asks_and_ends_changes_nothing(stage, lines):
    gateway = stage.gateway([stage.replica()])
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE)
        peer.connect(str(gateway.directory / "upgrade.sock"))
        for line in lines:
            peer.sendall(line.encode() + b"\n")
            if line != "nonsense":
                assert peer.recv(4096)
    if lines[:1] == ["take over"]:
        eventually(lambda: gateway.event("upgrade_failed"), "it says so")
    assert gateway.chat("Hello").status == 200
    assert os.stat(gateway.directory / "upgrade.sock").st_mode & 0o077 == 0


def test_what_operators_asked_for_survives(stage, successors):
    gateway = stage.gateway(stage.replicas("one", "two"))
    assert gateway.admin("POST", "/admin/v1/replicas/two/drain").status == 200
    upgraded(gateway, successors)
    assert {name: r["intent"] for name, r in gateway.replicas().items()} == {"one": "enabled", "two": "draining"}
    assert {gateway.chat("Hello").field("x-weir-replica") for _ in range(6)} == {"one"}
    assert first_ended(gateway) == 0


def test_a_signal_upgrades_too(stage, successors):
    gateway = stage.gateway([stage.replica()])
    gateway.signal(signal.SIGUSR2)
    took = eventually(lambda: gateway.event("handed_over"), "it has handed over")
    successors.append(int(took["pid"]))
    assert first_ended(gateway) == 0
    assert gateway.chat("Hello").status == 200 and pid_of(gateway) == successors[0]


def test_a_process_that_was_started_by_hand_takes_over_or_starts(stage):
    gateway = stage.gateway([stage.replica()])
    command = [weir_bin(), "serve", "--config", gateway.file, "--take-over"]
    quiet = {"stdout": subprocess.DEVNULL, "env": clean_environment()}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, **quiet) as second:
        try:
            assert first_ended(gateway) == 0
            assert gateway.chat("Hello").status == 200 and pid_of(gateway) == second.pid
            second.send_signal(signal.SIGTERM)
            assert second.wait(PATIENCE) == 0
        finally:
            second.kill()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **quiet) as third:
        try:
            said = (json.loads(line)["event"] for line in third.stderr)
            assert "started" in said
        finally:
            third.send_signal(signal.SIGTERM)
            assert third.wait(PATIENCE) == 0


def test_an_unused_connection_is_told_on_its_next_reply_and_closed_after_the_drain_time(stage, successors):
    gateway = stage.gateway([stage.replica()], timeouts={"drain": "1s"})
    used, unused = gateway.connect(), gateway.connect()
    for connection in (used, unused):
        assert connection.request("GET", "/v1/models", key=KEY).status == 200
    upgraded(gateway, successors)
    reply = used.request("GET", "/readyz")
    assert reply.status == 200 and reply.field("connection") == "close", "a check of health sees no difference"
    assert used.is_closed_by_peer() and unused.is_closed_by_peer()
    assert first_ended(gateway) == 0


def test_systemd_is_told_which_process_is_the_main_one(stage, successors, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(PATIENCE)
        gateway = stage.gateway([stage.replica()], environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert notices.recv(1024).decode() == f"READY=1\nMAINPID={gateway.process.pid}"
        new = upgraded(gateway, successors)
        said = {notices.recv(1024).decode(), notices.recv(1024).decode()}
        assert said == {f"MAINPID={new}", f"READY=1\nMAINPID={new}"}
        assert first_ended(gateway) == 0
        os.kill(new, signal.SIGTERM)
        assert notices.recv(1024).decode() == "STOPPING=1"


def test_what_callers_have_spent_of_their_limits_counts_on(stage, successors):
    gateway = stage.gateway(
        [stage.replica()], listen={"address": f"127.0.0.1:{free_port()}"}, rateLimit={"requests": 5, "window": "1h"})
    assert [gateway.chat("Hello").status for _ in range(3)] == [200, 200, 200]
    upgraded(gateway, successors)
    assert first_ended(gateway) == 0
    reply = gateway.chat("Hello")
    assert reply.field("x-ratelimit-remaining-requests") == "1"
    assert [gateway.chat("Hello").status for _ in range(2)] == [200, 429]
    upgraded(gateway, successors)
    eventually(lambda: pid_of(gateway) == successors[-1], "the third process answers")
    assert gateway.chat("Hello").status == 429, "over two upgrades too"
    assert gateway.chat("Hello", key=OTHER_KEY).status == 200
