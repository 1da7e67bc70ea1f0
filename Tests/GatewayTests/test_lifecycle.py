"""How a gateway starts, changes while it runs, and ends."""

import json
import os
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from harness import modes
from harness.gateway import (
    KEY,
    OTHER_KEY,
    Gateway,
    chat_body,
    clean_environment,
    merged,
    settings,
    sha256,
    weir_bin,
)
from harness.gateway import token as signed
from harness.modes import answer_text
from harness.ports import free_port
from harness.waiting import eventually

CHAT = "/v1/chat/completions"


@pytest.fixture
def stream(stage):
    """A gateway with a stream half sent: (gateway, replica, connection, steps, events)."""
    replica = stage.replica()
    gateway = stage.gateway([replica], listen={"address": f"127.0.0.1:{free_port()}"})
    steps = replica.steps(allowed=2)
    replica.mode = modes.streamed(steps=steps)
    connection = gateway.connect()
    connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
    assert connection.read_head()[0] == 200
    events = connection.events()
    next(events)
    next(events)
    yield gateway, replica, connection, steps, events
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_stream_is_finished_before_the_gateway_ends_with_0(stream, number):
    gateway, replica, connection, steps, events = stream
    gateway.signal(number)
    eventually(lambda: gateway.event("draining"), "it says that it drains")
    eventually(lambda: refuses(gateway), "new connections are refused")
    assert gateway.process.poll() is None
    steps.allow(50)
    assert list(events)[-1] == "[DONE]"
    assert connection.is_closed_by_peer()
    assert gateway.end() == 0


def refuses(gateway):
    try:
        gateway.connect().close()
        return False
    except ConnectionRefusedError:
        return True


def test_a_second_signal_ends_at_once_and_says_1(stream):
    gateway, _, connection, _, _ = stream
    gateway.signal(signal.SIGTERM)
    eventually(lambda: gateway.event("draining"), "it says that it drains")
    gateway.signal(signal.SIGTERM)
    assert gateway.end() == 1


def test_the_drain_has_a_deadline(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica], timeouts={"drain": "200ms"})
    replica.mode = modes.half_open
    connection = gateway.connect()
    connection.send_request("POST", CHAT, chat_body("Hello"), key=KEY)
    eventually(lambda: replica.running, "the request runs")
    gateway.signal(signal.SIGTERM)
    assert gateway.end() == 1
    assert connection.is_closed_by_peer()


def test_idle_connections_do_not_hold_the_end_up(stage):
    gateway = stage.gateway([stage.replica()])
    connections = [gateway.connect() for _ in range(5)]
    for connection in connections[:3]:
        assert connection.request("GET", "/v1/models", key=KEY).status == 200
    gateway.signal(signal.SIGTERM)
    assert gateway.end(10) == 0
    assert all(connection.is_closed_by_peer() for connection in connections)


def test_during_the_grace_period_readyz_is_503_and_requests_are_served(stage):
    gateway = stage.gateway([stage.replica()], timeouts={"shutdownGrace": "1s"})
    gateway.signal(signal.SIGTERM)
    eventually(lambda: gateway.event("draining"), "it says that it drains")
    assert gateway.request("GET", "/readyz", key=None).status == 503
    assert gateway.request("GET", "/healthz", key=None).status == 200
    assert gateway.chat("Hello").status == 200
    assert gateway.end() == 0


def test_a_second_instance_on_the_same_address_says_so(stage):
    gateway = stage.gateway([stage.replica()], listen={"address": f"127.0.0.1:{free_port()}"})
    status, said = run_serve(gateway.settings)
    assert status == 1 and str(gateway.address[1]) in said
    assert gateway.is_ready() and gateway.replicas(), "the admin socket is still the first one's"
    assert gateway.chat("Hello").status == 200


def run_serve(configuration, *arguments, environment=None):
    """Starts a gateway that must not start. Returns (exit status, what it said)."""
    directory = Path(tempfile.mkdtemp(prefix="weir-"))
    file = directory / "weir.yaml"
    file.write_text(configuration if isinstance(configuration, str) else json.dumps(configuration))
    done = subprocess.run(
        [weir_bin(), "serve", "--config", file, *arguments], capture_output=True, text=True, timeout=30,
        env=clean_environment(XDG_STATE_HOME=str(directory), **(environment or {})))
    return done.returncode, (done.stdout + done.stderr).replace(str(file), "weir.yaml")


GOOD = """\
listen:
  address: "127.0.0.1:0"
identity:
  required: false
pools:
  - name: main
    models: [tiny]
    replicas:
      - name: one
        url: "http://127.0.0.1:9"
"""

PROBLEMS = {
    "an unknown key": (GOOD.replace("required: false", "requird: false"), ["weir.yaml:4:", "identity.requird"]),
    "a wrong type": (GOOD.replace('"127.0.0.1:0"', "[]"), ["weir.yaml:2:", "listen.address"]),
    "a value out of range": (GOOD + "        weight: 0\n", ["weir.yaml:11:", "pools[0].replicas[0].weight", "1"]),
    "a duration without a unit": (GOOD + "timeouts:\n  idle: 2\n", ["weir.yaml:12:", "timeouts.idle"]),
    "a key given twice": (GOOD + "pools: []\n", ["weir.yaml:11:", "pools"]),
    "no pools": ("listen: {}\n", ["pools"]),
    "bad YAML": (GOOD + "  - [\n", ["weir.yaml:1"]),
}


@pytest.mark.parametrize("what", PROBLEMS)
def test_a_configuration_with_a_problem_is_refused_with_line_and_key_path(what):
    text, expected = PROBLEMS[what]
    status, said = run_serve(text)
    assert status == 1
    for part in expected:
        assert part in said, said


def test_all_problems_are_told_at_once():
    text = GOOD.replace("required: false", "requird: false").replace("9\"", "99999\"") + "        weight: 0\n"
    status, said = run_serve(text)
    assert status == 1 and all(f"weir.yaml:{line}:" in said for line in (4, 10, 11)), said


def test_a_missing_file_and_bad_usage_say_so():
    done = subprocess.run(
        [weir_bin(), "serve", "--config", "/absent/weir.yaml"], capture_output=True, text=True, timeout=30,
        env=clean_environment())
    assert done.returncode == 1 and "/absent/weir.yaml" in done.stderr
    done = subprocess.run(
        [weir_bin(), "serve", "--absent"], capture_output=True, text=True, timeout=30, env=clean_environment())
    assert done.returncode == 64


def test_a_variable_lies_over_the_file_and_an_unknown_one_is_a_problem():
    status, said = run_serve(GOOD, environment={"WEIR_POOLS_0_REPLICAS_0_WEIGHT": "0"})
    assert status == 1 and "weight" in said
    status, said = run_serve(GOOD, environment={"WEIR_LISTEN_ADRESS": "127.0.0.1:0"})
    assert status == 1 and "WEIR_LISTEN_ADRESS" in said


def test_the_commented_example_configuration_is_accepted():
    example = Path(__file__).resolve().parents[2] / "config" / "weir.yaml"
    done = subprocess.run(
        [weir_bin(), "config", "check", "--config", example], capture_output=True, text=True, timeout=30,
        env=clean_environment())
    assert done.returncode == 0, done.stdout + done.stderr


def test_secrets_are_not_printed_when_the_configuration_is_refused():
    directory = tempfile.mkdtemp(prefix="weir-")
    configuration = settings([], directory)
    configuration["identity"]["jwt"][0]["keys"][0]["secret"] = "canary-too-short"
    status, said = run_serve(configuration)
    assert status == 1 and "canary" not in said


def test_a_reload_changes_what_it_may_and_drops_no_stream(stream):
    gateway, replica, connection, steps, events = stream
    gateway.configure(merged(gateway.settings, {"rateLimit": {"requests": 7}}))
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    replica.next(modes.answer)
    assert gateway.chat("Hello").field("x-ratelimit-limit-requests") == "7"
    steps.allow(50)
    assert list(events)[-1] == "[DONE]"


def test_a_reload_by_sighup_takes_replicas_in_and_out(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one])
    pool = {**gateway.settings["pools"][0], "replicas": [{"name": "two", "url": two.url}]}
    gateway.configure(merged(gateway.settings, {"pools": [pool]}))
    gateway.signal(signal.SIGHUP)
    eventually(lambda: gateway.event("reloaded"), "it says that it has reloaded")
    gateway.wait_for({"two"})
    assert gateway.chat("Hello").field("x-weir-replica") == "two"


def test_a_replica_that_leaves_the_configuration_finishes_its_streams(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([two, one])
    steps = one.steps(allowed=2)
    two.mode = one.mode = modes.streamed(steps=steps)
    connections = []
    for _ in range(2):
        connection = gateway.connect()
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
        connections.append(connection)
    eventually(lambda: one.running == 1 and two.running == 1, "each has a stream")
    pool = {**gateway.settings["pools"][0], "replicas": [{"name": "two", "url": two.url, "kind": "vllm"}]}
    gateway.configure(merged(gateway.settings, {"pools": [pool]}))
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    two.mode = modes.answer
    # Each loop takes the configuration on when it comes to it.
    eventually(
        lambda: {gateway.chat("Hello").field("x-weir-replica") for _ in range(4)} == {"two"}, "only the other serves")
    steps.allow(100)
    for connection in connections:
        reply = connection.read_reply()
        assert reply.events[-1] == "[DONE]" and reply.streamed_text == answer_text([
            {"role": "user", "content": "Hello"}])
        connection.close()
    assert gateway.chat("Hello").status == 200
    assert gateway.process.poll() is None


def test_a_pool_that_leaves_the_configuration_finishes_its_streams(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one])
    extra = {"name": "extra", "models": ["other"], "replicas": [{"name": "two", "url": two.url, "kind": "vllm"}]}
    alone = gateway.settings
    gateway.configure(merged(alone, {"pools": [alone["pools"][0], extra]}))
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    gateway.wait_for({"one", "two"})
    steps = two.steps(allowed=2)
    two.mode = modes.streamed(steps=steps)
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True, model="other"), key=KEY)
        assert connection.read_head()[0] == 200
        gateway.configure(alone)
        assert gateway.admin("POST", "/admin/v1/reload").status == 200
        eventually(lambda: gateway.chat("Hello", model="other").status == 404, "the model is gone")
        steps.allow(100)
        assert list(connection.events())[-1] == "[DONE]"
    assert gateway.chat("Hello", model="other").status == 404
    assert gateway.chat("Hello").status == 200


def test_keys_that_leave_the_configuration_end_at_once_and_new_ones_begin(stage):
    gateway = stage.gateway([stage.replica()])
    new = "sk-weir-" + "C" * 42 + "A"
    with gateway.connect() as connection:
        # Its verified key is in a cache by now.
        assert connection.request("POST", CHAT, chat_body("Hello"), key=OTHER_KEY).status == 200
        assert gateway.chat("Hello", key=new).status == 401
        gateway.configure(merged(gateway.settings, {"identity": {"apiKeys": [
            {"id": "team-a", "sha256": sha256(KEY)}, {"id": "team-c", "sha256": sha256(new)}]}}))
        assert gateway.admin("POST", "/admin/v1/reload").status == 200
        assert connection.request("POST", CHAT, chat_body("Hello"), key=OTHER_KEY).status == 401
    assert gateway.chat("Hello").status == 200
    assert gateway.chat("Hello", key=new).status == 200


def test_an_issuer_that_leaves_the_configuration_is_believed_no_longer(stage):
    gateway = stage.gateway([stage.replica()])
    token = signed("ada")
    assert gateway.chat("Hello", key=token).status == 200
    gateway.configure(merged(gateway.settings, {"identity": {"jwt": []}}))
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    assert gateway.chat("Hello", key=token).status == 401


def test_a_smaller_limit_holds_from_the_reload_on_for_a_key_that_has_spent_more(stage):
    gateway = stage.gateway([stage.replica()])
    for _ in range(5):
        assert gateway.chat("Hello").status == 200
    gateway.configure(merged(gateway.settings, {"rateLimit": {"requests": 3}}))
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    statuses = [gateway.chat("Hello").status for _ in range(6)]
    assert 429 in statuses and statuses.count(200) <= 3
    gateway.configure(merged(gateway.settings, {"rateLimit": {"requests": 1000}}))
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    assert gateway.chat("Hello").status == 200


def test_weights_change_with_a_reload(stage):
    replicas = stage.replicas("one", "two")
    gateway = stage.gateway(replicas, listen={"loops": 1})
    pool = {**gateway.settings["pools"][0], "replicas": [
        {"name": replica.name, "url": replica.url, "kind": "vllm", "weight": weight}
        for replica, weight in zip(replicas, (4, 1))]}
    gateway.configure(merged(gateway.settings, {"pools": [pool]}))
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    gateway.wait_for({"one", "two"})
    def served():
        names = [gateway.chat("Hello").field("x-weir-replica") for _ in range(10)]
        return names.count("one"), names.count("two")

    eventually(lambda: served() == (8, 2), "four to one")


def test_an_interrupt_does_not_wait_for_the_grace_period(stage):
    gateway = stage.gateway([stage.replica()], timeouts={"shutdownGrace": "5m"})
    gateway.signal(signal.SIGINT)
    assert gateway.end() == 0


def test_a_second_signal_ends_the_grace_period_too(stage):
    gateway = stage.gateway([stage.replica()], timeouts={"shutdownGrace": "5m"})
    gateway.signal(signal.SIGTERM)
    eventually(lambda: gateway.event("draining"), "it says that it drains")
    assert gateway.request("GET", "/readyz", key=None).status == 503
    gateway.signal(signal.SIGTERM)
    assert gateway.end() in (0, 1), "1 if the last reply was still on its way"


def test_connections_in_the_queue_at_the_end_are_served(stage):
    gateway = stage.gateway([stage.replica()], listen={"loops": 1}, timeouts={"shutdownGrace": "200ms"})
    os.kill(gateway.process.pid, signal.SIGSTOP)
    connections = [gateway.connect(60) for _ in range(200)]
    for connection in connections:
        connection.send_request("GET", "/v1/models", key=KEY)
    gateway.signal(signal.SIGTERM)
    os.kill(gateway.process.pid, signal.SIGCONT)
    for connection in connections:
        assert connection.read_reply().status == 200
        connection.close()
    assert gateway.end() == 0


def test_a_bad_file_changes_nothing_and_says_why(stage):
    gateway: Gateway = stage.gateway([stage.replica()])
    gateway.configure("nonsense: [")
    reply = gateway.admin("POST", "/admin/v1/reload")
    assert reply.status == 400 and reply.error["code"] == "configuration_refused"
    gateway.signal(signal.SIGHUP)
    eventually(lambda: gateway.event("reload_refused"), "it says why")
    assert gateway.chat("Hello").status == 200


def test_requests_go_on_while_the_configuration_is_reloaded_again_and_again(stage):
    gateway = stage.gateway([stage.replica()])
    done = threading.Event()
    failed = []

    def ask():
        with gateway.connect() as connection:
            while not done.is_set():
                reply = connection.request("POST", CHAT, chat_body("Hello"), key=KEY)
                if reply.status != 200:
                    failed.append(reply)
                    return

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        assert gateway.admin("POST", "/admin/v1/reload").status == 200
    done.set()
    for thread in threads:
        thread.join()
    assert not failed, failed[:2]


def test_the_access_log_is_reopened_on_a_signal(stage):
    directory = Path(tempfile.mkdtemp(prefix="weir-"))
    log = directory / "access.json"
    gateway = stage.gateway([stage.replica()], log={"access": str(log)})
    first = gateway.chat("Hello").field("x-request-id")
    eventually(lambda: first in log.read_text(), "the line is there")
    os.rename(log, directory / "rotated.json")
    gateway.signal(signal.SIGUSR1)
    eventually(log.exists, "a new file is there")
    second = gateway.chat("Hello").field("x-request-id")
    eventually(lambda: second in log.read_text(), "the line is there")
    assert first not in log.read_text() and second not in (directory / "rotated.json").read_text()


def test_no_connection_and_no_memory_is_left_behind_by_clients_that_come_and_go(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica])
    for number in range(60):
        connection = gateway.connect()
        if number % 3 == 0:
            connection.send(b"POST /v1/chat/completions HTTP/1.1\r\n")
        elif number % 3 == 1:
            connection.request("POST", CHAT, chat_body("Hello"), key=KEY)
        getattr(connection, "close" if number % 2 else "reset")()
    eventually(lambda: gateway.metrics()["weir_connections"] == 0, "every connection is gone")
    assert gateway.metrics()["weir_body_memory_bytes"] == 0
