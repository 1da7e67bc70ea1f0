"""llama.cpp's real server behind the gateway: what it says passes unchanged, and where it breaks the answer goes on.

Nobody of Weir wrote it, so it keeps the scripted replicas honest: it has head fields, chunks, a role delta and a pace
of its own. Its greedy answers are the same in every process, so a continued text can be compared with the whole one.
"""

import http.client
import json
import threading

import pytest
from harness.client import Reply
from harness.gateway import KEY, ROOT, chat_body
from harness.llama_server import LlamaServer
from harness.valve import Cut, Valve
from harness.waiting import eventually

MODEL = ROOT / "Models/tiny/weir-tiny.gguf"
CHAT = "/v1/chat/completions"
ASKED = {"temperature": 0, "max_tokens": 800}
SHORT = "Hello!"
STORY = "Tell me a story about a fox."
ESSAY = "Write an essay about rivers."
QUICK = {"interval": "500ms", "timeout": "500ms", "fall": 2, "rise": 1, "ramp": "0s", "warmUp": False}


@pytest.fixture(scope="module")
def servers():
    servers = []
    try:
        for name in ("red", "green"):
            servers.append(LlamaServer(name, MODEL))
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
def gateway_over(stage):
    """A gateway over given replicas; `kind` is what the configuration says that they are."""

    def make(replicas, **changes):
        settings = [{"name": r.name, "url": r.url, "kind": "llama.cpp"} for r in replicas]
        changes.setdefault("pool", {"probe": QUICK})
        gateway = stage.gateway(settings, **changes)
        gateway.wait_for({replica.name for replica in replicas})
        return gateway

    return make


def whole_text(server, prompt):
    """What the server itself says, asked without a gateway."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", CHAT, chat_body(prompt, **ASKED), {"content-type": "application/json"})
    return json.loads(connection.getresponse().read())["choices"][0]["message"]["content"]


def assert_is_one_stream(reply, text):
    """The stream is what it would have been had nothing happened."""
    assert reply.status == 200, reply
    assert reply.streamed_text == text
    assert reply.events.count("[DONE]") == 1 and reply.events[-1] == "[DONE]"
    chunks = [chunk for chunk in reply.chunks if chunk["choices"]]
    # Its `created` moves with the clock during a stream that is not cut at all.
    assert len({(chunk["id"], chunk["model"]) for chunk in chunks}) == 1
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks].count("assistant") == 1
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"][0]["finish_reason"]] == ["stop"]
    assert not any("error" in chunk for chunk in reply.chunks)


def test_plain_and_streamed_answers_are_those_of_the_server(servers, gateway_over):
    gateway = gateway_over(servers)
    for prompt in (SHORT, STORY):
        text = whole_text(servers[0], prompt)
        assert text and whole_text(servers[1], prompt) == text
        assert gateway.chat(prompt, **ASKED).content == text
        reply = gateway.chat(prompt, stream=True, stream_options={"include_usage": True}, **ASKED)
        assert_is_one_stream(reply, text)
        assert reply.chunks[-1]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("ending", ["reset", "close"])
@pytest.mark.parametrize("extra", [0, 1, 30], ids=["between events", "behind one byte", "inside the JSON"])
def test_a_stream_cut_at_every_event_is_whole(servers, gateway_over, ending, extra):
    """Two valves before one server: whichever is asked first cuts the stream, and the other continues it."""
    server = servers[0]
    valves = [Valve(server, "one"), Valve(server, "two")]
    names = {valve.name for valve in valves}
    valves[0].on_cut = valves[1].cuts.clear
    valves[1].on_cut = valves[0].cuts.clear
    try:
        gateway = gateway_over(valves, pool={"probe": QUICK})
        text = whole_text(server, SHORT)
        events = len(gateway.chat(SHORT, stream=True, **ASKED).events)
        assert events > 8
        for place in range(events):
            gateway.wait_for(names)
            for valve in valves:
                valve.cuts[:] = [Cut(place, extra, ending)]
            assert_is_one_stream(gateway.chat(SHORT, stream=True, **ASKED), text)
        # A cut inside the last event finds no event as long as that.
        assert events - 1 <= sum(valve.made for valve in valves) <= events
    finally:
        for valve in valves:
            valve.stop()


@pytest.mark.parametrize("events", [1, 2, 5, 20, 60])
def test_a_server_that_is_killed_in_the_middle_costs_no_byte_of_the_stream(servers, gateway_over, events):
    gateway = gateway_over(servers)
    text = whole_text(servers[0], ESSAY)
    with gateway.connect() as connection:
        victim, seen, stream = begin_a_stream(connection, servers, events)
        victim.kill()
        try:
            seen += stream
        finally:
            victim.start()
    assert_is_one_stream(reply_of(seen), text)


def begin_a_stream(connection, servers, events):
    """Asks for a long stream. Returns the server that answers, the first events, and the rest to come."""
    connection.send_request("POST", CHAT, chat_body(ESSAY, stream=True, **ASKED), key=KEY)
    status, fields = connection.read_head()
    assert status == 200
    stream = connection.events()
    seen = [next(stream) for _ in range(events)]
    return next(server for server in servers if server.name == dict(fields)["x-weir-replica"]), seen, stream


def reply_of(events):
    """Events that were read one by one, as a whole reply."""
    return Reply(200, [], "".join(f"data: {event}\n\n" for event in events).encode())


def test_plain_requests_outlive_a_killed_server(servers, gateway_over):
    gateway = gateway_over(servers)
    text = whole_text(servers[0], STORY)
    replies = []

    def ask():
        for _ in range(8):
            replies.append(gateway.chat(STORY, **ASKED))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    eventually(lambda: len(replies) >= 6, "six answers")
    servers[0].kill()
    for asker in askers:
        asker.join(60)
    servers[0].start()
    assert len(replies) == 32
    for reply in replies:
        assert reply.status == 200 and reply.content == text, reply


def test_a_frozen_server_s_stream_goes_on_elsewhere(servers, gateway_over):
    gateway = gateway_over(servers, timeouts={"streamStall": "1s"})
    text = whole_text(servers[0], ESSAY)
    with gateway.connect() as connection:
        victim, seen, stream = begin_a_stream(connection, servers, 1)
        victim.freeze()
        try:
            seen += stream
        finally:
            victim.thaw()
    assert_is_one_stream(reply_of(seen), text)


def test_health_follows_the_server(servers, gateway_over):
    gateway = gateway_over(servers)
    servers[0].kill()
    try:
        gateway.wait_for({"green"})
        assert gateway.chat(SHORT, **ASKED).field("x-weir-replica") == "green"
    finally:
        servers[0].start()
    gateway.wait_for({"red", "green"})
    assert {gateway.chat(SHORT, **ASKED).field("x-weir-replica") for _ in range(4)} == {"red", "green"}


def test_a_client_that_leaves_cancels_the_generation(servers, gateway_over):
    server = servers[0]
    gateway = gateway_over([server])
    endless = chat_body(ESSAY, stream=True, **{**ASKED, "max_tokens": 100_000, "ignore_eos": True})
    connections = []
    for _ in range(3):
        connections.append(gateway.connect())
        connections[-1].send_request("POST", CHAT, endless, key=KEY)
    for connection in connections:
        connection.read_head()
        next(connection.events())
    eventually(lambda: server.gauge("requests_processing") >= 1, "it generates")
    for connection in connections:
        connection.close()
    eventually(lambda: server.gauge("requests_processing") == 0, "it generates nothing any more")


def test_a_client_error_of_the_server_is_passed_on_once(servers, gateway_over):
    gateway = gateway_over(servers)
    reply = gateway.chat(SHORT, temperature="hot")
    assert reply.status == 400 and set(reply.error) == {"message", "type", "param", "code"}
    assert reply.error["code"] is None or isinstance(reply.error["code"], str)
    assert reply.field("x-weir-attempts") == "1"
