"""The fault matrix: what breaks, when, and that no client loses a byte of its answer while one replica is well.

`docs/faults.md` has one line for each scenario and names its test; `test_outages.py` has those of time and of whole
replicas, `test_cuts.py` those of a byte. Four things must hold in every one:
- while a healthy replica remains: no request failed, no stream truncated, duplicated or altered;
- where none remains: a shaped error before the head, or an error event, and never an end that looks well;
- the replicas do not work much more than without the fault: at most 1.6 generations a request;
- the failure has a name in the metrics.
"""

from typing import NamedTuple

import pytest
from conftest import Stage
from harness import cuts, modes
from harness.gateway import KEY, chat_body
from harness.load import CHAT, Load
from harness.modes import answer_text

HELLO = [{"role": "user", "content": "Hello"}]
#: Short enough to test, long enough for a busy machine. The head's hold has its default, which is longer than all.
TIMEOUTS = {"connect": "1s", "firstByte": "1s", "firstContent": "1s", "streamStall": "1s"}
#: For faults that are none of time: on a busy machine a second is nothing, and a probe or an answer that is late would
#: be a fault of its own. A suspected replica is probed at once all the same.
UNHURRIED = {"interval": "20s", "timeout": "20s", "fall": 2, "rise": 1, "ramp": "0s", "warmUp": False}
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
    fault, is_stream, gateway = world
    # Those that take their time may be waited for together: the budget of retries grows meanwhile.
    load = Load(gateway, workers=3 if fault.label in LATE else 1, kinds=(is_stream,), model="one-is-well").run(6)
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
