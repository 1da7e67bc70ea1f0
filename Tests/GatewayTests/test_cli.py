"""The commands that need no gateway, through the real executable."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import socketserver
import subprocess
import threading
import time

import pytest

from harness.gateway import ROOT, weir_bin

SECRET = "0123456789abcdef0123456789abcdef"


def weir(*arguments, stdin="", **environment):
    """Runs the command with nothing of this machine's environment that could change what it does."""
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | environment
    return subprocess.run(
        [weir_bin(), *map(str, arguments)], input=stdin, env=clean, capture_output=True, text=True, timeout=30, cwd=ROOT
    )


class AdminHandler(http.server.BaseHTTPRequestHandler):
    """Answers what the test put into `server.replies` and keeps what was asked."""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None))
        status, reply = self.server.replies[self.command, self.path]
        text = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = answer

    def address_string(self):
        return "unix"

    def log_message(self, *arguments):
        pass


@pytest.fixture
def admin(tmp_path):
    """A stand-in for the gateway's side of the admin socket."""
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "admin.sock"), AdminHandler) as server:
        server.replies, server.asked, server.path = {}, [], tmp_path / "admin.sock"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_the_version_is_a_version():
    result = weir("--version")
    assert result.returncode == 0
    assert len(result.stdout.strip().split(".")) == 3


def test_bad_usage_is_64_and_says_how_it_goes():
    for arguments in (
        ["keys", "create"], ["status", "--nonsense"], ["nonsense"], ["config", "check"], ["up", "--listen", "x"],
    ):
        result = weir(*arguments)
        assert result.returncode == 64, arguments
        assert "Usage: weir" in result.stderr


def test_a_missing_gateway_is_69_and_the_message_has_the_way_out():
    result = weir("status")
    assert result.returncode == 69
    assert "/nonexistent/.local/state/weir/admin.sock" in result.stderr
    assert "--socket" in result.stderr and "WEIR_ADMIN_SOCKET" in result.stderr
    assert result.stdout == ""


def test_the_socket_is_named_by_option_then_variable_then_state_directory(tmp_path):
    def tried(*arguments, **environment):
        return weir("status", *arguments, **environment).stderr

    assert "/a.sock" in tried("--socket", "/a.sock", WEIR_ADMIN_SOCKET="/b.sock", WEIR_STATE_DIRECTORY="/c")
    assert "/b.sock" in tried(WEIR_ADMIN_SOCKET="/b.sock", WEIR_STATE_DIRECTORY="/c")
    assert "/c/admin.sock" in tried(WEIR_STATE_DIRECTORY="/c", XDG_STATE_HOME="/d")
    assert "/d/weir/admin.sock" in tried(XDG_STATE_HOME="/d")


def test_a_socket_that_nobody_listens_on_is_69(tmp_path):
    path = tmp_path / "admin.sock"
    with socketserver.UnixStreamServer(str(path), AdminHandler):
        pass
    assert path.exists()
    result = weir("status", "--socket", path)
    assert result.returncode == 69
    assert str(path) in result.stderr


STATUS = {
    "version": "9.9.9", "pid": 4711, "uptime_seconds": 3725, "ready": True, "draining": False, "loops": 2,
    "address": "127.0.0.1:8080", "redis": "up", "keys": {"configured": 1, "stored": 2}, "connections": 3,
    "pools": [{"name": "main", "models": ["a", "b"], "queue": 0, "serving": 2, "replicas": 3}],
}


def test_status_is_a_table_or_the_gateways_json(admin):
    admin.replies["GET", "/admin/v1/status"] = (200, STATUS)
    table = weir("status", "--socket", admin.path)
    assert table.returncode == 0
    assert "1h 2m" in table.stdout and "127.0.0.1:8080" in table.stdout
    assert table.stdout.splitlines()[-1].split() == ["main", "a,b", "2", "3", "0"]
    assert json.loads(weir("status", "--socket", admin.path, "-o", "json").stdout) == STATUS


def test_status_of_a_gateway_that_is_not_ready_is_1(admin):
    admin.replies["GET", "/admin/v1/status"] = (200, STATUS | {"ready": False})
    assert weir("status", "--socket", admin.path).returncode == 1


def test_a_proxy_of_the_environment_is_not_asked(admin):
    admin.replies["GET", "/admin/v1/status"] = (200, STATUS)
    nowhere = "http://127.0.0.1:1"
    assert weir("status", "--socket", admin.path, http_proxy=nowhere, ALL_PROXY=nowhere).returncode == 0


def test_what_the_gateway_refuses_is_said_in_its_words(admin):
    problem = {"error": {"message": "There is no replica nobody."}}
    admin.replies["POST", "/admin/v1/replicas/nobody/drain"] = (404, problem)
    result = weir("replicas", "drain", "nobody", "--socket", admin.path)
    assert (result.returncode, result.stderr) == (1, "weir: There is no replica nobody.\n")


def test_an_answer_that_is_no_json_is_70(admin):
    admin.replies["GET", "/admin/v1/keys"] = (200, b"<html>")
    assert weir("keys", "list", "--socket", admin.path).returncode == 70


def test_replicas_are_listed_drained_and_enabled(admin):
    replica = {
        "pool": "main", "name": "one", "address": "127.0.0.1:9001", "kind": "weir", "weight": 5, "intent": "enabled",
        "health": "up", "serving": True, "in_flight": 2, "max_in_flight": 128, "backup": False,
        "restart": "cooling_down", "restart_seconds": 61,
    }
    admin.replies["GET", "/admin/v1/replicas"] = (200, {"replicas": [replica]})
    expected = ["main", "one", "127.0.0.1:9001", "weir", "5", "enabled", "up", "yes", "2", "128"] + [
        "cooling", "down", "1m", "1s"]
    for arguments in (["list"], []):
        assert weir("replicas", *arguments, "--socket", admin.path).stdout.splitlines()[1].split() == expected
    for word in ("drain", "enable", "maintenance"):
        admin.replies["POST", f"/admin/v1/replicas/one/{word}"] = (200, replica)
        assert weir("replicas", word, "one", "--socket", admin.path).stdout.splitlines()[1].split() == expected


def test_a_key_is_asked_for_as_given_and_shown(admin):
    admin.replies["POST", "/admin/v1/keys"] = (201, {"id": "key_1", "key": "sk-weir-x", "name": "Ops, \"night\""})
    result = weir(
        "keys", "create", "--name", 'Ops, "night"', "--models", "a, b,", "--requests", "7", "--ttl", "2d", "--replace",
        "--socket", admin.path,
    )
    assert result.returncode == 0
    assert admin.asked[-1][2] == {
        "name": 'Ops, "night"', "models": ["a", "b"], "requests": 7, "ttl_seconds": 172800, "replaces_name": True,
    }
    assert result.stdout.split().count("sk-weir-x") == 1
    assert "only now" in result.stderr
    weir("keys", "create", "--name", "plain", "--socket", admin.path)
    assert admin.asked[-1][2] == {"name": "plain"}


def test_keys_are_listed_and_revoked(admin):
    key = {
        "id": "key_1", "name": "ops", "models": None, "requests": None, "created": 1700000000, "expires": None,
        "revoked": False, "source": "redis",
    }
    revoked = key | {"id": "key_2", "revoked": True, "models": ["a"]}
    admin.replies["GET", "/admin/v1/keys"] = (200, {"keys": [key, revoked]})
    lines = weir("keys", "list", "--socket", admin.path).stdout.splitlines()
    assert lines[1].split() == ["key_1", "ops", "redis", "all", "default", "2023-11-14", "22:13:20Z", "never", "valid"]
    assert lines[2].split()[-1] == "revoked"
    admin.replies["DELETE", "/admin/v1/keys/key_1"] = (200, {"id": "key_1", "revoked": True})
    assert weir("keys", "revoke", "key_1", "--socket", admin.path).returncode == 0


def test_a_secret_key_is_not_taken_as_the_name_of_a_key(admin):
    result = weir("keys", "revoke", "sk-weir-secret", "--socket", admin.path)
    assert result.returncode == 64
    assert admin.asked == []
    assert "secret" not in result.stderr.split("Usage:")[0]


def test_a_name_cannot_leave_its_place_in_the_path_nor_move_the_cursor(admin):
    path = "/admin/v1/replicas/..%2F%00/drain".replace("%00", "%0A")
    admin.replies["POST", path] = (404, {"error": {"message": "no"}})
    assert weir("replicas", "drain", "../\n", "--socket", admin.path).stderr == "weir: no\n"
    admin.replies["GET", "/admin/v1/status"] = (200, STATUS | {"address": "\x1b[2J"})
    assert "\x1b" not in weir("status", "--socket", admin.path).stdout


def test_reload_says_what_is_wrong(admin):
    admin.replies["POST", "/admin/v1/reload"] = (400, {"error": {"message": "weir.yaml:3:1: pools: required"}})
    result = weir("reload", "--socket", admin.path)
    assert result.returncode == 1 and "weir.yaml:3:1" in result.stderr
    admin.replies["POST", "/admin/v1/reload"] = (200, {"reloaded": True})
    assert weir("reload", "--socket", admin.path).stdout == "reloaded\n"


def decoded(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_token_is_signed_with_the_secret_of_the_file(tmp_path, ending):
    path = tmp_path / "secret"
    path.write_text(SECRET + ending, newline="")
    before = int(time.time())
    result = weir(
        "tokens", "issue", "--key-file", path, "--subject", "alice", "--issuer", "here", "--audience", "weir",
        "--ttl", "3600s", "--kid", "k1", "--models", "a,b", "--requests", "9",
    )
    assert result.returncode == 0, result.stderr
    token = result.stdout.rstrip("\n")
    head, claims, signature = token.split(".")
    assert decoded(head) == {"alg": "HS256", "typ": "JWT", "kid": "k1"}
    payload = decoded(claims)
    assert before <= payload["iat"] <= time.time()
    assert payload["exp"] == payload["iat"] + 3600
    assert (payload["sub"], payload["iss"], payload["aud"]) == ("alice", "here", "weir")
    assert (payload["weir_models"], payload["weir_requests_per_window"]) == (["a", "b"], 9)
    digest = hmac.new(SECRET.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == signature


def test_a_secret_may_come_from_standard_input_and_never_shows():
    arguments = ["tokens", "issue", "--key-file", "-", "--subject", "a", "--issuer", "b", "--audience", "c", "--ttl"]
    result = weir(*arguments, "1m", "-o", "json", stdin=SECRET)
    token = json.loads(result.stdout)
    assert decoded(token["token"].split(".")[1])["exp"] == token["expires"]
    short = weir(*arguments, "1m", stdin="short-secret")
    assert short.returncode == 1 and short.stdout == "" and "short-secret" not in short.stderr
    assert weir(*arguments, "1m", stdin="").returncode == 1
    for ttl in ("0s", "60", "-1s", "1y", "99999999999999999999s", ""):
        assert weir(*arguments[:-1], f"--ttl={ttl}", stdin=SECRET).returncode == 64, ttl


def test_the_sample_configuration_is_usable():
    result = weir("config", "check", "--config", "config/weir.yaml")
    assert (result.returncode, result.stdout) == (0, "config/weir.yaml: usable\n")
    assert json.loads(weir("config", "check", "-o", "json", WEIR_CONFIG="config/weir.yaml").stdout) == {
        "usable": True, "problems": [],
    }


def test_all_problems_of_a_configuration_are_told_at_once(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text("listen:\n  adress: x\nidentity: {required: false}\n"
                    "pools:\n  - name: main\n    models: [a]\n    replicas:\n"
                    "      - {name: one, url: 'http://127.0.0.1:1', weight: 0}\n")
    result = weir("config", "check", "-c", path)
    assert result.returncode == 1
    assert f"{path}:2:3:" in result.stdout and f"{path}:8:" in result.stdout
    problems = json.loads(weir("config", "check", "-c", path, "-o", "json").stdout)["problems"]
    assert len(problems) == len(result.stdout.splitlines()) >= 2
    assert problems[0]["line"] == 2
    served = weir("serve", "--config", path)
    assert served.returncode == 1
    assert all(line in served.stderr for line in result.stdout.splitlines())


def test_an_exported_configuration_is_one_that_means_the_same(tmp_path):
    first = weir("config", "export", "-c", "config/weir.yaml", WEIR_LISTEN_BACKLOG="77", HOME="/h")
    assert first.returncode == 0 and "backlog: 77" in first.stdout
    path = tmp_path / "exported.yaml"
    path.write_text(first.stdout)
    assert weir("config", "export", "-c", path).stdout == first.stdout


def test_a_configuration_that_is_not_there_is_a_problem_of_one_line():
    result = weir("serve", "--config", "/nonexistent/weir.yaml")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0].startswith("/nonexistent/weir.yaml: can't be read")
