"""A stream that is cut anywhere goes on elsewhere: the client sees the stream that would have come without the cut."""

import json

import pytest
from harness.engine import IDS, PROMPT, TEXT, Engine
from harness.gateway import KEY
from harness.waiting import eventually

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
HELLO = [{"role": "user", "content": "Hello"}]
#: The best way that each kind of replica offers.
KINDS = {"weir": "token_ids", "vllm": "token_ids", "sglang": "prefill", "llama.cpp": "prefill", "generic": "replay"}
#: So that no cut is held against a replica.
PATIENT = {"probe": {"interval": "1s", "timeout": "1s", "fall": 100}, "retry": {"budgetPerSecond": 10_000}}


class Stage:
    """A gateway in front of two replicas of one kind that share an engine."""

    def __init__(self, shared, kind):
        self.kind = kind
        self.replicas = shared.replicas("one", "two")
        configured = [{"name": r.name, "url": r.url, "kind": kind} for r in self.replicas]
        self.gateway = shared.gateway(configured, pool=PATIENT)
        self.connection = self.gateway.connect()

    def use(self, engine):
        for replica in self.replicas:
            replica.forget()
            replica.mode = engine
        self.engine = engine
        return engine

    def ask(self, **members):
        members = {"stream_options": {"include_usage": True}, **members}
        return self.post(CHAT, {"model": "tiny", "messages": HELLO, "stream": True, **members})

    def complete(self, **members):
        members = {"stream_options": {"include_usage": True}, **members}
        return self.post(COMPLETIONS, {"model": "tiny", "prompt": "Once", "stream": True, **members})

    def post(self, path, body):
        reply = self.connection.request("POST", path, json.dumps(body).encode(), key=KEY)
        if b"[DONE]" not in reply.body:
            self.connection = self.gateway.connect()
        return reply

    def cut(self, text):
        """Cuts the next stream when it has told `text`."""
        self.gateway.wait_for({"one", "two"})
        body = {"model": "tiny", "messages": HELLO, "return_token_ids": self.engine.has_ids}
        self.engine.reset(cut_at=self.engine.cut_before(text, body))


@pytest.fixture(scope="module", params=KINDS)
def stage(request, shared):
    return Stage(shared, request.param)


def pieces(chunk):
    """A chunk's choices as (text, finish reason)."""
    for choice in chunk["choices"]:
        text = choice["delta"].get("content") if "delta" in choice else choice["text"]
        yield text or "", choice["finish_reason"]


def check(reply, text=TEXT, prompt=len(PROMPT), completion=None, finish="stop", roles=1, usage=True):
    """The stream is whole and one: what is said, by whom, for how much, and how it ends."""
    assert reply.status == 200
    assert reply.events[-1] == "[DONE]" and reply.events.count("[DONE]") == 1, reply.events
    chunks = reply.chunks
    assert "".join(text for chunk in chunks for text, _ in pieces(chunk)) == text
    assert [reason for chunk in chunks for _, reason in pieces(chunk) if reason] == [finish]
    assert sum("role" in c.get("delta", {}) for chunk in chunks for c in chunk["choices"]) == roles
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert not any(holder.get(name) for chunk in chunks for holder in (chunk, *chunk["choices"])
                   for name in ("token_ids", "prompt_token_ids"))
    told = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    if usage is None:
        return
    if not usage:
        assert told == []
        return
    assert len(told) == 1
    counts = (told[0]["prompt_tokens"], told[0]["completion_tokens"], told[0]["total_tokens"])
    assert counts == (prompt, completion, prompt + completion)


def made(kind, tokens=len(IDS), finish="stop"):
    """Completion tokens: engines that report ids count the one that ends the answer."""
    return tokens + (1 if kind in ("weir", "vllm") and finish == "stop" else 0)


SHAPES = {
    "an event a packet": {},
    "several events a packet, CR LF, comments": {"line_end": "\r\n", "per_packet": 3, "comments": True},
    "several tokens an event, lone CR": {"line_end": "\r", "per_event": 3},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_wherever_a_stream_is_cut_the_client_sees_the_uncut_one(stage, shape):
    if "several tokens" in shape and stage.kind not in ("weir", "vllm"):
        pytest.skip("without ids a delta counts as a token")
    engine = stage.use(Engine(stage.kind, **SHAPES[shape]))
    check(stage.ask(), completion=made(stage.kind))
    assert len(engine.bodies) == 1
    body = engine.bodies[0]
    finish = engine.length_before_usage(body)
    ways = set()
    for cut in [*range(finish), *range(finish, engine.length(body), 11)]:
        # A connection that breaks takes its replica out until the next probe; a clean end, as wrong, does not. Behind
        # the finish reason it is no fault.
        ending = "clean" if cut < finish else "close"
        if ending == "close":
            stage.gateway.wait_for({"one", "two"})
        engine.reset(cut_at=cut, ending=ending)
        reply = stage.ask()
        try:
            check(reply, completion=made(stage.kind))
            assert len(engine.bodies) <= (2 if ending == "clean" else 3)
        except AssertionError as problem:
            raise AssertionError(f"cut after {cut} bytes: {problem}\n{reply.text}\n{engine.bodies}") from problem
        ways |= {way(body) for body in engine.bodies[1:]}
    # Before the first content the request is sent again; where only the usage was lost, it alone is asked for.
    assert KINDS[stage.kind] in ways, ways


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_connection_that_breaks_is_as_good_a_cut(stage, ending):
    engine = stage.use(Engine(stage.kind))
    length = engine.length({"model": "tiny", "messages": HELLO, "return_token_ids": engine.has_ids})
    for cut in range(0, length, 97):
        stage.gateway.wait_for({"one", "two"})
        engine.reset(cut_at=cut, ending=ending)
        check(stage.ask(), completion=None, usage=None)


def way(body):
    """In which way a request continues a stream."""
    if isinstance(body.get("prompt"), list):
        return "token_ids"
    return "prefill" if body.get("continue_final_message") else "replay"


def test_without_a_fault_one_generation_answers_one_request(stage):
    engine = stage.use(Engine(stage.kind))
    for _ in range(100):
        check(stage.ask(stream_options=None), completion=None, usage=False)
    assert len(engine.bodies) == 100
    assert engine.tokens_made == 100 * made(stage.kind)


def test_the_usage_is_not_told_to_a_client_that_did_not_ask(stage):
    engine = stage.use(Engine(stage.kind))
    stage.cut("Grüße")
    check(stage.ask(stream_options=None), usage=False)
    assert len(engine.bodies) == 2


def test_a_stream_may_break_twice(stage):
    engine = stage.use(Engine(stage.kind))
    stage.cut("Grü")
    engine.cuts, engine.ending = 2, "clean"
    engine.cut_at += 150
    reply = stage.ask()
    check(reply, completion=made(stage.kind))
    assert len(engine.bodies) == 3


def test_the_log_and_the_metrics_name_the_way(stage, shared):
    # A gateway of its own: a stream is counted when its client has it already, so an earlier test's may be still
    # to come.
    stage = Stage(shared, stage.kind)
    stage.use(Engine(stage.kind))
    sample = f'weir_resumes_total{{outcome="ok",pool="main",way="{KINDS[stage.kind]}"}}'
    stage.cut("Grüße")
    reply = stage.ask()
    line = stage.gateway.access_line(reply.field("x-request-id"))
    assert (line["resumes"], line["resumed_by"], line["outcome"]) == (1, KINDS[stage.kind], "ok")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (len(PROMPT), made(stage.kind))
    eventually(lambda: stage.gateway.metrics()[sample] == 1, f"{sample} has gone up")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("limit", [4, 6, 9])
def test_a_limit_on_tokens_holds_over_the_cut(stage, name, limit):
    engine = stage.use(Engine(stage.kind))
    whole = stage.ask(**{name: limit})
    stage.cut("Grü")
    reply = stage.ask(**{name: limit})
    assert reply.streamed_text == whole.streamed_text
    assert [chunk["usage"] for chunk in reply.chunks if chunk.get("usage")] == [
        chunk["usage"] for chunk in whole.chunks if chunk.get("usage")]
    assert len(engine.bodies) == 2


def test_all_tokens_told_at_the_cut_is_the_end(stage):
    engine = stage.use(Engine(stage.kind))
    stage.cut("Grüße")
    reply = stage.ask(max_tokens=4 if engine.has_ids else 3, stream_options=None)
    assert len(engine.bodies) == 1
    assert reply.streamed_text == "Grüße"
    check(reply, text="Grüße", finish="length", usage=False)


@pytest.mark.parametrize("fields", [{}, {"max_tokens": 100}])
def test_a_plain_completion_is_continued_too(stage, fields):
    engine = stage.use(Engine(stage.kind))
    check(stage.complete(**fields), roles=0, completion=made(stage.kind))
    for cut in range(100, engine.length_before_usage(engine.bodies[0], COMPLETIONS), 53):
        engine.reset(cut_at=cut, ending="clean")
        reply = stage.complete(**fields)
        check(reply, roles=0, completion=made(stage.kind))


def test_a_model_renamed_for_the_replicas_keeps_its_name_in_a_continuation(shared):
    replicas = shared.replicas("three", "four")
    for kind in ("weir", "sglang"):
        engine = Engine(kind)
        for replica in replicas:
            replica.mode = engine
        configured = [{"name": r.name, "url": r.url, "kind": kind} for r in replicas]
        pool = {**PATIENT, "models": [{"name": "nice", "upstream": "tiny"}]}
        gateway = shared.gateway(configured, pool=pool)
        engine.reset(cut_at=engine.cut_before("Grüße", {"model": "tiny", "messages": HELLO, "return_token_ids": True}))
        body = json.dumps({"model": "nice", "messages": HELLO, "stream": True}).encode()
        reply = gateway.request("POST", CHAT, body)
        check(reply, usage=False)
        assert {chunk["model"] for chunk in reply.chunks} == {"nice"}
        assert {body["model"] for body in engine.bodies} == {"tiny"} and len(engine.bodies) == 2
