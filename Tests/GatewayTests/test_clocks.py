"""Every wait has its clock, its error and its label; nobody's slowness is paid for by others."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.gateway import KEY, chat_body
from harness.modes import answer, endless, half_open, hang_after_head, held, stream_that, streamed
from harness.waiting import eventually

SHORT = {
    "head": "300ms", "bodyStall": "300ms", "idle": "600ms", "writeStall": "500ms", "connect": "300ms",
    "firstByte": "400ms", "firstContent": "600ms", "headHold": "200ms", "streamStall": "400ms", "total": "1500ms",
}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n" % KEY.encode()
BODY = chat_body("Hello")


@pytest.fixture(scope="module")
def gateway(shared, replica):
    return shared.gateway([replica], timeouts=SHORT, pool={"probe": {"interval": "1m"}})


@pytest.fixture(autouse=True)
def fresh(replica):
    replica.forget()


def outcome_count(gateway, outcome):
    return sum(
        value for name, value in gateway.metrics().items()
        if name.startswith("weir_requests_total{") and f'outcome="{outcome}"' in name)


@pytest.fixture
def told(gateway):
    """`told(outcome, id)`: the access log and the metric name the outcome of that request."""
    counts = {}

    def start(outcome):
        counts[outcome] = outcome_count(gateway, outcome)

    def check(outcome, request_id, gateway=gateway):
        line = gateway.access_line(request_id)
        assert line["outcome"] == outcome, line
        eventually(lambda: outcome_count(gateway, outcome) > counts.get(outcome, 0), f"a metric counts {outcome}")

    check.start = start
    return check


# Clients.


@pytest.mark.parametrize("beginning", [b"P", HEAD], ids=["one byte", "no end"])
def test_a_head_that_does_not_end_in_time_is_408(gateway, told, beginning):
    told.start("head_timeout")
    with gateway.connect() as connection:
        connection.send(beginning)
        reply = connection.read_reply()
        assert (reply.status, reply.error["code"]) == (408, "head_timeout")
        assert connection.is_closed_by_peer()
    told("head_timeout", reply.field("x-request-id"))


def trickle(connection, piece, pause, seconds):
    """Sends the same again and again until something comes back, for so long at most."""
    connection.socket.settimeout(pause)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            connection.send(piece)
            connection.more()
            break
        except TimeoutError:
            continue
    connection.socket.settimeout(10)


def test_a_head_that_trickles_has_no_more_time_than_one_that_stalls(gateway):
    with gateway.connect() as connection:
        connection.send(HEAD)
        trickle(connection, b"x-slow: a\r\n", pause=0.05, seconds=10)
        assert connection.read_reply().status == 408


@pytest.mark.parametrize("framing", [b"content-length: 500\r\n\r\n{", b"transfer-encoding: chunked\r\n\r\n5\r\n{"])
def test_a_body_that_stalls_is_408(gateway, replica, told, framing):
    told.start("body_timeout")
    with gateway.connect() as connection:
        connection.send(HEAD + framing)
        reply = connection.read_reply()
        assert (reply.status, reply.error["code"]) == (408, "body_timeout")
        assert connection.is_closed_by_peer()
    told("body_timeout", reply.field("x-request-id"))
    assert replica.posts == 0


def test_a_body_that_trickles_ends_with_the_request_s_time(gateway, replica):
    with gateway.connect() as connection:
        connection.send(HEAD + b"content-length: 5000\r\n\r\n{")
        trickle(connection, b" ", pause=0.1, seconds=15)
        assert connection.read_reply().status == 408
    assert replica.posts == 0


def test_an_idle_connection_is_closed_without_a_word_and_without_a_line_in_the_log(stage, replica):
    gateway = stage.gateway([replica], listen={"loops": 1}, timeouts=SHORT, pool={"probe": {"interval": "1m"}})
    with gateway.connect() as connection:
        reply = connection.request("POST", "/v1/chat/completions", BODY, key=KEY)
        assert reply.status == 200
        assert connection.is_closed_by_peer()
    with gateway.connect() as connection:
        assert connection.is_closed_by_peer()
    last = gateway.chat("Hello").field("x-request-id")
    gateway.access_line(last)
    assert [line["id"] for line in gateway.access_lines()] == [reply.field("x-request-id"), last]


def test_a_reader_that_takes_nothing_is_given_up_and_its_replica_freed(stage, replica):
    gateway = stage.gateway([replica], timeouts={**SHORT, "total": "60s"}, pool={"probe": {"interval": "1m"}})
    replica.next(endless())
    with gateway.connect() as connection:
        connection.send_request("POST", "/v1/chat/completions", chat_body("Hello", stream=True), key=KEY)
        eventually(lambda: replica.posts == 1 and replica.running == 0, "the replica is freed")
    line = eventually(
        lambda: next((one for one in gateway.access_lines() if one["stream"]), None), "the log has the stream")
    assert line["outcome"] == "client_stalled"


def test_a_slow_reader_that_reads_is_not_given_up(stage, replica):
    # Of all these times only this one needs a client that gets its turn: on a busy machine half a second is nothing.
    gateway = stage.gateway(
        [replica], timeouts={**SHORT, "writeStall": "1500ms", "total": "5s"}, pool={"probe": {"interval": "1m"}})
    replica.next(endless(4_000))
    with gateway.connect(receive_buffer=16 << 10) as connection:
        connection.send_request("POST", "/v1/chat/completions", chat_body("Hello", stream=True), key=KEY)
        # It reads until the request's time is over, which is several times that of a stalled write.
        last = ""
        for event in connection.events_slowly(16 << 10, 0.02):
            last = event
        assert json.loads(last)["error"]["code"] == "upstream_total_timeout"


# Replicas.


@pytest.fixture
def full_port():
    """A port whose listener accepts nothing and whose backlog is full: connections are neither made nor refused."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    yield listener.getsockname()[1]
    for one in (*fillers, listener):
        one.close()


def test_a_connection_that_is_not_made_in_time_is_504(stage, told, full_port):
    gateway = stage.gateway(
        [{"name": "hole", "url": f"http://127.0.0.1:{full_port}"}], ready=False, timeouts=SHORT)
    reply = gateway.chat("Hello")
    assert (reply.status, reply.error["code"]) == (504, "connect_timeout")
    told("connect_timeout", reply.field("x-request-id"), gateway)


def test_a_connection_that_is_not_made_in_time_moves_the_request_on(stage, full_port):
    gateway = stage.gateway(
        [{"name": "hole", "url": f"http://127.0.0.1:{full_port}", "weight": 100}, stage.replica()],
        timeouts=SHORT, pool={"probe": {"interval": "1m", "fall": 100}})
    for _ in range(3):
        assert gateway.chat("Hello").field("x-weir-replica") == "one"


@pytest.mark.parametrize("is_stream", [False, True])
def test_no_first_byte_in_time_is_504(gateway, replica, told, is_stream):
    told.start("first_byte_timeout")
    replica.mode = half_open
    reply = gateway.chat("Hello", stream=is_stream)
    assert (reply.status, reply.error["code"]) == (504, "first_byte_timeout")
    told("first_byte_timeout", reply.field("x-request-id"))
    eventually(lambda: replica.running == 0, "the replica is told that nobody waits")


def only(stage, replicas, **timeouts):
    """A gateway with no other clock that a replica on a busy machine might meet first."""
    return stage.gateway(replicas, timeouts=timeouts, pool={"probe": {"interval": "1m"}})


def test_no_first_content_in_time_is_504_while_the_head_is_held_and_an_event_after_that(stage, replica, told):
    hasty = only(stage, [replica], firstContent="1500ms", headHold="200ms")
    replica.mode = hang_after_head
    reply = hasty.chat("Hello", stream=True)
    assert reply.status == 200, "the head is sent after headHold"
    assert json.loads(reply.events[-1])["error"]["code"] == "first_content_timeout"
    told("first_content_timeout", reply.field("x-request-id"), hasty)
    patient = only(stage, [replica], firstContent="1500ms")
    reply = patient.chat("Hello", stream=True)
    assert (reply.status, reply.error["code"]) == (504, "first_content_timeout")


def test_a_plain_answer_that_stalls_in_its_body_is_502(stage, replica, told):
    gateway = only(stage, [replica], firstByte="1s")  # of the whole of it
    replica.mode = hang_after_head
    reply = gateway.chat("Hello")
    assert (reply.status, reply.error["code"]) == (502, "upstream_stalled")
    told("upstream_stalled", reply.field("x-request-id"), gateway)


def test_a_stream_that_stalls_goes_on_elsewhere(stage):
    stalling, healthy = stage.replicas("one", "two")
    stalling.mode = stream_that("hang")
    gateway = only(stage, [stalling, healthy], streamStall="1s")
    replies = [gateway.chat("Hello", stream=True) for _ in range(2)]
    assert all(reply.events[-1] == "[DONE]" for reply in replies)
    assert replies[0].streamed_text == replies[1].streamed_text
    assert healthy.posts == 2
    eventually(lambda: stalling.cancelled == 1, "the stalled one is told to stop")


def test_a_stream_that_stalls_with_no_other_replica_ends_with_an_error_and_no_marker(stage, replica, told):
    gateway = only(stage, [replica], streamStall="400ms")
    replica.mode = stream_that("hang")
    reply = gateway.chat("Hello", stream=True)
    assert "[DONE]" not in reply.events
    assert json.loads(reply.events[-1])["error"]["code"] == "upstream_stalled"
    told("upstream_stalled", reply.field("x-request-id"), gateway)


def test_a_stream_longer_than_the_request_s_time_ends_with_an_error(stage, replica, told):
    gateway = only(stage, [replica], total="1500ms")
    replica.mode = streamed(gap=0.2)
    reply = gateway.chat("Hello", stream=True)
    assert "[DONE]" not in reply.events
    assert json.loads(reply.events[-1])["error"]["code"] == "upstream_total_timeout"
    told("upstream_total_timeout", reply.field("x-request-id"), gateway)


def test_a_request_whose_time_is_over_before_any_content_is_504(stage, replica, told):
    gateway = stage.gateway(
        [replica], timeouts={**SHORT, "total": "1s", "firstByte": "30s"}, pool={"probe": {"interval": "1m"}})
    replica.mode = half_open
    reply = gateway.chat("Hello")
    assert (reply.status, reply.error["code"]) == (504, "total_timeout")
    told("total_timeout", reply.field("x-request-id"), gateway)


def test_four_hundred_slow_readers_cost_the_others_nothing(stage):
    replica = stage.replica()
    replica.keeps_records = False
    gateway = stage.gateway(
        [replica], timeouts={"writeStall": "60s"},
        pool={"probe": {"interval": "1m"}, "replicas": [{"name": "one", "url": replica.url, "maxInFlight": 1000}]})
    slow = []
    try:
        replica.mode = endless(8_000)
        for _ in range(400):
            connection = gateway.connect(receive_buffer=4096)
            connection.send_request("POST", "/v1/chat/completions", chat_body("Hello", stream=True), key=KEY)
            slow.append(connection)
        eventually(lambda: replica.running == 400, "all streams run")
        eventually(
            lambda: not any(one.is_writable.is_set() for one in replica.asked_connections), "all of them are held")
        replica.mode = answer
        taken = []
        with gateway.connect() as connection:
            for _ in range(20):
                began = time.monotonic()
                assert connection.request("POST", "/v1/chat/completions", BODY, key=KEY).status == 200
                taken.append(time.monotonic() - began)
        assert sorted(taken)[10] < 2, f"normal requests took {taken} s"
    finally:
        for connection in slow:
            connection.reset()
    eventually(lambda: replica.running == 0, "all replicas are freed")


@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "plain"])
def test_a_long_prompt_is_given_longer_than_a_short_one(stage, is_stream):
    replica = stage.replica()
    steps = replica.steps()
    replica.mode = held(steps)
    gateway = stage.gateway(
        [replica], timeouts={"firstByte": "300ms", "firstContent": "300ms", "firstContentPerKiB": "10s"},
        pool={"retry": {"replicasMax": 1}})
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(gateway.chat, "x" * 4096, stream=is_stream)
        eventually(lambda: replica.running == 1, "the long request runs")
        short = gateway.chat("Hello", stream=is_stream)
        assert short.status == 504 and short.error["code"] == "first_byte_timeout"
        eventually(lambda: replica.cancelled == 1, "the short request is given up at the replica")
        assert replica.running == 1, "the long one, which began earlier, still runs"
        steps.allow(1)
        assert long.result().status == 200


def test_a_stream_s_head_may_not_be_later_than_its_content(stage):
    replica = stage.replica(mode=half_open)
    gateway = stage.gateway(
        [replica], timeouts={"firstByte": "10m", "firstContent": "300ms"}, pool={"retry": {"replicasMax": 1}})
    assert gateway.chat("Hello", stream=True).error["code"] == "first_byte_timeout"
