"""A model that can't answer is replaced by those that its operator named, and the reply says who answered."""

import json
import threading

import pytest
from harness import modes
from harness.gateway import KEY, OTHER_KEY, chat_body, replica_settings, sha256
from harness.modes import answer_text
from harness.waiting import eventually

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
TOO_LONG = (
    b'{"error":{"message":"This model\'s maximum context length is 16 tokens.","type":"BadRequestError","code":400}}')
FILTERED = b'{"error":{"message":"No.","type":"invalid_request_error","code":"content_policy_violation"}}'
PROBE = {"interval": "1s", "timeout": "1s", "fall": 1, "rise": 1, "ramp": "0s", "warmUp": False}


def pool_of(name, model, replica, **changes):
    return {
        "name": name, "models": [model], "probe": PROBE, "replicas": [replica_settings(replica, **changes)],
        "retry": {"budgetPerSecond": 1000}, "queue": {"length": 1, "timeout": "20s"},
    }


@pytest.fixture(scope="module")
def replicas(shared):
    return shared.replicas("one", "two", "three")


@pytest.fixture
def gateway(stage, replicas):
    for replica in replicas:
        replica.forget()
    one, two, three = replicas
    gateway = stage.gateway(replicas, **{
        "pools": [
            pool_of("first", {"name": "tiny", "fallback": ["middle"]}, one, maxInFlight=1),
            pool_of("second", {"name": "middle", "upstream": "org/middle", "fallback": ["last"]}, two),
            pool_of("third", "last", three),
        ],
        "identity": {"apiKeys": [
            {"id": "team-a", "sha256": sha256(KEY)},
            {"id": "team-b", "sha256": sha256(OTHER_KEY), "models": ["tiny", "last"]},
        ]},
        "timeouts": {"headHold": "200ms", "firstContent": "2s", "firstByte": "2s"},
    })
    gateway.wait_for({"one", "two", "three"})
    return gateway


EXHAUSTED = {
    "every attempt fails": modes.broken,
    "everyone is busy": modes.status(429, "retry-after: 60"),
    "HTML": modes.html,
    "a reset": modes.reset,
    "a model that it does not know": modes.status(404),
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("what", EXHAUSTED)
def test_an_exhausted_pool_s_request_is_answered_by_the_fallback_in_its_own_name(gateway, replicas, what, stream):
    one, two, three = replicas
    one.mode = EXHAUSTED[what]
    reply = gateway.chat("Hello", stream=stream)
    assert reply.status == 200, reply
    if stream:
        assert reply.streamed_text == answer_text(HELLO) and reply.events[-1] == "[DONE]"
        assert {chunk["model"] for chunk in reply.chunks} == {"middle"}
    else:
        assert reply.content == answer_text(HELLO) and reply.json["model"] == "middle"
    assert two.last.json["model"] == "org/middle" and two.last.messages == HELLO
    assert (two.posts, three.posts) == (1, 0)
    assert reply.field("x-weir-replica") == "two" and reply.field("x-weir-attempts") == str(one.posts + 1)
    line = gateway.access_line(reply.field("x-request-id"))
    assert (line["model"], line["fallback"], line["pool"], line["outcome"]) == ("tiny", "middle", "second", "ok")
    assert gateway.metrics()['weir_fallbacks_total{pool="first",reason="exhausted"}'] == 1


def test_no_replica_at_all_is_a_reason_and_fallbacks_have_fallbacks(gateway, replicas):
    one, two, three = replicas
    one.kill()
    two.kill()
    try:
        gateway.wait_for({"three"})
        reply = gateway.chat("Hello")
        assert reply.status == 200 and reply.json["model"] == "last" and three.last.json["model"] == "last"
    finally:
        one.start()
        two.start()


def test_a_full_queue_is_a_reason(gateway, replicas):
    one, two, _ = replicas
    steps = one.steps()
    one.mode = modes.held(steps)
    replies = []
    askers = [threading.Thread(target=lambda: replies.append(gateway.chat("Hello"))) for _ in range(2)]
    for asker in askers:
        asker.start()
    eventually(lambda: gateway.metrics()['weir_queue_length{pool="first"}'] == 1, "one runs and one waits")
    reply = gateway.chat("Hello")
    assert reply.status == 200 and reply.json["model"] == "middle" and two.posts == 1
    steps.allow(2)
    for asker in askers:
        asker.join(20)
    assert [reply.json["model"] for reply in replies] == ["tiny", "tiny"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("in_band", [False, True], ids=["status", "in-band"])
def test_a_prompt_that_is_too_long_goes_to_the_fallback_unretried(gateway, replicas, stream, in_band):
    one, two, three = replicas
    one.mode = inside(TOO_LONG) if in_band else modes.status(400, body=TOO_LONG)
    reply = gateway.chat("Hello", stream=stream)
    assert reply.status == 200
    assert (reply.chunks[0] if stream else reply.json)["model"] == "middle"
    assert (one.posts, two.posts, three.posts) == (1, 1, 0)
    assert gateway.metrics()['weir_fallbacks_total{pool="first",reason="context_length"}'] == 1


def inside(error):
    """A 200 that carries the error."""

    async def mode(exchange):
        if not exchange.is_stream:
            return exchange.reply(200, error)
        exchange.stream_head()
        exchange.event(json.loads(error))
        exchange.write(b"0\r\n\r\n")

    return mode


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("in_band", [False, True], ids=["status", "in-band"])
def test_what_one_model_refuses_to_say_no_other_is_asked(gateway, replicas, stream, in_band):
    one, two, three = replicas
    one.mode = inside(FILTERED) if in_band else modes.status(400, body=FILTERED)
    reply = gateway.chat("Hello", stream=stream)
    assert reply.status == 400 and reply.error["code"] == "content_policy_violation"
    assert (one.posts, two.posts, three.posts) == (1, 0, 0)


def test_an_answer_that_the_filter_cut_is_an_answer(gateway, replicas):
    one, two, _ = replicas

    async def filtered(exchange):
        exchange.reply(200, json.dumps(exchange.whole_document("content_filter")).encode())

    one.mode = filtered
    reply = gateway.chat("Hello")
    assert reply.status == 200 and reply.json["choices"][0]["finish_reason"] == "content_filter"
    assert reply.json["model"] == "tiny" and two.posts == 0


def test_any_other_client_error_is_passed_on_once(gateway, replicas):
    one, two, _ = replicas
    for status in (400, 413, 422):
        error = b'{"error":{"message":"Bad.","type":"BadRequestError","code":%d}}' % status
        one.mode = modes.status(status, body=error)
        reply = gateway.chat("Hello")
        assert reply.status == status and reply.error["message"] == "Bad."
        assert reply.error["code"] is None or isinstance(reply.error["code"], str)
    assert (one.posts, two.posts) == (3, 0)


def test_a_key_falls_back_only_to_models_that_it_may_use(gateway, replicas):
    one, two, three = replicas
    one.mode = modes.broken
    reply = gateway.chat("Hello", key=OTHER_KEY)
    assert reply.status == 200 and reply.json["model"] == "last"
    assert (two.posts, three.posts) == (0, 1)


def test_when_nobody_answers_the_client_hears_of_the_model_it_asked_for(gateway, replicas):
    one, two, three = replicas
    one.mode = modes.status(400, body=TOO_LONG)
    two.mode = three.mode = modes.broken
    reply = gateway.chat("Hello")
    assert reply.status == 400 and reply.error["code"] == "context_length_exceeded"
    line = gateway.access_line(reply.field("x-request-id"))
    assert (line["model"], line["fallback"], line["pool"]) == ("tiny", None, "first")
    assert line["attempts"] == one.posts + two.posts + three.posts


def test_a_stream_whose_head_is_out_already_can_still_fall_back(gateway, replicas):
    one, two, _ = replicas
    steps = one.steps()
    one.mode = modes.stream_that("reset", after=0, steps=steps)
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
        status, _ = connection.read_head()
        assert status == 200 and connection.read_chunk().startswith(b": ping")
        one.mode = modes.broken
        steps.allow(1)
        events = list(connection.events())
    assert events[-1] == "[DONE]" and two.posts == 1
    assert {json.loads(event)["model"] for event in events[:-1]} == {"middle"}


def test_a_refusal_after_the_head_is_told_in_the_stream(gateway, replicas):
    one, two, _ = replicas
    steps = one.steps()

    async def late(exchange):
        exchange.stream_head()
        await steps.wait()
        exchange.event(json.loads(FILTERED))
        exchange.write(b"0\r\n\r\n")

    one.mode = late
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
        status, _ = connection.read_head()
        assert status == 200 and connection.read_chunk().startswith(b": ping")
        steps.allow(1)
        events = [json.loads(event) for event in connection.events()]
        assert connection.is_closed_by_peer()
    assert [event["error"]["code"] for event in events] == ["content_policy_violation"]
    assert two.posts == 0
