"""A reply that is not what it claims is a failure; one that says when to come back is believed; a refusal is final."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import modes
from harness.gateway import KEY, chat_body, replica_settings
from harness.modes import answer_text
from harness.process import connecting_count
from harness.waiting import eventually

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def pair(stage):
    """Two replicas, of which the first one that is asked misbehaves as told."""
    replicas = stage.replicas("one", "two")
    gateway = stage.gateway(replicas)
    gateway.wait_for({"one", "two"})
    return gateway, replicas


def first_only(replicas, mode):
    left = [mode]

    async def chosen(exchange):
        await (left.pop() if left else modes.answer)(exchange)

    for replica in replicas:
        replica.mode = chosen


def whole(change):
    """A plain answer whose document was changed."""

    async def mode(exchange):
        document = exchange.whole_document()
        change(document)
        exchange.reply(200, json.dumps(document).encode())

    return mode


def text(body, content_type="application/json"):
    async def mode(exchange):
        exchange.reply(200, body, content_type)

    return mode


def without_finish(document):
    document["choices"][0]["finish_reason"] = None


NO_ANSWERS = {
    "no finish reason": whole(without_finish),
    "no choices": whole(lambda document: document.update(choices=[])),
    "choices that are none": whole(lambda document: document.update(choices=None)),
    "a list": text(b"[]"),
    "a text": text(b'"Hello"'),
    "null": text(b"null"),
    "cut JSON of the right length": text(b'{"id":"x","choices":[{"index":0,"message":{"role":"assis'),
    "JSON and something behind it": text(b'{"choices":[{"finish_reason":"stop"}]} {}'),
    "white space": text(b"  \r\n"),
    "an error object": text(b'{"error":{"message":"engine died","type":"server_error","code":null}}'),
    "an error of vLLM": text(b'{"object":"error","message":"engine died","type":"InternalServerError","code":500}'),
    "an event stream": text(b"data: [DONE]\n\n", "text/event-stream"),
    "HTML that says JSON": text(b"<html></html>"),
    "plain text": text(b"OK", "text/plain"),
}


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_a_plain_reply_that_is_no_answer_is_asked_for_again_elsewhere(pair, what):
    gateway, replicas = pair
    first_only(replicas, NO_ANSWERS[what])
    reply = gateway.chat("Hello")
    assert reply.status == 200 and reply.content == answer_text(HELLO)
    assert [replica.posts for replica in replicas] == [1, 1]
    failed = [name for name, count in gateway.metrics().items()
              if name.startswith("weir_replica_requests_total") and count and 'result="ok"' not in name]
    assert len(failed) == 1, failed


def events(*data, end=b"0\r\n\r\n"):
    """A stream of these events, each as it stands."""

    async def mode(exchange):
        exchange.stream_head()
        for event in data:
            exchange.chunk(event)
        exchange.write(end)

    return mode


ROLE = b'data: {"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
NO_STREAMS = {
    "nothing": events(),
    "comments": events(b": ping\n\n", b": ping\n\n"),
    "a role and the end": events(ROLE),
    "a role and [DONE]": events(ROLE, b"data: [DONE]\n\n"),
    "a role and an abort": events(ROLE, b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}\n\n'),
    "a role and an error": events(ROLE, b'data: {"error":{"message":"engine died","code":500}}\n\n'),
    "an error event of vLLM": events(b'data: {"object":"error","message":"engine died","code":500}\n\n'),
    "half an event": events(ROLE, b'data: {"choices":[{"index":0,"del'),
    "an event that is no JSON": events(ROLE, b"data: hello\n\n"),
    "an event that is a list": events(ROLE, b"data: []\n\n"),
    "a JSON answer instead of events": text(b'{"choices":[]}'),
    "HTML instead of events": modes.html,
}


@pytest.mark.parametrize("what", NO_STREAMS)
def test_a_stream_that_is_no_answer_is_asked_for_again_elsewhere(pair, what):
    gateway, replicas = pair
    first_only(replicas, NO_STREAMS[what])
    reply = gateway.chat("Hello", stream=True)
    assert reply.status == 200 and reply.streamed_text == answer_text(HELLO) and reply.events[-1] == "[DONE]"
    assert [replica.posts for replica in replicas] == [1, 1]


REFUSALS = {
    "vLLM's integer code": (400, {"message": "Bad.", "type": "BadRequestError", "param": None, "code": 400}, None),
    "a prompt that is too long": (
        400, {"message": "maximum context length is 8", "type": "BadRequestError", "code": 400},
        "context_length_exceeded"),
    "a content filter": (
        400, {"message": "No.", "type": "invalid_request_error", "code": "content_policy_violation"},
        "content_policy_violation"),
    "413": (413, {"message": "Too large.", "code": 413}, "request_too_large"),
    "415": (415, {"message": "What?", "code": 415}, None),
    "422": (422, {"message": "temperature: 9", "code": 422}, None),
    "409": (409, {"message": "Conflict.", "code": 409}, None),
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_is_passed_on_once_with_a_code_that_is_a_text(pair, what, stream):
    gateway, replicas = pair
    status, error, code = REFUSALS[what]
    for replica in replicas:
        replica.mode = modes.status(status, body=json.dumps({"error": error}).encode())
    reply = gateway.chat("Hello", stream=stream)
    assert reply.status == status and set(reply.error) == {"message", "type", "param", "code"}
    assert reply.error["code"] == code and isinstance(reply.error["type"], str)
    assert sum(replica.posts for replica in replicas) == 1
    assert reply.field("x-weir-attempts") == "1"


# Retry-After.


@pytest.mark.parametrize("fields", [["retry-after: 60"], ["retry-after-ms: 60000"]])
@pytest.mark.parametrize("status", [429, 503])
def test_a_replica_that_asks_to_be_left_alone_is_and_others_answer_at_once(pair, status, fields):
    gateway, (one, two) = pair
    one.mode = modes.status(status, *fields)
    for number in range(20):
        assert gateway.chat(f"Question {number}").status == 200
    assert one.posts == 1 and two.posts == 20
    assert gateway.replicas()["one"]["health"] == "up" and gateway.replicas()["one"]["stopped_models"] == 0


def test_with_nobody_else_a_short_time_is_waited_for(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica])
    replica.next(modes.status(429, "retry-after-ms: 700"))
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gateway.chat, "Hello")
        eventually(lambda: replica.posts == 1, "the first request was refused")
        # One that comes meanwhile waits as well, without being sent.
        assert gateway.chat("Hello").status == 200
        assert first.result().status == 200
    assert time.monotonic() - began >= 0.7
    assert replica.posts == 3


def test_with_nobody_else_a_long_time_is_passed_on(stage):
    replica = stage.replica(mode=modes.status(503, "retry-after: 11"))
    gateway = stage.gateway([replica])
    reply = gateway.chat("Hello")
    assert reply.status == 503 and reply.field("retry-after") == "11" and replica.posts == 1
    # The next one hears the same without asking.
    reply = gateway.chat("Hello")
    assert reply.status == 503 and 9 <= int(reply.field("retry-after")) <= 11 and replica.posts == 1


# Clients that leave.


def test_a_client_that_leaves_while_the_first_content_is_awaited_ends_the_generation(stage):
    replica = stage.replica()
    steps = replica.steps()
    replica.mode = modes.streamed(before=steps)
    gateway = stage.gateway([replica], timeouts={"headHold": "100ms"})
    connection = gateway.connect()
    connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
    connection.read_head()
    assert connection.read_chunk().startswith(b": ping")
    left(connection, replica, gateway)


@pytest.mark.parametrize("mode", ["half_open", "hang_after_head"])
def test_a_client_that_leaves_ends_the_generation_of_a_plain_answer(stage, mode):
    replica = stage.replica(mode=getattr(modes, mode))
    gateway = stage.gateway([replica])
    connection = gateway.connect()
    connection.send_request("POST", CHAT, chat_body("Hello"), key=KEY)
    eventually(lambda: replica.running == 1, "the request runs")
    left(connection, replica, gateway)


def test_a_client_that_leaves_while_its_request_is_on_its_second_replica_ends_it_there(pair):
    gateway, replicas = pair
    first_only(replicas, modes.broken)
    for replica in replicas:
        replica.next(modes.broken)
        replica.mode = modes.half_open
    connection = gateway.connect()
    connection.send_request("POST", CHAT, chat_body("Hello"), key=KEY)
    eventually(lambda: sum(r.running for r in replicas) == 1 and sum(r.posts for r in replicas) >= 2, "the retry runs")
    left(connection, next(replica for replica in replicas if replica.running), gateway)


def test_a_client_that_leaves_while_a_retry_after_is_waited_for_is_never_sent_again(stage):
    replica = stage.replica(mode=modes.status(429, "retry-after: 2"))
    gateway = stage.gateway([replica_settings(replica)])
    connection = gateway.connect()
    connection.send_request("POST", CHAT, chat_body("Hello"), key=KEY)
    eventually(lambda: replica.posts == 1, "the request was refused")
    connection.close()
    eventually(lambda: [x for x in gateway.access_lines() if x["outcome"] == "client_gone"], "it is gone", seconds=1.5)
    replica.mode = modes.answer
    assert gateway.chat("Hello").status == 200
    assert replica.posts == 2


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_while_its_replica_is_connected_to_leaves_no_connection_behind(stage, how, stream):
    replica = stage.replica()
    # Nothing else ends it: no other probe comes, and a connection may take as long as any of these tests.
    gateway = stage.gateway([replica], timeouts={"connect": "1m"}, pool={"probe": {"interval": "1m", "timeout": "1m"}})
    gateway.wait_for({"one"})
    replica.ignore()
    connection = gateway.connect()
    connection.send_request("POST", CHAT, chat_body("Hello", stream=stream), key=KEY)
    eventually(lambda: connecting_count(gateway.process.pid, replica.port) == 1, "the gateway connects to its replica")
    getattr(connection, how)()
    eventually(lambda: connecting_count(gateway.process.pid, replica.port) == 0, "it does so no longer")
    eventually(lambda: gateway.replicas()["one"]["in_flight"] == 0, "its place is free")
    eventually(lambda: [x for x in gateway.access_lines() if x["outcome"] == "client_gone"], "the log says so")
    assert gateway.replicas()["one"]["serving"], "nothing is held against the replica"
    assert replica.posts == 0


def left(connection, replica, gateway):
    """The client goes: within a second its replica does not generate any more."""
    began = time.monotonic()
    connection.close()
    eventually(lambda: replica.cancelled == 1, "the replica's connection ends")
    assert time.monotonic() - began < 1
    eventually(lambda: gateway.replicas()[replica.name]["in_flight"] == 0, "its place is free")
    eventually(lambda: [x for x in gateway.access_lines() if x["outcome"] == "client_gone"], "the log says so")
