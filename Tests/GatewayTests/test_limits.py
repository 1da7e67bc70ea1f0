"""How much one key may ask, and what it is told about it."""

import re
import threading
import time

import openai
import pytest
from harness.gateway import KEY, OTHER_KEY, chat_body, sha256, token

DURATION = re.compile(r"(\d+h)?(\d+m)?\d+(ms|s)$|\d+ms$")


@pytest.fixture
def limited(stage):
    def make(requests, window="1m", **limits):
        replica = stage.replica()
        return replica, stage.gateway([replica], rateLimit={"requests": requests, "window": window, **limits})

    return make


def test_every_reply_says_what_is_left(limited):
    _, gateway = limited(5)
    for left in (4, 3, 2):
        reply = gateway.chat("Hello")
        assert reply.status == 200
        assert reply.field("x-ratelimit-limit-requests") == "5"
        assert reply.field("x-ratelimit-remaining-requests") == str(left)
        assert DURATION.match(reply.field("x-ratelimit-reset-requests"))
    stream = gateway.chat("Hello", stream=True)
    assert stream.field("x-ratelimit-remaining-requests") == "1"


def test_one_request_too_many_is_429_and_reaches_no_replica(limited):
    replica, gateway = limited(3)
    assert [gateway.chat("Hello").status for _ in range(3)] == [200] * 3
    reply = gateway.chat("Hello")
    assert reply.status == 429
    assert (reply.error["type"], reply.error["code"]) == ("requests", "rate_limit_exceeded")
    assert 1 <= int(reply.field("retry-after")) <= 61
    assert 0 < int(reply.field("retry-after-ms")) <= 61_000
    assert int(reply.field("retry-after")) == -(-int(reply.field("retry-after-ms")) // 1000)
    assert reply.field("x-ratelimit-remaining-requests") == "0"
    assert reply.field("x-should-retry") is None
    assert replica.posts == 3


def test_keys_and_tokens_have_budgets_of_their_own(limited):
    _, gateway = limited(1)
    for key in (KEY, OTHER_KEY, token("ada"), token("bob")):
        assert gateway.chat("Hello", key=key).status == 200
        assert gateway.chat("Hello", key=key).status == 429
    another = gateway.chat("Hello", key=token("ada", extra=1))
    assert another.status == 429, "the budget is the subject's, not the token's"


def test_as_many_callers_as_are_counted_have_budgets_of_their_own(limited):
    _, gateway = limited(1, window="1h", keysMax=1000)
    body = chat_body("Hello")
    with gateway.connect() as connection:
        statuses = {connection.request("POST", "/v1/chat/completions", body, key=token(f"caller-{number}")).status
                    for number in range(1000)}
    assert statuses == {200}


def test_a_key_may_have_a_limit_of_its_own(stage):
    gateway = stage.gateway([stage.replica()], rateLimit={"requests": 1}, identity={"apiKeys": [
        {"id": "team-a", "sha256": sha256(KEY), "requests": 3}, {"id": "team-b", "sha256": sha256(OTHER_KEY)}]})
    assert [gateway.chat("Hello").status for _ in range(4)] == [200, 200, 200, 429]
    assert [gateway.chat("Hello", key=OTHER_KEY).status for _ in range(2)] == [200, 429]


def test_a_refused_request_costs_nothing_and_neither_do_bad_ones(limited):
    _, gateway = limited(3)
    for _ in range(5):
        assert gateway.request("POST", "/v1/chat/completions", b"nonsense").status == 400
        assert gateway.chat("Hello", model="absent").status == 404
        assert gateway.request("GET", "/v1/models").status == 200
    assert [gateway.chat("Hello").status for _ in range(5)] == [200, 200, 200, 429, 429]


def test_no_window_holds_more_than_the_limit_over_all_loops_and_a_greedy_client_gets_all_of_it(limited):
    replica, gateway = limited(50, window="1s")
    admitted, refused, ends = [], [], time.monotonic() + 3

    def ask():
        with gateway.connect() as connection:
            while time.monotonic() < ends:
                began = time.monotonic()
                body = b'{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}'
                status = connection.request("POST", "/v1/chat/completions", body, key=KEY).status
                (admitted if status == 200 else refused).append((began, time.monotonic()))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Admitted somewhere between its start and its end: what surely lay inside one second must fit.
    for first, _ in admitted:
        inside = sum(1 for began, ended in admitted if began >= first and ended <= first + 1)
        assert inside <= 50 * 1.02
    # However often it had its turn: nobody is refused before the window is spent. A loop's clock may be a little late.
    assert refused
    for began, ended in refused:
        spent = sum(1 for first, last in admitted if last >= began - 1.1 and first <= ended)
        assert spent >= 50 * 0.98
    assert replica.posts == len(admitted)


def test_the_client_s_own_retry_waits_as_told_and_succeeds(limited, client_of):
    _, gateway = limited(2, window="1s")
    client = client_of(gateway, max_retries=3)
    began = time.monotonic()
    for _ in range(3):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}])
    assert time.monotonic() - began < 10
    refusals = [line for line in gateway.access_lines() if line["status"] == 429]
    assert refusals and all(line["outcome"] == "rate_limited_requests" for line in refusals)


def test_without_retries_the_client_sees_a_rate_limit_error(limited, client_of):
    _, gateway = limited(1)
    client = client_of(gateway)
    client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(openai.RateLimitError) as problem:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}])
    assert problem.value.code == "rate_limit_exceeded"
    assert float(problem.value.response.headers["retry-after-ms"]) > 0


def test_the_short_limit_caps_bursts(limited):
    _, gateway = limited(100, burst={"requests": 2, "window": "10s"})
    assert [gateway.chat("Hello").status for _ in range(3)] == [200, 200, 429]


def test_what_the_limiter_said_is_counted(limited):
    _, gateway = limited(2)
    for _ in range(5):
        gateway.chat("Hello")
    metrics = gateway.metrics()
    assert metrics['weir_limiter_decisions_total{decision="allowed"}'] == 2
    assert metrics['weir_limiter_decisions_total{decision="rejected_requests"}'] == 3
