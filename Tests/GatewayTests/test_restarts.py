"""Replicas are restarted, by an operator or because they fail, and no request notices."""

import http.server
import json
import os
import stat
import subprocess
import threading
import time

import pytest

from harness import modes
from harness.asking import HELLO, Asking, on_new_connections, streaming
from harness.client import text_of
from harness.gateway import KEY, chat_body, clean_environment, merged, weir_bin
from harness.waiting import PATIENCE, eventually

CHAT = "/v1/chat/completions"
PROBE = {"interval": "1s", "timeout": "1s", "fall": 2}


class Webhook:
    """Takes the gateway's calls; `react(event)` answers with a status."""

    def __init__(self):
        self.events, self.react = [], lambda event: 200
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.events.append(event)
                self.send_response(hook.react(event))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def of(self, name):
        """The calls about one replica: on a busy machine a probe of another may be late."""
        return [event for event in self.events if event["replica"] == name]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def webhook():
    hook = Webhook()
    yield hook
    hook.stop()


def weir(gateway, *arguments):
    return subprocess.run(
        [weir_bin(), *arguments, "--socket", gateway.admin_socket], capture_output=True, text=True, timeout=120,
        env=clean_environment())


def restarting(replicas):
    """A hook that ends a replica as a killed process ends and starts it again."""
    by_name = {replica.name: replica for replica in replicas}

    def react(event):
        replica = by_name[event["replica"]]
        replica.kill()
        time.sleep(0.05)
        replica.start()
        return 200

    return react


# Hooks.


def test_a_hook_is_called_once_for_each_time_a_replica_is_down(stage, webhook):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": {**PROBE, "interval": "200ms", "timeout": "200ms"}}, hooks={
        "replicaDown": {"failures": 4, "url": webhook.url}})
    for times in (1, 2):
        two.is_healthy = False
        eventually(lambda: len(webhook.of("two")) == times, "the hook is called")
        seen = two.probes
        eventually(lambda: two.probes > seen + 8, "more probes fail")
        assert len(webhook.of("two")) == times
        two.is_healthy = True
        gateway.wait_for({"one", "two"})
    event = webhook.of("two")[0]
    assert event["event"] == "replica_down" and event["replica"] == "two" and event["pool"] == "main"
    assert event["address"] == f"127.0.0.1:{two.port}" and "503" in event["problem"]
    assert gateway.metrics()['weir_hook_runs_total{hook="replica_down",result="ok"}'] >= 2


def test_a_program_is_run_without_a_shell_and_told_what_happened(stage, tmp_path):
    one, two = stage.replicas("one", "two")
    program, said = tmp_path / "hook", tmp_path / "said"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" "$HOOK_EVENT" "$HOOK_POOL" > {said}.new\nmv {said}.new {said}\n')
    program.chmod(stat.S_IRWXU)
    stage.gateway([one, two], pool={"probe": PROBE}, hooks={
        "replicaDown": {"failures": 3, "command": [str(program), "{replica} of {pool}", "$(id)", "{address}"]}})
    two.is_healthy = False
    eventually(said.exists, "the program ran")
    assert said.read_text() == f"two of main|$(id)|127.0.0.1:{two.port}|replica_down|main|"


@pytest.mark.parametrize("program, result", [
    ("exec sleep 60", "timeout"), ("exit 3", "failed"), (None, "failed"),
])
def test_a_program_that_fails_or_hangs_is_counted_and_does_not_stay(stage, tmp_path, program, result):
    one, two = stage.replicas("one", "two")
    script, number = tmp_path / "hook", tmp_path / "pid"
    if program:
        script.write_text(f"#!/bin/sh\necho $$ > {number}\n{program}\n")
        script.chmod(stat.S_IRWXU)
    gateway = stage.gateway([one, two], pool={"probe": PROBE}, hooks={
        "replicaDown": {"failures": 2, "command": [str(script)], "timeout": "300ms"}})
    two.is_healthy = False
    name = f'weir_hook_runs_total{{hook="replica_down",result="{result}"}}'
    eventually(lambda: gateway.metrics().get(name), "it is counted")
    eventually(lambda: gateway.event("hook_failed"), "it is said")
    if program:
        assert not os.path.exists(f"/proc/{int(number.read_text())}")


# Restarts that nobody asked for.


def test_a_replica_that_stops_answering_is_restarted_by_itself(stage, webhook):
    one, two = stage.replicas("one", "two")

    def react(event):
        two.is_healthy = True
        return 200

    webhook.react = react
    gateway = stage.gateway([one, two], pool={"probe": PROBE}, hooks={
        "restart": {"url": webhook.url, "afterFailures": 5}})
    two.is_healthy = False
    gateway.wait_for({"one"})
    gateway.wait_for({"one", "two"})
    assert [event["event"] for event in webhook.of("two")] == ["replica_restart"]
    assert gateway.metrics()['weir_replica_restarts_total{pool="main",replica="two",result="ok"}'] == 1
    eventually(lambda: gateway.replicas()["two"]["restart"] == "none", "nothing more is done about it")


def test_a_replica_that_does_not_come_back_is_left_alone_for_a_while_and_says_so(stage, webhook):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": PROBE}, hooks={"restart": {
        "url": webhook.url, "afterFailures": 2, "restartsMax": 1, "readyTimeout": "1s", "coolDown": "1h"}})
    cooling = 'weir_replica_restart_cooldown{pool="main",replica="two"}'
    assert gateway.metrics()[cooling] == 0
    two.is_healthy = False
    eventually(lambda: gateway.metrics()[cooling] == 1, "it is left alone")
    assert len(webhook.of("two")) == 1
    eventually(lambda: gateway.event("replica_restart_cooldown"), "it is said")
    assert gateway.replicas()["two"]["restart"] == "cooling_down"
    assert 3000 < gateway.replicas()["two"]["restart_seconds"] <= 3600
    assert "two: restarted too often" in weir(gateway, "status").stdout
    assert "cooling down" in weir(gateway, "replicas").stdout
    two.is_healthy = True
    gateway.wait_for({"one", "two"})
    eventually(lambda: gateway.metrics()[cooling] == 0, "it is over when the replica is back")


def test_a_drained_replica_is_not_restarted_by_itself(stage, webhook):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": PROBE}, hooks={
        "restart": {"url": webhook.url, "afterFailures": 2}})
    assert gateway.admin("POST", "/admin/v1/replicas/two/drain").status == 200
    two.is_healthy = False
    seen = two.probes
    eventually(lambda: two.probes > seen + 10, "many probes fail")
    assert webhook.of("two") == []


# Restarts that an operator asked for.


def test_a_rolling_restart_fails_nothing_and_goes_one_by_one(stage, webhook):
    replicas = stage.replicas("one", "two", "three")
    for replica in replicas:
        replica.mode = modes.streamed(gap=0.01)
    webhook.react = restarting(replicas)
    gateway = stage.gateway(replicas, pool={"probe": PROBE}, hooks={"restart": {"url": webhook.url}})
    with Asking(gateway, on_new_connections, streaming, on_new_connections, streaming) as asking:
        done = weir(gateway, "replicas", "restart", "--rolling", "-o", "json")
        answered = asking.answered
        eventually(lambda: asking.failed or asking.answered > answered + 10, "requests go on")
    assert done.returncode == 0, done.stderr
    assert not asking.failed, asking.failed
    assert [event["replica"] for event in webhook.events] == ["one", "two", "three"]
    report = json.loads(done.stdout)
    assert report["state"] == "done" and {r["state"] for r in report["replicas"]} == {"done"}
    assert {r["intent"] for r in gateway.replicas().values()} == {"enabled"}
    gateway.wait_for({"one", "two", "three"})


def test_a_stream_that_outlasts_the_drain_goes_on_elsewhere(stage, webhook):
    one, two = stage.replicas("one", "two")
    webhook.react = restarting([one, two])
    gateway = stage.gateway([one, two], pool={"probe": PROBE}, hooks={"restart": {"url": webhook.url}})
    steps = one.steps(allowed=3)
    one.mode = two.mode = modes.streamed(steps=steps)
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
        assert connection.read_head()[0] == 200
        events = connection.events()
        chunks = [json.loads(next(events)) for _ in range(3)]
        held = "one" if one.running else "two"
        other = two if held == "one" else one
        other.mode = modes.answer
        done = weir(gateway, "replicas", "restart", held, "--drain-timeout", "1s")
        assert done.returncode == 0 and "1 moved" in done.stdout, done.stdout + done.stderr
        rest = list(events)
    assert rest[-1] == "[DONE]"
    assert text_of(chunks + [json.loads(event) for event in rest[:-1]]) == HELLO


def test_a_stream_that_cannot_go_on_elsewhere_is_waited_for(stage, webhook):
    one, two = stage.replicas("one", "two")
    webhook.react = restarting([one, two])
    gateway = stage.gateway([one, two], pool={"probe": PROBE}, hooks={"restart": {"url": webhook.url}})
    steps = one.steps(allowed=3)
    one.mode = two.mode = modes.streamed(steps=steps)
    with gateway.connect() as connection:
        body = chat_body("Hello", stream=True, n=1, logprobs=True)
        connection.send_request("POST", CHAT, body, key=KEY)
        assert connection.read_head()[0] == 200
        events = connection.events()
        first = [json.loads(next(events)) for _ in range(3)]
        held = "one" if one.running else "two"
        command = [weir_bin(), "replicas", "restart", held, "--drain-timeout", "1s", "--socket", gateway.admin_socket]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as restart:
            assert "moving" in restart.stdout.readline() + restart.stdout.readline()
            assert webhook.events == []
            steps.allow(50)
            rest = list(events)
            assert restart.wait(PATIENCE) == 0
    assert rest[-1] == "[DONE]" and text_of(first + [json.loads(event) for event in rest[:-1]]) == HELLO


def test_it_stops_at_the_first_replica_that_does_not_come_back(stage, webhook):
    replicas = stage.replicas("one", "two", "three")

    def react(event):
        replicas[1].is_healthy = event["replica"] != "two"
        return 200

    webhook.react = react
    gateway = stage.gateway(replicas, pool={"probe": PROBE}, hooks={"restart": {
        "url": webhook.url, "readyTimeout": "1s"}})
    done = weir(gateway, "replicas", "restart", "--rolling")
    assert done.returncode == 1 and "two: it was not healthy within 1 s" in done.stderr
    assert [event["replica"] for event in webhook.events] == ["one", "two"]
    assert {r["intent"] for r in gateway.replicas().values()} == {"enabled"}
    replicas[1].is_healthy = True
    gateway.wait_for({"one", "two", "three"})


def test_a_hook_that_fails_is_reported_and_the_replica_goes_on_serving(stage, webhook):
    one, two = stage.replicas("one", "two")
    webhook.react = lambda event: 500
    gateway = stage.gateway([one, two], pool={"probe": PROBE}, hooks={"restart": {"url": webhook.url}})
    done = weir(gateway, "replicas", "restart", "two")
    assert done.returncode == 1 and "two: it was answered with 500" in done.stderr
    gateway.wait_for({"one", "two"})


def test_the_only_replica_that_serves_is_not_restarted_unless_forced(stage, webhook):
    one = stage.replica()
    webhook.react = restarting([one])
    gateway = stage.gateway([one], pool={"probe": PROBE}, hooks={"restart": {"url": webhook.url}})
    done = weir(gateway, "replicas", "restart", "one")
    assert done.returncode == 1 and "no other replica of pool main serves" in done.stderr and not webhook.events
    assert weir(gateway, "replicas", "restart", "one", "--force").returncode == 0
    assert len(webhook.events) == 1 and gateway.chat("Hello").status == 200


def test_a_replica_that_was_drained_stays_drained(stage, webhook):
    one, two = stage.replicas("one", "two")
    webhook.react = restarting([one, two])
    gateway = stage.gateway([one, two], pool={"probe": PROBE}, hooks={"restart": {"url": webhook.url}})
    assert gateway.admin("POST", "/admin/v1/replicas/two/drain").status == 200
    assert weir(gateway, "replicas", "restart", "two").returncode == 0
    assert gateway.replicas()["two"]["intent"] == "draining" and len(webhook.events) == 1


def test_what_cannot_be_restarted_is_refused(stage, webhook):
    gateway = stage.gateway([stage.replica()])
    done = weir(gateway, "replicas", "restart", "one")
    assert done.returncode == 1 and "hooks.restart is absent" in done.stderr
    assert weir(gateway, "replicas", "restart").returncode == 64
    gateway = stage.gateway([stage.replica("two")], hooks={"restart": {"url": webhook.url}})
    assert "There is no replica nobody" in weir(gateway, "replicas", "restart", "nobody").stderr
    assert gateway.admin("GET", "/admin/v1/restarts").json["state"] == "none"
