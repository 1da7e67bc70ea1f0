"""The fault matrix: what breaks, when, and that no client loses a byte of its answer while one replica is well.

`docs/faults.md` has one line for each scenario and names its test. Four things must hold in every one:
- while a healthy replica remains: no request failed, no stream truncated, duplicated or altered;
- where none remains: a shaped error before the head, or an error event, and never an end that looks well;
- the replicas do not work much more than without the fault: at most 1.6 generations a request;
- the failure has a name in the metrics.
"""

import threading
import time
from typing import NamedTuple

import pytest
from conftest import Stage
from harness import cuts, modes
from harness.gateway import KEY, chat_body, replica_settings
from harness.load import CHAT, Load, problem_with, question
from harness.modes import answer_text
from harness.replica_process import ReplicaProcess
from harness.waiting import eventually

HELLO = [{"role": "user", "content": "Hello"}]
QUICK = {"interval": "1s", "timeout": "1s", "fall": 2, "rise": 1, "ramp": "0s", "warmUp": False}
#: Short enough to test, long enough for a busy machine. The head's hold has its default, which is longer than all.
TIMEOUTS = {"connect": "1s", "firstByte": "1s", "firstContent": "1s", "streamStall": "1s"}
#: For faults that are none of time: on a busy machine a second is nothing, and a probe or an answer that is late would
#: be a fault of its own. A suspected replica is probed at once all the same.
UNHURRIED = {**QUICK, "interval": "20s", "timeout": "20s"}
#: The faults that are.
LATE = ("first_byte_timeout", "first_content_timeout", "stalled")
#: What a fault may cost the replicas.
GENERATIONS_MAX = 1.6


class Fault(NamedTuple):
    mode: object
    #: `result` of `weir_replica_requests_total`.
    label: str
    plain: bool = True
    streamed: bool = True


PLAIN = {"streamed": False}
STREAMED = {"plain": False}

FAULTS = {
    # Before the head.
    "a reset before the head": Fault(modes.reset, "reset"),
    "an end before the head": Fault(modes.hang_up, "reset"),
    "an end inside the head": Fault(cuts.half_a_head, "cut"),
    "503": Fault(modes.status(503), "busy"),
    "503 with Retry-After": Fault(modes.busy, "busy"),
    "429": Fault(modes.status(429), "busy"),
    "429 with Retry-After": Fault(modes.too_many, "busy"),
    "500": Fault(modes.broken, "server_error"),
    "502 in HTML": Fault(modes.status(502, body=b"<h1>Bad gateway</h1>", content_type="text/html"), "server_error"),
    "401 for our own credential": Fault(modes.status(401), "refused_us"),
    "404": Fault(modes.status(404), "refused_us"),
    "a redirect": Fault(modes.status(302, "location: http://127.0.0.1:1/"), "malformed_reply"),
    "204": Fault(modes.status(204, body=b""), "malformed_reply"),
    "bytes that are no HTTP": Fault(modes.garbage, "malformed_reply"),
    "a web page with 200": Fault(modes.html, "wrong_content_type"),
    "no content type": Fault(modes.no_content_type, "wrong_content_type"),
    "an empty 200": Fault(modes.empty, "empty_answer", streamed=False),
    "an empty stream": Fault(modes.empty, "missing_end", plain=False),
    "a reply in gzip": Fault(modes.gzipped, "encoded_reply"),
    "two lengths": Fault(modes.two_lengths, "malformed_reply"),
    "both framings": Fault(modes.both_framings, "malformed_reply"),
    "half-open": Fault(modes.half_open, "first_byte_timeout"),
    # A plain answer's body.
    "a body shorter than its length": Fault(modes.short_body, "cut", **PLAIN),
    "JSON that answers nothing": Fault(modes.no_choices, "missing_end", **PLAIN),
    "half of the JSON": Fault(cuts.half_of_the_json, "malformed_reply", **PLAIN),
    "a head and then silence": Fault(modes.hang_after_head, "stalled", **PLAIN),
    "an error inside a 200": Fault(modes.in_band_error, "in_band_error"),
    "an answer that was aborted": Fault(modes.aborted, "aborted"),
    # A stream before its first content.
    "a head and no content": Fault(modes.hang_after_head, "first_content_timeout", **STREAMED),
    "a malformed first event": Fault(modes.malformed_event, "malformed_event", **STREAMED),
    "[DONE] and nothing said": Fault(modes.done_at_once, "missing_end", **STREAMED),
    "a clean end after the role": Fault(modes.stream_that("end", after=0), "missing_end", **STREAMED),
    "a reset after the role": Fault(modes.stream_that("reset", after=0), "cut", **STREAMED),
    "a cut in the first content": Fault(modes.stream_that("cut", after=0), "cut", **STREAMED),
    # A stream after its first content.
    "a reset in mid-stream": Fault(modes.stream_that("reset"), "cut", **STREAMED),
    "an end in mid-stream": Fault(modes.stream_that("close"), "cut", **STREAMED),
    "a cut inside an event": Fault(modes.stream_that("cut"), "cut", **STREAMED),
    "a clean end without marker": Fault(modes.stream_that("end"), "missing_end", **STREAMED),
    "[DONE] without a finish reason": Fault(cuts.done_too_soon, "missing_end", **STREAMED),
    "an error event in mid-stream": Fault(modes.stream_that("error"), "in_band_error", **STREAMED),
    "a malformed event in mid-stream": Fault(modes.stream_that("malformed"), "malformed_event", **STREAMED),
    "an aborted stream": Fault(modes.stream_that("abort"), "aborted", **STREAMED),
    "a chunk without its size": Fault(cuts.bad_chunk, "cut", **STREAMED),
    "silence in mid-stream": Fault(modes.stream_that("hang"), "stalled", **STREAMED),
}
CASES = [
    pytest.param((fault, is_stream), id=f"{what}, {'streamed' if is_stream else 'plain'}")
    for what, fault in FAULTS.items() for is_stream in (False, True) if (fault.streamed if is_stream else fault.plain)
]


@pytest.fixture(scope="module")
def replicas(shared):
    return shared.replicas("one", "two", "three")


@pytest.fixture
def gateway(stage, replicas):
    """A gateway of the test's own: breakers, cool-downs and retry budgets remember what the test before did."""
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(replicas, timeouts=TIMEOUTS, pool={"probe": QUICK, "retry": {"budgetPerSecond": 10}})
    gateway.wait_for({"one", "two", "three"})
    return gateway


#: Three pools over the same replicas, by how many of them are well there.
WELL = {"two-are-well": 2, "one-is-well": 1, "none-is-well": 0}


@pytest.fixture(scope="module")
def faulty(shared):
    """The replicas of the worlds alone: a world's gateway probes them for as long as it lives, with requests too."""
    return shared.replicas("one", "two", "three")


@pytest.fixture(scope="module", params=CASES)
def world(request, tmp_path_factory, faulty):
    """A fault, and a gateway whose pools have more and more of it: (fault, is_stream, gateway)."""
    fault, is_stream = request.param
    for replica in faulty:
        replica.forget()

    async def mode(exchange):
        number = faulty.index(exchange.connection.replica)
        is_well = number >= len(faulty) - WELL[exchange.body["model"]]
        await (modes.answer if is_well else fault.mode)(exchange)

    for replica in faulty:
        replica.mode = mode
    stage = Stage(tmp_path_factory)
    pools = [pool_settings(model, faulty) for model in WELL]
    gateway = stage.gateway([], timeouts=TIMEOUTS if fault.label in LATE else {}, pools=pools)
    gateway.wait_for({replica["name"] for pool in pools for replica in pool["replicas"]})
    yield fault, is_stream, gateway
    stage.clear()


def pool_settings(model, replicas):
    return {
        "name": model, "models": [model], "probe": UNHURRIED, "retry": {"budgetPerSecond": 10},
        "replicas": [{"name": f"{model}-{r.name}", "url": r.url, "kind": "vllm"} for r in replicas],
    }


def posts(replicas, model):
    return sum(request.json["model"] == model for replica in replicas for request in replica.requests)


def attempts(gateway, pool, label):
    return sum(
        value for name, value in gateway.metrics().items()
        if name.startswith(f'weir_replica_requests_total{{pool="{pool}"') and f'result="{label}"' in name)


def test_one_of_three_replicas_fails_every_time_and_no_client_notices(world, faulty):
    fault, is_stream, gateway = world
    load = Load(gateway, workers=3, kinds=(is_stream,), model="two-are-well").run(45)
    assert not load.problems, load.problems[:3]
    assert 45 < posts(faulty, "two-are-well") <= GENERATIONS_MAX * 45, gateway.told()
    assert attempts(gateway, "two-are-well", fault.label) > 0, gateway.metrics()


def test_only_one_replica_of_three_is_well_and_no_client_notices(world):
    _, is_stream, gateway = world
    load = Load(gateway, workers=1, kinds=(is_stream,), model="one-is-well").run(6)
    assert not load.problems, load.problems[:3]


def test_every_replica_fails_and_the_client_is_told(world, faulty):
    _, is_stream, gateway = world
    with gateway.connect() as connection:
        body = chat_body(*HELLO, stream=is_stream, model="none-is-well")
        reply = connection.request("POST", CHAT, body, key=KEY)
        if reply.status == 200:
            assert is_stream and connection.is_closed_by_peer()
    error = reply.chunks[-1]["error"] if reply.status == 200 else reply.error
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] is None or isinstance(error["code"], str)
    if reply.status == 200:
        assert "[DONE]" not in reply.events
        assert answer_text(HELLO).startswith(reply.streamed_text) and reply.streamed_text != answer_text(HELLO)
    else:
        assert reply.status in (429, 502, 503, 504)
    assert posts(faulty, "none-is-well") <= 3, gateway.told()


def test_without_a_fault_every_request_is_generated_once(gateway, replicas):
    load = Load(gateway).run(200)
    assert not load.problems, load.problems[:3]
    assert sum(replica.posts for replica in replicas) == 200, gateway.told()


# Cuts, byte by byte.


@pytest.mark.parametrize("escapes", [True, False], ids=["escaped", "in UTF-8"])
@pytest.mark.parametrize("ending", ["reset", "close"])
def test_a_stream_cut_behind_any_byte_is_whole(stage, ending, escapes):
    """Head, chunk sizes, line ends, JSON, escapes, characters of several bytes, the finish reason, the marker: all."""
    pair = stage.replicas("one", "two")
    gateway = stage.gateway(pair, pool={"probe": QUICK})
    messages = [{"role": "user", "content": cuts.ALL_SCRIPTS}]
    expected = answer_text(messages)
    wire = cuts.Cut(None, ending, escapes)
    pair[0].mode = pair[1].mode = wire.mode
    body = chat_body(*messages, stream=True)
    assert problem_with(gateway.chat(*messages, stream=True), expected) is None
    total = wire.length
    # Every second byte; the other ending takes the others.
    for place in range(0 if ending == "reset" else 1, total, 2):
        gateway.wait_for({"one", "two"})
        wire.place = place
        reply = gateway.request("POST", CHAT, body)
        assert problem_with(reply, expected) is None, f"cut behind byte {place}: {problem_with(reply, expected)}"
        assert wire.place is None, f"not cut behind byte {place}"


def test_a_stream_cut_after_its_finish_reason_is_complete_and_asked_once(gateway, replicas):
    for mode in (cuts.without_done("reset"), cuts.without_done("close"), cuts.without_done("end")):
        for replica in replicas:
            replica.forget()
            replica.mode = mode
        gateway.wait_for({"one", "two", "three"})
        reply = gateway.chat("Hello", stream=True, stream_options={"include_usage": True})
        assert problem_with(reply, answer_text(HELLO)) is None
        # Another is asked for the usage that was lost, at the price of one token.
        asked = [request.json.get("max_tokens") for replica in replicas for request in replica.requests]
        assert asked in ([None], [None, 1], [1, None])
        assert reply.chunks[-1]["usage"]["completion_tokens"] > 0


def test_a_continuation_that_breaks_as_well_is_continued_again(gateway, replicas):
    lost = threading.Lock()
    left = [modes.stream_that("reset", after=2), modes.stream_that("error", after=3)]

    async def twice(exchange):
        with lost:
            mode = left.pop(0) if left else modes.answer
        await mode(exchange)

    for replica in replicas:
        replica.mode = twice
    reply = gateway.chat("Hello", stream=True)
    assert problem_with(reply, answer_text(HELLO)) is None
    assert [replica.posts for replica in replicas] == [1, 1, 1], gateway.told()


# Pools.


@pytest.mark.parametrize("fault", ["reset", "500", "half-open"])
def test_a_replica_whose_health_page_lies_is_left_alone(stage, replicas, fault):
    """Its probes succeed and its requests fail: traffic decides, and its breaker spares the clients."""
    mode = {"reset": modes.reset, "500": modes.broken, "half-open": modes.half_open}[fault]
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(replicas, timeouts=TIMEOUTS, pool={"probe": QUICK})
    gateway.wait_for({"one", "two", "three"})
    replicas[0].mode = mode
    load = Load(gateway, workers=4).run(200)
    assert not load.problems, load.problems[:3]
    # Without a breaker it would have been asked 67 times.
    assert replicas[0].posts <= 40, gateway.told()


def test_a_pool_whose_health_pages_all_fail_while_traffic_is_fine_goes_on_serving(gateway, replicas):
    for replica in replicas:
        replica.is_healthy = False
    gateway.wait_for(set())
    load = Load(gateway).run(30)
    assert not load.problems, load.problems[:3]


def test_a_replica_whose_health_page_fails_is_spared_while_others_serve(gateway, replicas):
    replicas[0].is_healthy = False
    gateway.wait_for({"two", "three"})
    load = Load(gateway).run(30)
    assert not load.problems and replicas[0].posts == 0


def test_all_replicas_down_is_503_at_once_and_the_first_200_comes_with_the_first_replica(gateway, replicas):
    for replica in replicas:
        replica.kill()
    try:
        gateway.wait_for(set())
        began = time.monotonic()
        reply = gateway.chat("Hello")
        assert reply.status == 503 and reply.field("retry-after") and reply.error["type"] == "server_error"
        reply = gateway.chat("Hello", stream=True)
        assert reply.status == 503 and reply.error["code"] == "overloaded"
        assert time.monotonic() - began < 5
        replicas[1].start()
        eventually(lambda: gateway.chat("Hello").status == 200, "the first answer after the outage")
    finally:
        for replica in replicas:
            replica.kill()
            replica.start()
    gateway.wait_for({"one", "two", "three"})
    load = Load(gateway).run(30)
    assert not load.problems


def test_the_retry_budget_keeps_a_pool_that_only_fails_from_being_asked_three_times_as_often(stage, replicas):
    for replica in replicas:
        replica.forget()
        replica.mode = modes.broken
    gateway = stage.gateway(
        replicas, pool={"probe": QUICK, "retry": {"budgetPerSecond": 1, "budgetRatio": 0.2}}, listen={"loops": 1})
    gateway.wait_for({"one", "two", "three"})
    for _ in range(100):
        assert gateway.chat("Hello").status == 502
    # A fifth of the requests, and one for each of the last ten seconds.
    assert sum(replica.posts for replica in replicas) <= 100 + 20 + 10 + 1, gateway.told()


@pytest.mark.parametrize("status", [429, 503])
def test_one_busy_replica_of_three_does_not_spend_the_retry_budget(stage, replicas, status):
    """It says that it is busy, not until when: whoever asks it each time would retry a third of all requests."""
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(
        replicas, pool={"probe": QUICK, "retry": {"budgetPerSecond": 1, "budgetRatio": 0.1}}, listen={"loops": 1})
    gateway.wait_for({"one", "two", "three"})
    replicas[0].mode = modes.status(status)
    load = Load(gateway, workers=4).run(300)
    assert not load.problems, load.problems[:3]


def test_replicas_that_are_all_overloaded_now_and_then_lose_no_request(stage, replicas):
    """Overload trips no breaker: each says 429 to whatever is more than it can take, and takes the rest."""
    for replica in replicas:
        replica.forget()

    async def at_most_two(exchange):
        if exchange.connection.replica.running > 2:
            return await modes.status(429)(exchange)
        await modes.delayed(0.002)(exchange)

    for replica in replicas:
        replica.mode = at_most_two
    gateway = stage.gateway(replicas, pool={"probe": QUICK, "retry": {"budgetPerSecond": 1000}})
    gateway.wait_for({"one", "two", "three"})
    load = Load(gateway, workers=5).run(300)
    assert not load.problems, load.problems[:3]
    assert all(replica["serving"] for replica in gateway.replicas().values())


def test_a_flapping_replica_costs_no_request(gateway, replicas):
    with Load(gateway) as load:
        for _ in range(6):
            load.more(10)
            replicas[0].kill()
            load.more(10)
            replicas[0].start()
    assert not load.problems, load.problems[:3]
    assert sum(replica.posts for replica in replicas) <= GENERATIONS_MAX * load.done, gateway.told()


def test_a_slow_replica_is_waited_for(stage, replicas):
    """Slow is not dead: within the limits nothing is asked twice."""
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(replicas, pool={"probe": QUICK})
    gateway.wait_for({"one", "two", "three"})
    replicas[0].mode = modes.delayed(0.5)
    load = Load(gateway, workers=6).run(18)
    assert not load.problems
    assert sum(replica.posts for replica in replicas) == 18, gateway.told()


def test_a_replica_that_returns_is_warmed_up_before_it_gets_a_client_s_request(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": {**QUICK, "warmUp": True}})
    gateway.wait_for({"one", "two"})
    one.kill()
    gateway.wait_for({"two"})
    one.forget()
    one.start()
    gateway.wait_for({"one", "two"})
    assert one.posts == 1 and one.last.json["max_tokens"] == 1
    load = Load(gateway).run(20)
    assert not load.problems


def test_a_drained_replica_finishes_its_streams_and_gets_no_other(gateway, replicas):
    steps = replicas[0].steps()
    for replica in replicas:
        replica.mode = modes.streamed(steps=replica.steps(1000))
    replicas[0].mode = modes.streamed(steps=steps)
    connections = [gateway.connect() for _ in range(6)]
    try:
        for connection in connections:
            connection.send_request("POST", CHAT, chat_body(*HELLO, stream=True), key=KEY)
        eventually(lambda: sum(replica.posts for replica in replicas) == 6, "all streams are at their replicas")
        held = replicas[0].posts
        gateway.admin("POST", "/admin/v1/replicas/one/drain")
        gateway.wait_for({"two", "three"})
        load = Load(gateway).run(10)
        assert not load.problems and replicas[0].posts == held
        steps.allow(1000)
        for connection in connections:
            assert problem_with(connection.read_reply(), answer_text(HELLO)) is None
    finally:
        for connection in connections:
            connection.close()
    assert sum(replica.posts for replica in replicas) == 16, gateway.told()


# Processes.


@pytest.fixture
def processes():
    """Three replicas in processes of their own, whose streams take some 50 ms."""
    processes = [ReplicaProcess(name, gap=0.005) for name in ("red", "green", "blue")]
    yield processes
    for process in processes:
        process.kill()


@pytest.fixture
def over_processes(stage, processes):
    gateway = stage.gateway(processes, pool={"probe": QUICK, "retry": {"budgetPerSecond": 10}})
    gateway.wait_for({"red", "green", "blue"})
    return gateway


@pytest.mark.parametrize("how", ["drain", "kill"])
def test_a_rolling_restart_costs_no_request(over_processes, processes, how):
    with Load(over_processes, workers=8) as load:
        for process in processes:
            load.more(30)
            getattr(process, how)()
            load.more(30)
            process.start()
            over_processes.wait_for({"red", "green", "blue"})
        load.more(30)
    assert not load.problems, load.problems[:3]
    assert generations(over_processes) <= GENERATIONS_MAX * load.done, over_processes.told()


def generations(gateway):
    """What was sent to replicas and was answered in any way."""
    unsent = ("connect_failed", "connect_timeout")
    return sum(
        value for name, value in gateway.metrics().items()
        if name.startswith("weir_replica_requests_total{") and not any(f'"{label}"' in name for label in unsent))


def test_two_of_three_replicas_are_killed_at_once(over_processes, processes):
    with Load(over_processes, workers=8) as load:
        load.more(30)
        processes[0].kill()
        processes[1].kill()
        load.more(60)
        processes[0].start()
        processes[1].start()
        over_processes.wait_for({"red", "green", "blue"})
        load.more(30)
    assert not load.problems, load.problems[:3]


def test_a_replica_that_is_frozen_costs_no_request(over_processes, processes):
    """Also of those whose streams it had begun: what is silent and does not answer its probe is left."""
    with Load(over_processes, workers=8) as load:
        load.more(30)
        processes[0].freeze()
        load.more(120)
        over_processes.wait_for({"green", "blue"})
        processes[0].thaw()
        over_processes.wait_for({"red", "green", "blue"})
        load.more(30)
    assert not load.problems, load.problems[:3]


def test_a_stream_on_a_replica_frozen_for_good_goes_on_when_its_probe_fails(over_processes, processes):
    with over_processes.connect() as connection:
        connection.send_request("POST", CHAT, chat_body(*question(1), stream=True), key=KEY)
        status, fields = connection.read_head()
        frozen = next(process for process in processes if process.name == dict(fields)["x-weir-replica"])
        events = connection.events()
        first = next(events)
        frozen.freeze()
        try:
            assert status == 200
            seen = [first, *events]
        finally:
            frozen.thaw()
    assert seen[-1] == "[DONE]"


def test_a_stream_that_goes_on_while_its_replica_s_health_page_fails_is_left_where_it_is(stage, replicas):
    """What still speaks is alive, whatever its probe says."""
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(replicas, pool={"probe": QUICK})
    gateway.wait_for({"one", "two", "three"})
    for replica in replicas:
        replica.mode = modes.streamed(gap=0.1)
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body(*HELLO, stream=True), key=KEY)
        _, fields = connection.read_head()
        busy = next(replica for replica in replicas if replica.name == dict(fields)["x-weir-replica"])
        busy.is_healthy = False
        events = list(connection.events())
    assert events[-1] == "[DONE]"
    assert sum(replica.posts for replica in replicas) == 1, gateway.told()


# The gateway's own side.


def test_a_configured_name_that_does_not_resolve_is_told_at_the_start(stage):
    gateway_settings = [{"name": "lost", "url": "http://no-such-host.invalid:9"}]
    with pytest.raises(AssertionError, match="lost|no-such-host"):
        stage.gateway(gateway_settings)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_connections_that_the_replicas_close_between_requests_cost_nothing(gateway, replicas, is_stream):
    """Every second request meets a connection that was kept and is gone: it goes out again on a new one."""
    for number in range(20):
        reply = gateway.chat(*question(number), stream=is_stream)
        assert problem_with(reply, answer_text(question(number))) is None
        for replica in replicas:
            for connection in list(replica.connections):
                replica._home.loop.call_soon_threadsafe(connection.transport.close)
    assert sum(replica.posts for replica in replicas) == 20, gateway.told()


def test_kept_connections_that_are_reset_under_the_request_cost_nothing(gateway, replicas):
    """The request is on its way when the replica gives its kept connection up: only the first byte tells."""

    async def first_on_its_connection(exchange):
        if getattr(exchange.connection, "is_used", False):
            return exchange.reset()
        exchange.connection.is_used = True
        await modes.answer(exchange)

    for replica in replicas:
        replica.mode = first_on_its_connection
    load = Load(gateway, workers=3).run(60)
    assert not load.problems, load.problems[:3]


def test_https_replicas_fail_over_too(stage, tmp_path):
    from harness.tls import Authority, TLSReplica

    authority = Authority(tmp_path)
    certificate = authority.certificate()
    pair = [stage._keep(TLSReplica(certificate, name)) for name in ("one", "two")]
    gateway = stage.gateway(
        [replica_settings(replica, caFile=str(authority.file)) for replica in pair], pool={"probe": QUICK})
    gateway.wait_for({"one", "two"})
    pair[0].mode = modes.stream_that("close")
    load = Load(gateway, workers=2, kinds=(True,)).run(20)
    assert not load.problems, load.problems[:3]
