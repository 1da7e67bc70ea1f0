"""Sampled answers of the real engine, cut anywhere, go on with the tokens that they would have had."""

import asyncio
import json
import urllib.request
from urllib.parse import urlsplit

import pytest
from harness.gateway import KEY
from test_replica import replicas as engine_replicas  # noqa: F401  a fixture
from test_resume import CHAT, PATIENT, pieces, way

PROMPTS = ["Hello!", "What is your name?", "Tell me about the sea."]


class Cutter:
    """Real replicas behind connections of which the first one of a request breaks after `cut_at` bytes of the reply."""

    def __init__(self):
        self.reset()

    def reset(self, cut_at=None):
        self.cut_at = cut_at
        self.bodies = []

    def before(self, url):
        """The mode of a replica that stands for the one at `url`."""
        return lambda exchange: self.forward(exchange, urlsplit(url))

    async def forward(self, exchange, url):
        self.bodies.append(exchange.body)
        cut_at, self.cut_at = self.cut_at, None
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        try:
            head = f"POST {exchange.request.path} HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n"
            head += f"content-type: application/json\r\ncontent-length: {len(exchange.request.body)}\r\n\r\n"
            writer.write(head.encode() + exchange.request.body)
            told = 0
            while data := await reader.read(65536):
                if cut_at is not None and told + len(data) >= cut_at:
                    exchange.write(data[:cut_at - told])
                    break
                exchange.write(data)
                told += len(data)
            exchange.close()
        finally:
            writer.close()


def text_of(reply):
    return "".join(text for chunk in reply.chunks for text, _ in pieces(chunk))


@pytest.fixture(scope="module")
def scene(shared, engine_replicas):  # noqa: F811
    cutter = Cutter()
    replicas = shared.replicas("near", "far")
    for replica, engine in zip(replicas, engine_replicas):
        replica.mode = cutter.before(engine.url)
    configured = [{"name": r.name, "url": r.url, "kind": "weir"} for r in replicas]
    pool = {**PATIENT, "models": ["weir-tiny"]}
    return cutter, shared.gateway(configured, pool=pool), engine_replicas[2]


def uncut(engine, body):
    """What the engine says when nothing breaks, asked as the gateway asked first."""
    request = urllib.request.Request(
        engine.url + CHAT, json.dumps({**body, "stream": False}).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        answer = json.load(reply)
    choice = answer["choices"][0]
    return choice["message"]["content"], choice["finish_reason"], answer["usage"]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("fields", [
    {"temperature": 0}, {"temperature": 1}, {"temperature": 1.5, "top_p": 0.9, "max_tokens": 40},
    {"temperature": 1, "stop": [" the", "."]},
], ids=["greedy", "sampled", "hot and limited", "with stops"])
def test_an_answer_that_is_cut_is_the_answer_that_was_not(scene, prompt, fields):
    cutter, gateway, engine = scene
    ways = set()
    for cut_at in range(150, 6000, 377):
        gateway.wait_for({"near", "far"})
        cutter.reset(cut_at)
        body = {
            "model": "weir-tiny", "stream": True, "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": prompt}], **fields}
        reply = gateway.request("POST", CHAT, json.dumps(body).encode(), key=KEY)
        text, finish, usage = uncut(engine, cutter.bodies[0])
        assert reply.events[-1] == "[DONE]", reply.events[-1]
        assert text_of(reply) == text
        assert [reason for chunk in reply.chunks for _, reason in pieces(chunk) if reason] == [finish]
        told = [chunk["usage"] for chunk in reply.chunks if chunk.get("usage")]
        assert [(u["prompt_tokens"], u["completion_tokens"]) for u in told] == [
            (usage["prompt_tokens"], usage["completion_tokens"])]
        ways |= {way(body) for body in cutter.bodies[1:]}
    assert "prefill" not in ways and "token_ids" in ways
