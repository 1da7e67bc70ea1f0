"""HTTP/1.1 in all its forms, on both sides: what is legal works, and what is ambiguous goes nowhere."""

import json
import socket

import pytest
from harness.client import Connection
from harness.gateway import KEY, chat_body
from harness.modes import (
    answer, both_framings, garbage, gzipped, held, short_body, status, stream_that, streamed, two_lengths)
from harness.waiting import eventually

BODY = chat_body("Hello")
STREAM = chat_body("Hello", stream=True)


@pytest.fixture(scope="module")
def gateway(shared, replica):
    return shared.gateway(
        [replica], pool={"probe": {"interval": "1m"}, "retry": {"replicasMax": 1}},
        http={"cors": {"allowedOrigins": ["https://app.test"]}})


@pytest.fixture(autouse=True)
def fresh(replica):
    replica.forget()


def post(*fields, body=BODY, line=b"POST /v1/chat/completions HTTP/1.1", key=KEY, framing=True):
    head = [line, b"host: weir.test", b"authorization: Bearer " + key.encode()]
    if framing:
        head.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*head, *fields]) + b"\r\n\r\n" + body


GET = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n\r\n" % KEY.encode()


# Expectations.


def test_a_body_is_invited_when_it_is_wanted(gateway):
    with gateway.connect() as connection:
        connection.send(post(b"expect: 100-continue")[:-len(BODY)])
        assert connection.read_head() == (100, [])
        connection.send(BODY)
        status, fields = connection.read_head()
        assert status == 200 and connection.read_body(fields)


def test_a_body_that_is_not_wanted_is_not_invited(gateway, replica):
    for data, expected in (
        (post(b"expect: 100-continue", key="sk-weir-wrong")[:-len(BODY)], 401),
        (post(b"expect: 100-continue", b"content-type: text/plain")[:-len(BODY)], 415),
        (post(b"expect: 100-continue", line=b"POST /v1/nothing HTTP/1.1")[:-len(BODY)], 404),
    ):
        with gateway.connect() as connection:
            connection.send(data)
            status, fields = connection.read_head()
            assert status == expected
            assert ("connection", "close") in fields
            connection.read_body(fields)
            assert connection.is_closed_by_peer()
    assert replica.posts == 0


def test_a_body_that_comes_with_its_head_needs_no_invitation(gateway):
    with gateway.connect() as connection:
        connection.send(post(b"expect: 100-continue"))
        assert connection.read_head()[0] == 200


def test_http_1_0_gets_no_interim_answer(gateway):
    with gateway.connect() as connection:
        connection.send(post(b"expect: 100-continue", line=b"POST /v1/chat/completions HTTP/1.0"))
        assert connection.read_head()[0] == 200


# HEAD, OPTIONS, targets.


def test_head_is_answered_as_get_without_a_body(gateway):
    with gateway.connect() as connection:
        for path, key in (("/healthz", None), ("/readyz", None), ("/v1/models", KEY), ("/v1/models/none", KEY)):
            whole = gateway.request("GET", path, key=key)
            reply = connection.request("HEAD", path, key=key)
            assert reply.status == whole.status
            assert reply.field("content-length") == str(len(whole.body)) and reply.body == b""
        assert connection.request("GET", "/v1/models", key=KEY).status == 200, "a stray body followed a HEAD"


def test_an_error_after_head_has_its_body(gateway):
    with gateway.connect() as connection:
        connection.request("HEAD", "/healthz")
        connection.send(b"nonsense\r\n\r\n")
        assert connection.read_reply().error["code"] == "malformed_request"


@pytest.mark.parametrize("target", [b"*", b"http://weir.test", b"/v1/chat/completions"])
def test_options_is_answered_here(gateway, replica, target):
    with gateway.connect() as connection:
        connection.send(b"OPTIONS %b HTTP/1.1\r\nhost: x\r\n\r\n" % target)
        reply = connection.read_reply()
        assert reply.status == 204 and "POST" in reply.field("allow")
        assert reply.field("content-length") is None
        connection.send(GET)
        assert connection.read_reply().status == 200
    assert replica.posts == 0


def test_an_absolute_target_is_its_path_and_its_host_goes_nowhere(gateway, replica):
    with gateway.connect() as connection:
        connection.send(post(line=b"POST http://elsewhere.test/v1/chat/completions HTTP/1.1"))
        assert connection.read_reply().status == 200
    assert replica.last.line == "POST /v1/chat/completions HTTP/1.1"
    assert replica.last.field("host") == f"127.0.0.1:{replica.port}"


# Versions and connections.


def test_an_http_1_0_client_may_keep_its_connection(gateway):
    with gateway.connect() as connection:
        for _ in range(3):
            connection.send(post(b"connection: keep-alive", line=b"POST /v1/chat/completions HTTP/1.0"))
            reply = connection.read_reply()
            assert reply.status == 200 and reply.field("connection") == "keep-alive"
        connection.send(post(line=b"POST /v1/chat/completions HTTP/1.0"))
        assert connection.read_reply().field("connection") == "close"
        assert connection.is_closed_by_peer()


@pytest.mark.parametrize("fields", [(), (b"connection: keep-alive",)])
def test_a_stream_for_http_1_0_is_whole_when_the_connection_ends_well(gateway, fields):
    with gateway.connect() as connection:
        connection.send(post(*fields, body=STREAM, line=b"POST /v1/chat/completions HTTP/1.0"))
        reply = connection.read_reply()
        assert reply.field("connection") == "close" and reply.field("transfer-encoding") is None
        assert reply.events[-1] == "[DONE]"


def test_a_stream_for_http_1_0_that_breaks_ends_in_a_reset(gateway, replica):
    replica.next(stream_that("reset"))
    with gateway.connect() as connection:
        connection.send(post(body=STREAM, line=b"POST /v1/chat/completions HTTP/1.0"))
        assert connection.read_head()[0] == 200
        with pytest.raises(ConnectionResetError):
            while True:
                connection.more()


def test_connection_close_is_obeyed(gateway):
    with gateway.connect() as connection:
        connection.send(post(b"connection: close"))
        assert connection.read_reply().field("connection") == "close"
        assert connection.is_closed_by_peer()


def test_more_pipelined_requests_than_one_turn_answers_are_all_answered_in_order(gateway):
    """The loop answers so many and then lets others have their turn: nothing wakes it for the rest but itself."""
    ids = [f"pipelined-{number}" for number in range(100)]
    with gateway.connect() as connection:
        connection.send("".join(f"GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: {i}\r\n\r\n" for i in ids).encode())
        assert [connection.read_reply().field("x-request-id") for _ in ids] == ids


def test_pipelined_requests_are_answered_in_order_one_at_a_time(gateway, replica):
    steps = replica.steps()
    replica.next(held(steps))
    with gateway.connect() as connection:
        requests = [post(b"x-request-id: first"), GET.replace(b"host: x", b"host: x\r\nx-request-id: second"),
                    post(b"x-request-id: third", body=STREAM), post(b"x-request-id: fourth")]
        connection.send(b"".join(requests))
        eventually(lambda: replica.posts == 1, "the first is at the replica")
        steps.allow()
        for name in ("first", "second", "third", "fourth"):
            reply = connection.read_reply()
            assert reply.status == 200 and reply.field("x-request-id") == name
    assert replica.running_max == 1 and replica.posts == 3


def test_a_pipelined_request_that_is_cut_anywhere_is_put_together(gateway):
    data = post() + post(body=STREAM) + GET
    with gateway.connect() as connection:
        for start in range(0, len(data), 7):
            connection.send(data[start:start + 7])
        replies = [connection.read_reply() for _ in range(3)]
    assert [reply.status for reply in replies] == [200] * 3


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 400_000, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_a_large_body_arrives_unchanged_and_what_is_behind_it_is_answered(gateway, replica, size):
    """Its memory comes from its loop's stock and goes back there, and must take nothing of the next request along."""
    with gateway.connect() as connection:
        for number in range(3):
            empty = post(body=chat_body(f"{number}"))
            body = chat_body(f"{number}" + "x" * (size - len(empty)))
            connection.send(post(body=body) + GET + post())
            assert [connection.read_reply().status for _ in range(3)] == [200] * 3
            large, small = replica.requests[-2:]
            assert large.json["messages"] == json.loads(body)["messages"]
            assert small.json["messages"] == json.loads(BODY)["messages"]
    assert replica.posts == 6


def test_nothing_behind_a_refused_request_is_read_as_one(gateway, replica):
    with gateway.connect() as connection:
        connection.send(post(key="sk-weir-wrong") + post())
        assert connection.read_reply().status == 401
        try:
            connection.more()
            raise AssertionError(f"a second answer: {connection.buffer!r}")
        except (EOFError, ConnectionResetError):
            pass
    assert replica.posts == 0


def test_an_early_answer_can_be_read_by_a_client_that_is_still_sending(gateway, replica):
    """The gateway ends its side first, and takes what still comes: a reset would destroy the answer."""
    with gateway.connect() as connection:
        connection.send(post(key="sk-weir-wrong", body=b"", framing=False).replace(
            b"\r\n\r\n", b"\r\ncontent-length: 200000\r\n\r\n"))
        for _ in range(10):
            connection.send(b"x" * 10_000)
        eventually(lambda: connection.socket.recv(1, socket.MSG_PEEK), "the answer is here")
        for _ in range(10):
            connection.send(b"x" * 10_000)
        reply = connection.read_reply()
        assert reply.status == 401 and reply.field("connection") == "close"
    assert replica.posts == 0


@pytest.mark.parametrize("fields", [
    (b"connection: Upgrade", b"upgrade: websocket"),
    (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    (b"upgrade: h2c",),
    (b"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA",),
    (b"connection: keep-alive, x-secret", b"x-secret: of this connection"),
    (b"keep-alive: timeout=5", b"te: trailers", b"proxy-connection: keep-alive"),
], ids=lambda fields: fields[0].decode())
def test_what_belongs_to_one_connection_is_not_passed_on_and_never_switched_to(gateway, replica, fields):
    with gateway.connect() as connection:
        connection.send(post(*fields))
        status, head = connection.read_head()
        assert status == 200
        connection.read_body(head)
        connection.send(GET)
        assert connection.read_reply().status == 200
    for name in ("connection", "upgrade", "http2-settings", "x-secret", "keep-alive", "te", "proxy-connection"):
        assert replica.last.field(name) is None, f"{name} reached the replica"


def test_what_reaches_a_replica_is_made_anew(gateway, replica):
    with gateway.connect() as connection:
        connection.send(post(
            b"transfer-encoding: Chunked", b"trailer: x-late", b"x-kept: yes", framing=False,
            body=b"5;ext=1\r\n%b\r\n%x\r\n%b\r\n0\r\nx-late: no\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])))
        assert connection.read_reply().status == 200
    assert replica.last.body == BODY
    assert replica.last.field("content-length") == str(len(BODY))
    assert replica.last.field("transfer-encoding") is None
    assert replica.last.field("x-late") is None
    assert replica.last.field("x-kept") == "yes"


# Replies.


def raw(data, closes=True):
    async def mode(exchange):
        exchange.write(data)
        if closes:
            exchange.close()
        else:
            await exchange.connection.gone.wait()

    return mode


GOOD = json.dumps({
    "id": "c", "object": "chat.completion", "created": 1, "model": "tiny",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
}).encode()
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
WHOLE = OK + b"content-length: %d\r\n\r\n" % len(GOOD)
CODED = OK + b"transfer-encoding: %b\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)



WRONG_REPLIES = {
    "both framings": (both_framings, "malformed_reply"),
    "two lengths": (two_lengths, "malformed_reply"),
    "no HTTP": (garbage, "malformed_reply"),
    "a bad chunk size": (raw(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + GOOD), "malformed_reply"),
    "a chunk longer than its size": (
        raw(OK + b"transfer-encoding: chunked\r\n\r\n5\r\n" + GOOD + b"\r\n0\r\n\r\n"), "malformed_reply"),
    "chunks without an end": (
        raw(OK + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(GOOD), GOOD)), "cut"),
    "a body that ends early": (short_body, "cut"),
    "bytes behind the body": (raw(WHOLE + GOOD + b"HTTP/1.1 200 OK\r\n\r\n"), "malformed_reply"),
    "a second whole reply": (raw(WHOLE + GOOD + WHOLE + GOOD, closes=False), "malformed_reply"),
    "another coding": (raw(OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "malformed_reply"),
    "gzip": (gzipped, "encoded_reply"),
    "a switch of protocols": (raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n"), "malformed_reply"),
    "a flood of interim replies": (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000 + WHOLE + GOOD), "malformed_reply"),
    "a flood of fields": (
        raw(OK + b"".join(b"x-%d: a\r\n" % n for n in range(5000)) + b"content-length: 0\r\n\r\n"), "malformed_reply"),
    "an endless field": (raw(OK + b"x: " + b"a" * 300_000, closes=False), "malformed_reply"),
    "a folded field": (raw(OK + b"x: a\r\n b\r\ncontent-length: %d\r\n\r\n%b" % (len(GOOD), GOOD)), "malformed_reply"),
    "a space before a colon": (raw(OK + b"content-length : %d\r\n\r\n%b" % (len(GOOD), GOOD)), "malformed_reply"),
    "a null in a field": (raw(OK + b"x: a\0b\r\ncontent-length: %d\r\n\r\n%b" % (len(GOOD), GOOD)), "malformed_reply"),
    "another version": (raw(b"HTTP/2 200\r\ncontent-length: 0\r\n\r\n"), "malformed_reply"),
    "half a head": (raw(OK), "cut"),
    "the same length twice": (
        raw(WHOLE[:-2] + b"content-length: %d\r\n\r\n%b" % (len(GOOD), GOOD)), "malformed_reply"),
    "a list of equal lengths": (
        raw(OK + b"content-length: %d, %d\r\n\r\n%b" % (len(GOOD), len(GOOD), GOOD)), "malformed_reply"),
    "a length with a sign": (raw(OK + b"content-length: +%d\r\n\r\n%b" % (len(GOOD), GOOD)), "malformed_reply"),
    "a length beyond 64 bits": (
        raw(OK + b"content-length: %d\r\n\r\n%b" % (2**64 + len(GOOD), GOOD)), "malformed_reply"),
    "lines that end in LF": (
        raw(OK.replace(b"\r\n", b"\n") + b"content-length: %d\n\n%b" % (len(GOOD), GOOD)), "malformed_reply"),
    "chunked and a comma": (raw(CODED % b"chunked," + CHUNKS), "malformed_reply"),
    "chunked twice": (raw(CODED % b"chunked, chunked" + CHUNKS), "malformed_reply"),
    "identity": (raw(CODED % b"identity" + GOOD), "malformed_reply"),
    "chunked with a vertical tab": (raw(CODED % b"\x0bchunked" + CHUNKS), "malformed_reply"),
    "chunked in HTTP/1.0": (raw((CODED % b"chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + CHUNKS), "malformed_reply"),
    "a chunk size with 0x": (raw(CODED % b"chunked" + b"0x" + CHUNKS), "malformed_reply"),
    "a chunk size with a plus": (raw(CODED % b"chunked" + b"+" + CHUNKS), "malformed_reply"),
    "a chunk size of 2^64": (raw(CODED % b"chunked" + b"1" + b"0" * 16 + b"\r\n" + GOOD), "malformed_reply"),
    "a chunk whose line ends in LF": (raw(CODED % b"chunked" + CHUNKS.replace(b"\r\n", b"\n", 1)), "malformed_reply"),
    "a chunk without its line end": (
        raw(CODED % b"chunked" + b"%x\r\n%b0\r\n\r\n" % (len(GOOD), GOOD)), "malformed_reply"),
    "bytes behind the last chunk": (raw(CODED % b"chunked" + CHUNKS + b"more"), "malformed_reply"),
    "a 204 with a body": (raw(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello"), "malformed_reply"),
    "a 304": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "malformed_reply"),
    "a 204 with chunks": (raw(b"HTTP/1.1 204 X\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS), "malformed_reply"),
    "a status of two digits": (raw(b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n"), "malformed_reply"),
    "a status of four digits": (raw(b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n"), "malformed_reply"),
    "a status of 099": (raw(b"HTTP/1.1 099 X\r\ncontent-length: 0\r\n\r\n"), "malformed_reply"),
    "a status of letters": (raw(b"HTTP/1.1 OK\r\ncontent-length: 0\r\n\r\n"), "malformed_reply"),
    "two spaces before the status": (
        raw(b"HTTP/1.1  200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(GOOD), GOOD)), "malformed_reply"),
    "an empty line before the reply": (raw(b"\r\n" + WHOLE + GOOD), "malformed_reply"),
    "a name that is no token": (raw(OK + b"x(y): a\r\n" + WHOLE[len(OK):] + GOOD), "malformed_reply"),
    "a bare CR in a field": (raw(OK + b"x: a\rb\r\n" + WHOLE[len(OK):] + GOOD), "malformed_reply"),
    "a refusal in bad chunks": (
        raw(b"HTTP/1.1 400 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0x\r\n\r\n"), "malformed_reply"),
    "a refusal and bytes behind it": (
        raw(b"HTTP/1.1 400 X\r\ncontent-length: 2\r\n\r\n{}" + WHOLE + GOOD), "malformed_reply"),
    "a type without its semicolon": (
        raw(WHOLE.replace(b"json", b"json charset=utf-8") + GOOD), "wrong_content_type"),
}


@pytest.mark.parametrize("what", WRONG_REPLIES)
def test_a_reply_that_is_framed_wrongly_is_a_failure_and_nothing_of_it_is_relayed(gateway, replica, what):
    mode, failure = WRONG_REPLIES[what]
    replica.next(mode)
    with gateway.connect() as connection:
        reply = connection.request("POST", "/v1/chat/completions", BODY, key=KEY)
        assert (reply.status, reply.error["code"]) == (502, f"upstream_{failure}")
        # The client's connection is none the worse, and the replica's is not used again.
        assert connection.request("POST", "/v1/chat/completions", BODY, key=KEY).status == 200
        assert connection.buffer == b""


@pytest.fixture(scope="module")
def pair(shared):
    wrong, right = shared.replica("wrong"), shared.replica("right")
    gateway = shared.gateway(
        [{"name": "wrong", "url": wrong.url, "weight": 1000}, right], pool={"probe": {"interval": "1m", "fall": 100}})
    return wrong, right, gateway


@pytest.mark.parametrize("what", ["both framings", "a bad chunk size", "bytes behind the body", "gzip", "half a head"])
def test_another_replica_answers_instead(pair, what):
    wrong, right, gateway = pair
    wrong.forget()
    right.forget()
    wrong.mode = WRONG_REPLIES[what][0]
    for _ in range(3):
        reply = gateway.chat("Hello")
        assert reply.status == 200 and reply.field("x-weir-replica") == "right"


def test_a_stream_that_is_framed_wrongly_is_broken_off_where_it_was_right(gateway, replica):
    steps = replica.steps()

    async def bad_chunk(exchange):
        exchange.stream_head()
        exchange.event(exchange.chunk_document({"content": "Yes"}))
        await steps.wait()
        exchange.write(b"zz\r\ndata: {}\n\n\r\n")

    replica.next(bad_chunk)
    with gateway.connect() as connection:
        connection.send(post(body=STREAM))
        assert connection.read_head()[0] == 200
        events = connection.events()
        assert json.loads(next(events))["choices"][0]["delta"]["content"] == "Yes"
        steps.allow()
        last = json.loads(next(events))
        assert last["error"]["code"].startswith("upstream_")
        assert list(events) == [] and connection.is_closed_by_peer()


def test_replies_in_unusual_but_legal_forms_are_read(gateway, replica):
    for data in (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + WHOLE + GOOD,
        OK.replace(b" OK", b" ") + b"content-length: %d\r\n\r\n%b" % (len(GOOD), GOOD),
        OK + b"transfer-encoding: chunked\r\n\r\n" + b"".join(
            b"1;a=b\r\n%b\r\n" % GOOD[n:n + 1] for n in range(len(GOOD))) + b"0\r\nx-late: a\r\n\r\n",
        OK.replace(b"application/json", b'Application/JSON; charset="utf-8"') + b"\r\n" + GOOD,
    ):
        replica.next(raw(data))
        assert gateway.chat("Hello").content == "Yes.", data[:80]


def test_an_interim_reply_does_not_end_the_sending_of_a_body(gateway, replica):
    replica.greeting = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    text = "question " * 800_000  # More than sockets hold.
    with gateway.connect() as connection:
        for _ in range(2):
            reply = connection.request("POST", "/v1/chat/completions", chat_body(text), key=KEY)
            assert reply.status == 200 and replica.last.messages[0]["content"] == text
    assert replica.accepted <= 1, "the connection was not used again"


# Connections to replicas.


def test_a_request_that_dies_on_a_used_connection_goes_out_again_on_a_new_one(stage):
    replica = stage.replica()
    gateway = stage.gateway(
        [replica], listen={"loops": 1},
        pool={"probe": {"interval": "1m"}, "retry": {"replicasMax": 1, "budgetPerSecond": 0}})

    async def leave(exchange):
        exchange.reset()

    for members in ({}, {"stream": True}):
        replica.forget()
        assert gateway.chat("Hello").status == 200
        replica.next(leave)
        reply = gateway.chat("Hello", **members)
        assert reply.status == 200, reply
        assert replica.posts == 3
    replica.forget()
    replica.next(status(500))
    gateway.chat("Hello")


def test_a_request_that_dies_on_a_new_connection_is_not_sent_again_to_the_same_replica(stage):
    replica = stage.replica()
    gateway = stage.gateway(
        [replica], listen={"loops": 1}, pool={"probe": {"interval": "1m"}, "retry": {"replicasMax": 1}})

    async def leave(exchange):
        exchange.reset()

    replica.next(leave)
    assert gateway.chat("Hello").status in (502, 503)
    assert replica.posts == 1


def test_idle_connections_are_used_again_and_bounded(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica], listen={"loops": 1}, pool={"probe": {"interval": "1m"}, "idleConnectionsMax": 2})
    replica.accepted = 0
    for _ in range(10):
        assert gateway.chat("Hello").status == 200
    assert replica.accepted <= 1
    steps = replica.steps()
    replica.mode = held(steps)
    connections: list[Connection] = []
    for _ in range(6):
        connections.append(gateway.connect())
        connections[-1].send_request("POST", "/v1/chat/completions", BODY, key=KEY)
    eventually(lambda: replica.running == 6, "all run at once")
    steps.allow(6)
    for connection in connections:
        assert connection.read_reply().status == 200
        connection.close()
    eventually(lambda: len(replica.asked_connections) <= 2, "only two connections are kept")


def test_idle_connections_that_only_a_peak_needed_are_closed_behind_it(stage):
    replica = stage.replica()
    gateway = stage.gateway(
        [replica], listen={"loops": 1}, pool={"probe": {"interval": "1m"}, "idleConnectionsMax": 200})
    steps = replica.steps()
    replica.mode = held(steps)
    clients = [gateway.connect() for _ in range(140)]
    for client in clients:
        client.send_request("POST", "/v1/chat/completions", BODY, key=KEY)
    eventually(lambda: replica.running == 140, "all run at once")
    steps.allow(140)
    for client in clients:
        assert client.read_reply().status == 200
    assert len(replica.asked_connections) >= 140, "they are kept while their clients stay"
    for client in clients:
        client.close()
    eventually(lambda: len(replica.asked_connections) <= 16, "sixteen connections are kept")


def test_bytes_that_nobody_asked_for_end_an_idle_connection(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica], listen={"loops": 1}, pool={"probe": {"interval": "1m"}})

    async def then_more(exchange):
        await answer(exchange)

    replica.next(then_more)
    assert gateway.chat("Hello").status == 200
    connection = replica.asked_connections[0]
    replica._home.loop.call_soon_threadsafe(connection.transport.write, WHOLE + GOOD)
    eventually(lambda: connection not in replica.connections, "the connection is ended")
    assert gateway.chat("Hello").content != "Yes."


def test_a_client_that_leaves_frees_the_replica_at_once(gateway, replica):
    for leave in (Connection.close, Connection.reset):
        replica.forget()
        replica.mode = streamed(before=replica.steps())
        connection = gateway.connect()
        connection.send(post(body=STREAM))
        eventually(lambda: replica.posts == 1, "it is at the replica")
        leave(connection)
        eventually(lambda: replica.cancelled == 1, "the replica is told")
