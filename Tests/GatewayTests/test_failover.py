"""A replica that fails costs no request: before the first content the request moves, after it the stream goes on."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from harness import modes
from harness.gateway import KEY, Gateway, chat_body
from harness.modes import answer_text
from harness.replica_process import ReplicaProcess
from harness.waiting import eventually

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
QUICK = {"interval": "1s", "timeout": "1s", "fall": 2, "rise": 1, "ramp": "0s", "warmUp": False}
#: Short enough to test, long enough for a busy machine.
TIMEOUTS = {"connect": "1s", "firstByte": "700ms", "firstContent": "700ms", "streamStall": "700ms", "headHold": "300ms"}


@pytest.fixture(scope="module")
def replicas(shared):
    return shared.replicas("one", "two")


@pytest.fixture
def gateway(stage, replicas):
    """A gateway of the test's own: breakers, cool-downs and retry budgets remember what the test before did."""
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(replicas, timeouts=TIMEOUTS)
    gateway.wait_for({"one", "two"})
    return gateway


BEFORE_CONTENT = {
    "503 with Retry-After": modes.busy,
    "429": modes.too_many,
    "500": modes.broken,
    "502": modes.status(502),
    "401 for our own credential": modes.status(401),
    "404": modes.status(404),
    "a redirect": modes.status(302, "location: http://127.0.0.1:1/"),
    "204": modes.status(204, body=b""),
    "HTML with 200": modes.html,
    "no content type": modes.no_content_type,
    "an empty reply": modes.empty,
    "bytes that are no HTTP": modes.garbage,
    "a reset": modes.reset,
    "a plain close": modes.hang_up,
    "a reply in gzip": modes.gzipped,
    "finish_reason abort": modes.aborted,
    "an error inside a 200": modes.in_band_error,
    "silence": modes.half_open,
    "a head and then silence": modes.hang_after_head,
}
PLAIN_ONLY = {
    "JSON that answers nothing": modes.no_choices,
    "two lengths": modes.two_lengths,
    "both framings": modes.both_framings,
    "a body shorter than its length": modes.short_body,
}
STREAM_ONLY = {
    "a malformed event": modes.malformed_event,
    "[DONE] and nothing said": modes.done_at_once,
    "a clean end at once": modes.stream_that("end", after=0),
    "a cut in the first event": modes.stream_that("cut", after=0),
    "a reset after the role": modes.stream_that("reset", after=0),
    "an error after the role": modes.stream_that("error", after=0),
}


def fail_first(replicas, mode):
    """Whichever replica is asked first fails once; the others answer."""
    lock = threading.Lock()
    left = [mode]

    async def once(exchange):
        with lock:
            chosen = left.pop() if left else modes.answer
        await chosen(exchange)

    for replica in replicas:
        replica.mode = once


@pytest.mark.parametrize("what", {**BEFORE_CONTENT, **PLAIN_ONLY})
def test_a_plain_request_moves_on_from(gateway, replicas, what):
    fail_first(replicas, {**BEFORE_CONTENT, **PLAIN_ONLY}[what])
    reply = gateway.chat("Hello")
    assert reply.status == 200, reply
    assert reply.content == answer_text(HELLO)
    assert reply.field("x-weir-attempts") == "2"
    assert [replica.posts for replica in replicas] == [1, 1]


@pytest.mark.parametrize("what", {**BEFORE_CONTENT, **STREAM_ONLY})
def test_a_stream_moves_on_before_its_first_content_from(gateway, replicas, what):
    fail_first(replicas, {**BEFORE_CONTENT, **STREAM_ONLY}[what])
    reply = gateway.chat("Hello", stream=True)
    assert reply.status == 200, reply
    assert reply.streamed_text == answer_text(HELLO) and reply.events[-1] == "[DONE]"
    assert [c["choices"][0]["delta"].get("role") for c in reply.chunks].count("assistant") == 1
    assert sum(replica.posts for replica in replicas) == 2


@pytest.mark.parametrize("ending", ["reset", "end", "close", "cut", "error", "malformed", "abort", "hang"])
def test_a_stream_that_breaks_after_its_first_content_goes_on_without_a_seam(gateway, replicas, ending):
    fail_first(replicas, modes.stream_that(ending))
    reply = gateway.chat("Hello", stream=True, stream_options={"include_usage": True})
    assert reply.streamed_text == answer_text(HELLO)
    assert reply.events[-1] == "[DONE]"
    chunks = [chunk for chunk in reply.chunks if chunk["choices"]]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks].count("assistant") == 1
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"][0]["finish_reason"]] == ["stop"]
    continued = next(request for replica in replicas for request in replica.requests
                     if request.json.get("continue_final_message"))
    assert continued.json["add_generation_prompt"] is False
    assert continued.messages[:-1] == HELLO and continued.messages[-1]["role"] == "assistant"


def test_a_continued_stream_is_charged_as_one_and_counted(gateway, replicas):
    fail_first(replicas, modes.stream_that("reset"))
    reply = gateway.chat("Hello", stream=True, stream_options={"include_usage": True})
    usage = [chunk["usage"] for chunk in reply.chunks if chunk.get("usage")]
    assert usage == [{"prompt_tokens": 1, "completion_tokens": 10, "total_tokens": 11}]
    line = gateway.access_line(reply.field("x-request-id"))
    assert (line["attempts"], line["resumes"], line["outcome"]) == (2, 1, "ok")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (1, 10)
    assert gateway.metrics()['weir_resumes_total{outcome="ok",pool="main",way="prefill"}'] == 1


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_continuation_may_only_say_what_is_left_of_the_tokens(gateway, replicas, name):
    fail_first(replicas, modes.stream_that("reset"))
    reply = gateway.chat("Hello", stream=True, **{name: 8})
    assert reply.streamed_text == "".join(modes.pieces_of({"messages": HELLO})[:8])
    continued = next(request for replica in replicas for request in replica.requests
                     if request.json.get("continue_final_message"))
    assert continued.json[name] == 5


@pytest.mark.parametrize("ending", ["reset", "end", "cut", "error", "abort"])
def test_a_stream_that_nobody_can_continue_ends_with_an_error_event_and_no_done(gateway, replicas, ending, client_of):
    for replica in replicas:
        replica.mode = modes.stream_that(ending)
    # Log probabilities can't be continued.
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True, logprobs=True), key=KEY)
        reply = connection.read_reply()
        assert connection.is_closed_by_peer()
    assert reply.status == 200 and reply.streamed_text == "".join(modes.pieces_of({"messages": HELLO})[:3])
    assert "[DONE]" not in reply.events
    assert set(reply.chunks[-1]["error"]) == {"message", "type", "param", "code"}
    with pytest.raises(openai.APIError):
        list(client_of(gateway).chat.completions.create(model="tiny", messages=HELLO, stream=True, logprobs=True))


def test_a_stream_told_to_say_n_tokens_and_cut_after_them_is_complete(gateway, replicas):
    fail_first(replicas, modes.stream_that("reset", after=3))
    reply = gateway.chat("Hello", stream=True, max_tokens=3)
    assert reply.events[-1] == "[DONE]"
    assert reply.chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert sum(replica.posts for replica in replicas) == 1


def test_the_head_goes_out_with_a_ping_when_the_first_content_is_late(gateway, replicas):
    steps = replicas[0].steps()
    for replica in replicas:
        replica.mode = modes.streamed(before=steps)
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
        status, _ = connection.read_head()
        assert status == 200 and connection.read_chunk().startswith(b": ping")
        steps.allow(1)
        assert list(connection.events())[-1] == "[DONE]"


def test_when_everyone_is_busy_the_client_hears_so_and_when_to_come_back(gateway, replicas):
    for replica in replicas:
        replica.mode = modes.status(429, "retry-after: 60")
    reply = gateway.chat("Hello")
    assert reply.status == 429 and int(reply.field("retry-after")) == 60
    assert int(reply.field("retry-after-ms")) == 60000


def test_when_every_replica_fails_the_client_gets_a_5xx_in_openai_s_form(gateway, replicas):
    for replica in replicas:
        replica.mode = modes.broken
    reply = gateway.chat("Hello")
    assert reply.status in (500, 502, 503) and set(reply.error) == {"message", "type", "param", "code"}


def test_a_connection_that_the_replica_closed_while_idle_costs_nothing(gateway, replicas):
    for _ in range(6):
        assert gateway.chat("Hello").status == 200
    for replica in replicas:
        for connection in list(replica.connections):
            replica._home.loop.call_soon_threadsafe(connection.transport.close)
    for _ in range(6):
        reply = gateway.chat("Hello")
        assert reply.status == 200 and reply.field("x-weir-attempts") == "1"


@pytest.fixture(scope="module")
def processes():
    processes = [ReplicaProcess(name) for name in ("red", "green", "blue")]
    yield processes
    for process in processes:
        process.stop()


@pytest.fixture(scope="module")
def over_processes(shared, processes):
    return shared.gateway(processes, pool={"probe": QUICK})


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_killed_replica_costs_no_request(over_processes, processes, client_of, stream):
    over_processes.wait_for({"red", "green", "blue"})
    client = client_of(over_processes)
    done = []

    def ask(number):
        messages = [{"role": "user", "content": f"Question {number}"}]
        answer = client.chat.completions.create(model="tiny", messages=messages, stream=stream)
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        else:
            text = answer.choices[0].message.content
        assert text == answer_text(messages)
        done.append(number)

    def kill_and_restart():
        eventually(lambda: len(done) >= 50, "50 requests are answered")
        processes[0].kill()
        eventually(lambda: len(done) >= 120, "120 requests are answered")
        processes[0].start()

    killer = threading.Thread(target=kill_and_restart)
    killer.start()
    with ThreadPoolExecutor(8) as pool:
        for result in [pool.submit(ask, number) for number in range(200)]:
            result.result()
    killer.join()
    assert sorted(done) == list(range(200))
    over_processes.wait_for({"red", "green", "blue"})


def test_a_replica_that_closes_its_connections_again_and_again_costs_no_request(gateway, replicas):
    failures = []

    def ask(number):
        reply = gateway.chat(f"Question {number}")
        if reply.status != 200:
            failures.append(reply)

    async def flaky(exchange):
        if exchange.connection.replica.posts % 5 == 0:
            return exchange.reset()
        await modes.answer(exchange)

    replicas[0].mode = flaky
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(200)))
    assert not failures, failures[:3]


def test_a_frozen_replica_holds_a_request_only_until_its_probe_fails(stage):
    """A request without content on a replica that its probe declares dead moves at once, long before any timeout."""
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": QUICK})
    gateway.wait_for({"one", "two"})
    one.mode = two.mode = modes.half_open
    answers = []
    asker = threading.Thread(target=lambda: answers.append(gateway.chat("Hello")))
    asker.start()
    frozen = eventually(lambda: next((r for r in (one, two) if r.posts), None), "a replica holds the request")
    (two if frozen is one else one).mode = modes.answer
    frozen.is_healthy = False
    began = time.monotonic()
    asker.join(15)
    assert answers and answers[0].status == 200
    assert time.monotonic() - began < 10


def test_with_no_replica_at_all_the_answer_is_503_and_readyz_says_so(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica], pool={"probe": {"interval": "1s", "timeout": "1s", "fall": 1}})
    replica.kill()
    eventually(lambda: gateway.request("GET", "/readyz", key=None).status == 503, "/readyz turns 503")
    reply = gateway.chat("Hello")
    assert reply.status == 503 and reply.error["type"] == "server_error"
    assert reply.field("retry-after")
    replica.start()
    eventually(lambda: gateway.request("GET", "/readyz", key=None).status == 200, "/readyz turns 200")
    assert gateway.chat("Hello").status == 200


def test_a_backup_is_used_only_while_the_others_are_down(stage):
    from harness.gateway import replica_settings

    one, spare = stage.replicas("one", "spare")
    gateway = stage.gateway(
        [one, replica_settings(spare, backup=True)],
        pool={"probe": {"interval": "1s", "timeout": "1s", "fall": 1}})
    gateway.wait_for({"one", "spare"})
    for _ in range(10):
        assert gateway.chat("Hello").field("x-weir-replica") == "one"
    one.kill()
    for _ in range(10):
        assert gateway.chat("Hello").field("x-weir-replica") == "spare"


def test_a_drained_replica_gets_no_request_and_a_probe_never_undoes_it(gateway: Gateway, replicas):
    assert gateway.admin("POST", "/admin/v1/replicas/one/drain").json["intent"] == "draining"
    try:
        gateway.wait_for({"two"})
        probed = replicas[0].probes
        for _ in range(10):
            assert gateway.chat("Hello").field("x-weir-replica") == "two"
        eventually(lambda: replicas[0].probes >= probed + 2, "two more probes")
        assert gateway.chat("Hello").field("x-weir-replica") == "two"
    finally:
        gateway.admin("POST", "/admin/v1/replicas/one/enable")
    gateway.wait_for({"one", "two"})
    assert {gateway.chat("Hello").field("x-weir-replica") for _ in range(10)} == {"one", "two"}


def test_a_name_of_its_own_is_used_towards_the_replica_and_hidden_from_the_client(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica], pool={"models": [{"name": "tiny", "upstream": "org/tiny-v2"}]})
    reply = gateway.chat("Hello")
    assert reply.json["model"] == "tiny" and replica.last.json["model"] == "org/tiny-v2"
    reply = gateway.chat("Hello", stream=True)
    assert {chunk["model"] for chunk in reply.chunks} == {"tiny"}
    assert not re.search("org/tiny", reply.text)
