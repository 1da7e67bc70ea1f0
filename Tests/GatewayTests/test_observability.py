"""What operators see: metrics, health, the access log, events, the admin API; and what nobody must see."""

import json
import re
import socket
import stat

import pytest
from harness import modes
from harness.client import Connection
from harness.gateway import KEY, sha256, token
from harness.ports import free_port
from harness.waiting import PATIENCE, eventually

LINE = {
    "time", "id", "principal", "method", "path", "model", "pool", "fallback", "session", "stream", "status", "outcome",
    "replica", "attempts", "resumes", "resumed_by", "prompt_tokens", "completion_tokens", "bytes_in", "bytes_out",
    "ttft_ms", "duration_ms", "queue_ms", "overhead_ms", "client",
}
ADMIN_KEY = "an admin key for tests"


@pytest.fixture(scope="module")
def admin_port():
    return free_port()


@pytest.fixture(scope="module")
def gateway(shared, replica, admin_port):
    return shared.gateway([replica], admin={"address": f"127.0.0.1:{admin_port}", "keys": [sha256(ADMIN_KEY)]})


@pytest.fixture(autouse=True)
def fresh(replica):
    replica.forget()


@pytest.fixture
def admin(admin_port, gateway):
    """One request to the admin port."""

    def ask(method, path, body=None, key=None, host=f"127.0.0.1:{admin_port}"):
        with Connection(socket.create_connection(("127.0.0.1", admin_port), timeout=PATIENCE)) as connection:
            head = [f"{method} {path} HTTP/1.1", f"host: {host}"]
            if key:
                head.append(f"authorization: Bearer {key}")
            if body is not None:
                head.append(f"content-length: {len(body)}")
            connection.send("\r\n".join(head).encode() + b"\r\n\r\n" + (body or b""))
            return connection.read_reply(is_head=method == "HEAD")

    return ask


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/v1/health"])
def test_health_paths_answer_get_and_head_without_a_credential_and_leave_no_line(gateway, path):
    for method in ("GET", "HEAD"):
        reply = gateway.request(method, path, fields=[("x-request-id", "health-canary")], key=None)
        assert reply.status == 200 and reply.field("x-request-id") == "health-canary"
    last = gateway.request("GET", "/v1/models").field("x-request-id")
    gateway.access_line(last)
    assert "health-canary" not in gateway.log_text() and '"health"' not in gateway.log_text()


def test_a_request_leaves_one_line_of_json_that_says_what_happened(gateway):
    reply = gateway.chat("Hello there", stream=True)
    line = gateway.access_line(reply.field("x-request-id"))
    assert set(line) == LINE
    assert line["principal"] == "team-a" and line["method"] == "POST" and line["path"] == "chat_completions"
    assert (line["model"], line["pool"], line["replica"]) == ("tiny", "main", "one")
    assert (line["status"], line["outcome"], line["attempts"], line["resumes"]) == (200, "ok", 1, 0)
    assert line["stream"] is True and line["session"] is False
    assert line["prompt_tokens"] == 2 and line["completion_tokens"] == 10
    assert 0 <= line["ttft_ms"] <= line["duration_ms"]
    assert line["bytes_in"] > 100 and line["bytes_out"] > 500
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["time"])
    assert sum(1 for other in gateway.access_lines() if other["id"] == line["id"]) == 1


def test_the_bytes_of_a_request_are_counted_however_they_come(gateway):
    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "x" * 100_000}]}).encode()
    reply = gateway.request("POST", "/v1/chat/completions", body)
    line = gateway.access_line(reply.field("x-request-id"))
    assert len(body) < line["bytes_in"] < len(body) + 1000


def test_no_prompt_no_answer_and_no_credential_is_in_log_or_metrics_or_events(gateway, replica):
    credential = token("ada")
    gateway.chat("The canary sings.", key=credential)
    gateway.chat("The canary sings.", key=credential, stream=True)
    gateway.chat("The canary sings.", model="canary-model")
    gateway.request("GET", "/canary/path?canary=1")
    gateway.chat("Hello", key="canary-key")
    replica.mode = modes.status(500, body=b'{"error":{"message":"canary","type":"x","code":null}}')
    last = gateway.chat("The canary sings.").field("x-request-id")
    gateway.access_line(last)
    seen = gateway.log_text() + gateway.admin("GET", "/metrics").text + json.dumps(gateway.events)
    assert "canary" not in seen and KEY not in seen and credential not in seen
    assert "Answer" not in seen
    replica.forget()


def test_lines_are_json_whatever_a_client_puts_into_them(gateway):
    reply = gateway.chat("Hello", key=token('a"b\\c\u2028é'))
    line = gateway.access_line(reply.field("x-request-id"))
    assert line["status"] == 200 and "é" in line["principal"]


def test_the_metrics_page_answers_get_and_head_in_prometheus_text(gateway, admin):
    page = admin("GET", "/metrics")
    assert page.status == 200 and page.field("content-type").startswith("text/plain; version=0.0.4")
    head = admin("HEAD", "/metrics")
    assert head.status == 200 and head.body == b"" and int(head.field("content-length")) > 1000
    families = set()
    for line in page.text.splitlines():
        if line.startswith("# TYPE "):
            families.add(line.split()[2])
        elif not line.startswith("#"):
            name, value = re.fullmatch(r'([a-z_]+)(?:\{(?:[a-z_]+="[^"\n]*",?)*\})? (\S+)', line).groups()
            float(value)
            base = re.sub("_(bucket|sum|count)$", "", name)
            assert name in families or base in families, f"{name} has no TYPE"
            assert name.startswith("weir_")


def test_metrics_count_requests_tokens_attempts_and_times(gateway):
    before = gateway.metrics()
    gateway.chat("one two three")
    gateway.chat("one two three", stream=True)
    gateway.chat("Hello", model="absent")
    after = eventually(
        lambda: (now := gateway.metrics()) and grown(before, now, 'weir_requests_total{pool="main",outcome="ok"}') == 2
        and now, "two requests are counted")
    assert grown(before, after, 'weir_tokens_total{direction="prompt",pool="main"}') == 6
    assert grown(before, after, 'weir_tokens_total{direction="completion",pool="main"}') == 20
    assert grown(before, after, 'weir_replica_requests_total{pool="main",replica="one",result="ok"}') == 2
    assert grown(before, after, 'weir_request_duration_seconds_count{pool="main"}') == 2
    assert grown(before, after, 'weir_time_to_first_token_seconds_count{pool="main"}') == 2
    assert after['weir_replica_up{pool="main",replica="one"}'] == 1
    assert after['weir_replica_in_flight{pool="main",replica="one"}'] == 0
    assert after["weir_ready"] == 1
    assert any(name.startswith("weir_build_info{") for name in after)
    buckets = [name for name in after if name.startswith("weir_request_duration_seconds_bucket")]
    edges = {re.search('le="([^"]+)"', name)[1] for name in buckets}
    assert {"0.3", "1.2", "1.5", "600", "+Inf"} <= edges


def grown(before, after, name):
    return after.get(name, 0) - before.get(name, 0)


def test_labels_stay_few_whatever_clients_send(gateway):
    for number in range(30):
        gateway.chat("Hello", model=f"model-{number}")
        gateway.request("GET", f"/path-{number}")
        gateway.chat("Hello", key=token(f"user-{number}"))
    page = gateway.admin("GET", "/metrics").text
    assert "model-" not in page and "path-" not in page and "user-" not in page


def test_the_admin_socket_is_for_its_owner_alone(gateway):
    assert stat.S_IMODE((gateway.directory / "admin.sock").stat().st_mode) == 0o600


def test_the_admin_port_shows_but_changes_only_with_an_admin_key(gateway, admin):
    assert admin("GET", "/admin/v1/replicas").status == 200
    for key in (None, "wrong", KEY):
        assert admin("POST", "/admin/v1/replicas/one/drain", b"", key=key).status == 401
        assert admin("GET", "/admin/v1/keys", key=key).status == 401
    assert gateway.replicas()["one"]["intent"] == "enabled"
    assert admin("POST", "/admin/v1/replicas/one/drain", b"", key=ADMIN_KEY).status == 200
    assert admin("POST", "/admin/v1/replicas/one/enable", b"", key=ADMIN_KEY).status == 200
    gateway.wait_for({"one"})


@pytest.mark.parametrize("path", ["//admin/v1/keys", "/admin//v1/keys", "/admin/v1//keys", "///admin/v1/keys/"])
def test_no_other_spelling_of_a_path_shows_keys_without_an_admin_key(admin, path):
    assert admin("GET", path).status in (401, 404)


@pytest.mark.parametrize("host", ["evil.test", "evil.test:9901", "localhost.evil.test", ""])
def test_the_admin_port_answers_to_no_foreign_name(admin, host):
    assert admin("GET", "/metrics", host=host).status in (400, 403, 421)


def test_the_public_port_has_no_admin_and_no_metrics(gateway):
    for path in ("/metrics", "/admin/v1/status", "/admin/v1/replicas", "/admin/v1/keys"):
        assert gateway.request("GET", path).status == 404


def test_status_says_what_runs(gateway):
    status = gateway.admin("GET", "/admin/v1/status").json
    assert status["pid"] == gateway.process.pid and status["ready"] is True and status["redis"] == "none"
    assert status["pools"][0] == {"name": "main", "models": ["tiny"], "queue": 0, "serving": 1, "replicas": 1}


def test_a_replica_that_dies_and_comes_back_is_an_event_once_each(stage):
    replica = stage.replica("solo")
    gateway = stage.gateway([replica], pool={"probe": {"interval": "1s", "timeout": "1s", "fall": 1}})
    gateway.wait_for({"solo"})
    gateway.events.clear()
    replica.kill()
    down = eventually(lambda: gateway.event("replica_down"), "replica_down is said")
    assert down["replica"] == "solo" and down["level"] == "warning"
    replica.start()
    eventually(lambda: gateway.event("replica_up"), "replica_up is said")
    assert [event["event"] for event in gateway.events].count("replica_down") == 1
