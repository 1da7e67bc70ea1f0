"""Which way a broken stream takes, one exception after the other, and the honest end where there is none."""

import json

import pytest
from harness import modes
from harness.engine import EOS, IDS, PROMPT, TEXT, Engine
from harness.gateway import KEY
from harness.waiting import eventually
from test_resume import CHAT, HELLO, PATIENT, check, made, pieces, way

WORDS = [f" {word}".encode() for word in modes.WORDS[:14]]


class Scene:
    """A gateway in front of two replicas that share an engine."""

    def __init__(self, stage, kind, retry=None, **engine):
        kinds = [kind] if isinstance(kind, str) else kind
        names = ["one", "two", "three"][:max(2, len(kinds))]
        self.replicas = stage.replicas(*names)
        self.engine = Engine(kinds[0], **engine)
        for replica in self.replicas:
            replica.mode = self.engine
        configured = [
            {"name": r.name, "url": r.url, "kind": kinds[min(index, len(kinds) - 1)]}
            for index, r in enumerate(self.replicas)]
        self.gateway = stage.gateway(configured, pool={**PATIENT, "retry": {**PATIENT["retry"], **(retry or {})}})

    def ask(self, told="Grüße", **members):
        """One stream that is cut when it has told so much."""
        body = {"model": "tiny", "messages": HELLO, "stream": True, **members}
        if told is not None:
            asked = {"return_token_ids": False, **body}
            asked["return_token_ids"] = asked["return_token_ids"] or self.asks_ids(body)
            self.engine.reset(cut_at=self.engine.cut_before(told, asked), ending="clean")
        return self.gateway.request("POST", CHAT, json.dumps(body).encode())

    def asks_ids(self, body):
        """Whether the gateway asks for ids, which makes events longer."""
        if self.engine.kind == "weir":
            return not {"logprobs", "presence_penalty", "min_tokens"} & set(body) and body.get("n", 1) == 1
        if self.engine.kind != "vllm" or isinstance(body["messages"][0]["content"], list):
            return False
        only = {"model", "messages", "stream", "stream_options", "max_tokens", "return_token_ids", "seed"}
        return set(body) <= only

    @property
    def ways(self):
        return [way(body) for body in self.engine.bodies[1:]]


def counted(scene, outcome, way, count):
    """Waits for the metric: it is written after the client has its answer."""
    sample = f'weir_resumes_total{{outcome="{outcome}",pool="main",way="{way}"}}'
    return eventually(lambda: scene.gateway.metrics()[sample] == count, f"{sample} is {count}")


def is_honest(reply):
    """The stream ends with an error event and nothing behind it."""
    assert reply.status == 200
    assert "[DONE]" not in reply.events
    assert set(json.loads(reply.events[-1])["error"]) == {"message", "type", "param", "code"}
    assert not any(reason for chunk in reply.chunks[:-1] for _, reason in pieces(chunk))
    return True


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
RULES = {
    "nothing special": ({}, {"weir": "token_ids", "vllm": "token_ids", "sglang": "prefill", "tgi": "replay"}),
    "a response format": (
        {"response_format": {"type": "json_object"}}, {"weir": "token_ids", "vllm": "replay", "sglang": "replay"}),
    "a format of plain text": ({"response_format": {"type": "text"}}, {"weir": "token_ids", "sglang": "prefill"}),
    "a grammar": ({"grammar": "root ::= x"}, {"weir": "token_ids", "llama.cpp": "replay"}),
    "a guide": ({"guided_choice": ["a", "b"]}, {"vllm": "replay"}),
    "a forced tool": (
        {"tools": [TOOL], "tool_choice": "required"}, {"weir": "token_ids", "vllm": "replay", "llama.cpp": "replay"}),
    "tools that are offered": ({"tools": [TOOL]}, {"weir": "token_ids", "vllm": "prefill", "sglang": "prefill"}),
    "penalties": ({"presence_penalty": 0.5}, {"weir": "replay", "vllm": "replay", "sglang": "replay"}),
    "log probabilities": ({"logprobs": True}, {"weir": "replay", "vllm": "replay", "llama.cpp": "replay"}),
    "a least number of tokens": ({"min_tokens": 2}, {"weir": "replay", "vllm": "replay", "sglang": "replay"}),
    "a stop that has begun": ({"stop": ["never", "ße or"]}, {"weir": "replay", "vllm": "replay", "sglang": "replay"}),
    "a stop that has not": ({"stop": "never"}, {"weir": "token_ids", "vllm": "prefill", "sglang": "prefill"}),
    "a prompt with parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
        {"weir": "token_ids", "vllm": "prefill"}),
}
CASES = [(rule, kind, expected) for rule, (_, kinds) in RULES.items() for kind, expected in kinds.items()]


@pytest.mark.parametrize("rule, kind, expected", CASES, ids=[f"{rule}-{kind}" for rule, kind, _ in CASES])
def test_the_best_way_that_is_open_is_taken(stage, rule, kind, expected):
    scene = Scene(stage, kind)
    fields = RULES[rule][0]
    reply = scene.ask(**fields)
    check(reply, usage=False)
    assert scene.ways == [expected]
    if expected == "token_ids":
        asked = scene.engine.bodies[1]
        assert scene.engine.paths[1] == "/v1/completions"
        assert asked["prompt"] == [*PROMPT, *IDS[:4]] and "messages" not in asked
        # A completion's default would be sixteen tokens.
        assert asked["max_tokens"] is None
        # What binds the output goes along.
        assert {name: asked.get(name) for name in fields if name not in ("messages", "tools")} == {
            name: value for name, value in fields.items() if name not in ("messages", "tools")}


@pytest.mark.parametrize("kind", ["sglang", "tgi"])
def test_a_pool_that_does_not_resume_ends_a_broken_stream_with_an_error(stage, kind):
    scene = Scene(stage, kind, retry={"resume": False})
    assert is_honest(scene.ask())
    assert len(scene.engine.bodies) == 1


def test_a_pool_that_does_not_resume_asks_for_no_token_ids(stage):
    scene = Scene(stage, "vllm", retry={"resume": False})
    scene.engine.reset()
    check(scene.ask(told=None), usage=False)
    assert "return_token_ids" not in scene.engine.bodies[0]


@pytest.mark.parametrize("kind", ["weir", "vllm", "sglang", "generic"])
def test_more_than_one_choice_is_never_continued(stage, kind):
    scene = Scene(stage, kind)
    assert is_honest(scene.ask(n=2))
    assert scene.ways == []


@pytest.mark.parametrize("kind", ["weir", "vllm", "sglang", "generic"])
@pytest.mark.parametrize("extra", [
    {"reasoning_content": "Hm."}, {"refusal": "No."},
    {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
], ids=["reasoning", "refusal", "a tool call"])
def test_what_is_no_text_is_never_told_twice(stage, kind, extra):
    scene = Scene(stage, kind)
    scene.engine.reset(cut_at=1200, ending="clean")
    scene.engine.extra = extra
    assert is_honest(scene.ask(told=None))
    assert scene.ways == []


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("kind", ["sglang", "llama.cpp"])
def test_a_refused_prefill_is_no_error_to_the_client_and_not_tried_again(stage, kind, status):
    scene = Scene(stage, kind)
    message = b'{"error":{"message":"Unknown field: continue_final_message","type":"x","param":null,"code":null}}'
    for expected in (["prefill", "replay"], ["prefill", "replay"], ["replay"]):
        scene.engine.reset(cut_at=scene.engine.cut_before("Grüße", {"model": "tiny", "messages": HELLO}))
        scene.engine.ending = "clean"
        scene.engine.on_prefill = modes.status(status, body=message)
        check(scene.ask(told=None), usage=False)
        if scene.ways != expected:
            # The same replica was asked twice: the other one has yet to learn.
            assert scene.ways in (["replay"], ["prefill", "replay"])
    assert counted(scene, "ok", "replay", 3)
    assert 1 <= scene.gateway.metrics()['weir_resumes_total{outcome="refused",pool="main",way="prefill"}'] <= 2
    # The client's request is fine, and so is the replica.
    assert {replica["serving"] for replica in scene.gateway.replicas().values()} == {True}


@pytest.mark.parametrize("status", [400, 404, 422, 501])
def test_where_ids_are_refused_the_text_is_tried(stage, status):
    scene = Scene(stage, "vllm")
    scene.engine.reset(cut_at=scene.engine.cut_before(
        "Grüße", {"model": "tiny", "messages": HELLO, "return_token_ids": True}), ending="clean")
    scene.engine.on_ids = modes.status(status)
    check(scene.ask(told=None), usage=False)
    assert scene.ways == ["token_ids", "prefill"]


def test_every_way_is_tried_in_turn(stage):
    scene = Scene(stage, "weir")
    scene.engine.reset(cut_at=scene.engine.cut_before(
        "Grüße", {"model": "tiny", "messages": HELLO, "return_token_ids": True}), ending="clean")
    scene.engine.on_ids = modes.status(404)
    scene.engine.on_prefill = modes.in_band_refusal
    check(scene.ask(told=None), usage=False)
    assert scene.ways == ["token_ids", "prefill", "replay"]


def test_a_replica_that_begins_the_answer_anew_has_not_continued_it(stage):
    scene = Scene(stage, "sglang", tokens=WORDS)
    told = b"".join(WORDS[:8]).decode()

    async def anew(exchange):
        scene.engine.is_forgetful = True
        await scene.engine.tell(exchange)
        scene.engine.is_forgetful = False

    scene.engine.reset(cut_at=scene.engine.cut_before(told, {"model": "tiny", "messages": HELLO}), ending="clean")
    scene.engine.on_prefill = anew
    check(scene.ask(told=None), text=scene.engine.text, usage=False)
    assert scene.ways == ["prefill", "replay"]
    assert counted(scene, "diverged", "prefill", 1)


def test_a_text_that_repeats_itself_is_continued_all_the_same(stage):
    scene = Scene(stage, "sglang", tokens=[b" lorem", b" ipsum", b" dolor"] * 6)
    for told in range(1, 18):
        text = b"".join(scene.engine.tokens[:told]).decode()
        check(scene.ask(told=text), text=scene.engine.text, usage=False)
        assert scene.ways == ["prefill"]


def test_a_continuation_that_happens_to_begin_like_the_text_is_let_through(stage):
    scene = Scene(stage, "sglang", tokens=[*WORDS[:8], *WORDS[:4], b" and", b" so"])
    told = b"".join(WORDS[:8]).decode()
    check(scene.ask(told=told), text=scene.engine.text, usage=False)
    assert scene.ways == ["prefill"]


@pytest.mark.parametrize("other", [[b"Gr", b"\xc3\xbc", b"n"], [b"Gr"], [b"Gr", "üß".encode()]])
def test_a_replay_that_diverges_is_the_honest_end(stage, other):
    scene = Scene(stage, "generic")

    async def differently(exchange):
        scene.engine.tokens = other
        await scene.engine.tell(exchange)

    scene.engine.reset(cut_at=scene.engine.cut_before("Grüße", {"model": "tiny", "messages": HELLO}), ending="clean")
    scene.engine.on_replay = differently
    body = json.dumps({"model": "tiny", "messages": HELLO, "stream": True}).encode()
    with scene.gateway.connect() as connection:
        connection.send_request("POST", CHAT, body, key=KEY)
        reply = connection.read_reply()
        assert connection.is_closed_by_peer()
    assert is_honest(reply)
    assert "".join(text for chunk in reply.chunks[:-1] for text, _ in pieces(chunk)) == "Grüße"
    assert scene.ways == ["replay"]
    assert counted(scene, "diverged", "replay", 1)


def test_a_replica_of_another_kind_can_t_read_the_ids(stage):
    scene = Scene(stage, ["vllm", "weir"])
    for _ in range(4):
        first = len(scene.replicas[0].requests)
        scene.engine.reset(cut_at=900, ending="clean")
        check(scene.ask(told=None), usage=False)
        assert scene.ways in (["prefill"], ["replay"]), first


def test_the_replica_that_offers_the_best_way_goes_on(stage):
    scene = Scene(stage, ["weir", "generic", "weir"])
    told_by = []
    for _ in range(9):
        for replica in scene.replicas:
            replica.forget()
            replica.mode = scene.engine
        reply = scene.ask()
        check(reply, usage=False)
        told_by.append(scene.ways)
    # Where the generic one began there are no ids; else it is passed over.
    assert told_by.count(["token_ids"]) >= 5 and ["replay"] not in told_by


@pytest.mark.parametrize("kind", ["weir", "vllm"])
def test_a_client_that_asks_for_ids_gets_them_without_a_seam(stage, kind):
    scene = Scene(stage, kind)
    reply = scene.ask(return_token_ids=True)
    assert "".join(text for chunk in reply.chunks for text, _ in pieces(chunk)) == TEXT
    assert scene.ways == ["token_ids"]
    ids = [id for chunk in reply.chunks for choice in chunk["choices"] for id in choice.get("token_ids") or []]
    assert [id for id in ids if id != EOS] == IDS
    assert [chunk["prompt_token_ids"] for chunk in reply.chunks if chunk.get("prompt_token_ids")] == [PROMPT]


def test_our_own_replicas_get_a_seed_and_keep_the_client_s(stage):
    scene = Scene(stage, "weir")
    check(scene.ask(), usage=False)
    seeds = [body["seed"] for body in scene.engine.bodies]
    assert len(seeds) == 2 and seeds[0] == seeds[1] >= 0
    check(scene.ask(seed=7), usage=False)
    assert [body["seed"] for body in scene.engine.bodies] == [7, 7]
    other = Scene(stage, "vllm")
    check(other.ask(), usage=False)
    assert not any("seed" in body for body in other.engine.bodies)


def test_a_stream_without_a_role_has_one_at_most(stage):
    scene = Scene(stage, "sglang")
    scene.engine.reset(cut_at=500, ending="clean")
    scene.engine.has_role = False
    reply = scene.ask(told=None)
    check(reply, usage=False)
    assert scene.ways == ["prefill"]


@pytest.mark.parametrize("kind", ["sglang", "generic"])
def test_a_usage_that_was_lost_with_its_replica_is_asked_for(stage, kind):
    scene = Scene(stage, kind)
    options = {"include_usage": True}
    body = {"model": "tiny", "messages": HELLO, "stream_options": options}
    finish = scene.engine.length_before_usage(body)
    scene.engine.reset(cut_at=finish)
    check(scene.ask(told=None, stream_options=options), completion=made(kind))
    assert [body.get("max_tokens") for body in scene.engine.bodies] == [None, 1]
    # Where nobody can tell, it is what was counted; where nothing broke, nobody is asked.
    scene.gateway.wait_for({"one", "two"})
    scene.engine.reset(cut_at=finish)
    scene.engine.on_replay = modes.broken
    check(scene.ask(told=None, stream_options=options), prompt=0, completion=made(kind))
    assert len(scene.engine.bodies) == 2
    scene.engine.reset(cut_at=finish, ending="clean")
    check(scene.ask(told=None, stream_options=options), prompt=0, completion=made(kind))
    assert len(scene.engine.bodies) == 1


def test_a_last_message_that_llama_cpp_continues_unasked_is_made_longer(stage):
    scene = Scene(stage, "llama.cpp")
    messages = [*HELLO, {"role": "assistant", "content": "Gr"}]
    body = {"model": "tiny", "messages": messages, "stream": True}
    scene.engine.reset(cut_at=scene.engine.cut_before("üße", body), ending="clean")
    reply = scene.ask(told=None, messages=messages)
    check(reply, text=TEXT.removeprefix("Gr"), usage=False)
    assert scene.engine.bodies[1]["messages"] == [*HELLO, {"role": "assistant", "content": "Grüße"}]


def test_a_generic_replica_that_says_it_is_llama_cpp_s_server_is_one(stage):
    scene = Scene(stage, "generic")
    scene.engine.kind = "llama.cpp"
    ways = []
    for _ in range(4):
        scene.engine.reset(cut_at=scene.engine.cut_before("Grüße", {"model": "tiny", "messages": HELLO}))
        scene.engine.ending, scene.engine.fields = "clean", ("server: llama.cpp",)
        check(scene.ask(told=None), usage=False)
        ways += scene.ways
    # Each of the two has to answer once before it is known.
    assert set(ways) <= {"replay", "prefill"} and ways[-2:] == ["prefill", "prefill"]


def test_a_session_remembers_a_continued_answer_once(stage):
    for kind in ("weir", "sglang", "generic"):
        replicas = stage.replicas("one", "two")
        engine = Engine(kind)
        for replica in replicas:
            replica.mode = engine
        configured = [{"name": r.name, "url": r.url, "kind": kind} for r in replicas]
        gateway = stage.gateway(configured, pool=PATIENT, redis={"address": stage.redis().address})
        engine.reset(cut_at=engine.cut_before("Grüße", {
            "model": "tiny", "messages": HELLO, "return_token_ids": engine.has_ids}), ending="clean")
        session = [("x-session-id", "continued")]
        check(gateway.chat("Hello", stream=True, fields=session), usage=False)
        assert len(engine.bodies) == 2
        engine.reset()
        check(gateway.chat("And?", stream=True, fields=session), usage=False)
        assert engine.bodies[0]["messages"] == [
            *HELLO, {"role": "assistant", "content": TEXT}, {"role": "user", "content": "And?"}]
