"""Streams and replies of unusual shapes and sizes, slow readers, and what is left behind after a storm of faults."""

import asyncio
import json
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import modes
from harness.gateway import KEY, Gateway, chat_body, replica_settings
from harness.modes import answer_text
from harness.waiting import eventually

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def gateway(shared, replica):
    return shared.gateway([replica])


@pytest.fixture(autouse=True)
def fresh(replica):
    replica.forget()


def raw_stream(*parts):
    """A mode that sends these bytes as the chunks of a stream."""

    async def mode(exchange):
        exchange.stream_head()
        for part in parts:
            exchange.chunk(part if isinstance(part, bytes) else part.encode())
        exchange.write(b"0\r\n\r\n")

    return mode


def event(delta, finish=None, index=0, **members):
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [choice], **members}


def data(document):
    return b"data: " + json.dumps(document).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def test_comments_names_ids_and_split_data_lines_of_a_replica_are_understood(gateway, replica):
    half, rest = json.dumps(event({"content": "one"})).split(", ", 1)
    replica.mode = raw_stream(
        ": ping\n\n", "event: chunk\nid: 7\nretry: 3000\n", f"data: {half},\ndata: {rest}\n\n",
        "data:" + json.dumps(event({"content": " two"})) + "\n\n", data(event({}, "stop")), DONE)
    reply = gateway.chat("Hello", stream=True)
    assert reply.streamed_text == "one two" and reply.events[-1] == "[DONE]"


def test_what_a_replica_says_after_done_is_not_passed_on(gateway, replica):
    late = data(event({"content": "late"}))
    replica.mode = raw_stream(data(event({"content": "one"})), data(event({}, "stop")), DONE, late)
    reply = gateway.chat("Hello", stream=True)
    assert reply.streamed_text == "one" and reply.events[-1] == "[DONE]"
    replica.mode = modes.answer
    assert gateway.chat("Hello").content == answer_text(HELLO)


def test_every_choice_must_finish(gateway, replica):
    both = [data(event({"content": text}, index=index)) for index, text in ((0, "a"), (1, "b"))]
    replica.mode = raw_stream(*both, data(event({}, "stop", 0)), data(event({}, "stop", 1)), DONE)
    reply = gateway.chat("Hello", stream=True, n=2)
    assert reply.events[-1] == "[DONE]" and len(reply.chunks) == 4
    replica.mode = raw_stream(*both, data(event({}, "stop", 0)), DONE)
    reply = gateway.chat("Hello", stream=True, n=2)
    assert "[DONE]" not in reply.events and "error" in reply.chunks[-1]


def test_tool_calls_and_reasoning_pass_unchanged(gateway, replica):
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    deltas = [
        {"role": "assistant", "content": None, "reasoning_content": "Hm."}, {"tool_calls": [call]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\":1}"}}]},
    ]
    replica.mode = raw_stream(*[data(event(delta)) for delta in deltas], data(event({}, "tool_calls")), DONE)
    reply = gateway.chat("Hello", stream=True)
    assert [chunk["choices"][0]["delta"] for chunk in reply.chunks[:-1]] == deltas


def test_a_stream_of_tool_calls_that_breaks_ends_honestly(gateway, replica):
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{"}}

    async def mode(exchange):
        exchange.stream_head()
        exchange.event(event({"tool_calls": [call]}))
        exchange.write(b"0\r\n\r\n")

    replica.mode = mode
    reply = gateway.chat("Hello", stream=True)
    assert "error" in reply.chunks[-1] and "[DONE]" not in reply.events and replica.posts == 1


def test_an_interim_reply_and_trailers_and_chunk_extensions_of_a_replica_are_skipped(gateway, replica):
    async def mode(exchange):
        body = json.dumps(exchange.whole_document()).encode()
        exchange.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        exchange.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        exchange.write(b"%x;name=value\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(body), body))

    replica.mode = mode
    for _ in range(2):
        assert gateway.chat("Hello").content == answer_text(HELLO)


def test_bytes_behind_a_reply_never_become_the_next_one(gateway, replica):
    forged = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"forged"},"finish_reason":"stop"}]}'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(forged)
    second = head + forged

    async def mode(exchange):
        body = json.dumps(exchange.whole_document()).encode()
        exchange.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b%b"
            % (len(body), body, second))

    replica.mode = mode
    for _ in range(5):
        # Whether such a reply is believed at all is the gateway's choice; the bytes behind it never are.
        reply = gateway.chat("Hello")
        assert "forged" not in reply.text
        assert reply.status == 502 or reply.content == answer_text(HELLO)


@pytest.mark.parametrize("size", [100_000, 1_500_000, 7_900_000])
def test_a_long_prompt_arrives_whole_and_an_answer_as_long_comes_back(gateway, replica, size):
    text = "abcdefghij" * (size // 10)

    async def echo(exchange):
        document = exchange.whole_document()
        document["choices"][0]["message"]["content"] = exchange.body["messages"][-1]["content"]
        exchange.reply(200, json.dumps(document).encode())

    replica.mode = echo
    reply = gateway.chat(text)
    assert reply.status == 200 and reply.content == text


def test_a_replica_that_answers_before_it_has_read_the_request_is_heard(gateway, replica):
    """It refuses at the head and closes: its 400 is what the client sees, not a failed connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    async def refuse(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET "):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        else:
            body = b'{"error":{"message":"too long for me","type":"invalid_request_error","code":null}}'
            writer.write(b"HTTP/1.1 400 X\r\ncontent-type: application/json\r\nconnection: close\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
            await asyncio.sleep(0.2)  # the answer must be read before the reset that unread bytes cause
        writer.close()

    loop = replica._home
    server = loop.call(asyncio.start_server(refuse, sock=listener))
    other = Gateway.start([{"name": "early", "url": f"http://127.0.0.1:{listener.getsockname()[1]}", "kind": "vllm"}])
    try:
        reply = other.chat("x" * 7_000_000)
        assert reply.status == 400 and reply.error["message"] == "too long for me"
    finally:
        other.stop()
        loop.loop.call_soon_threadsafe(server.close)


def test_a_client_that_does_not_read_stops_its_replica_and_not_the_others(stage):
    one = stage.replica()
    gateway = stage.gateway([replica_settings(one)], listen={"loops": 1})
    sent = []

    async def flood(exchange):
        exchange.stream_head()
        transport = exchange.connection.transport
        for _ in range(4000):
            if transport.is_closing():
                return
            exchange.event(event({"content": "x" * 10_000}))
            sent.append(1)
            while transport.get_write_buffer_size() > 100_000:
                await asyncio.sleep(0.005)
        exchange.end_stream(1)

    one.next(flood)
    slow = gateway.connect()
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
    eventually(lambda: len(sent) > 10, "the flood begins")
    for _ in range(20):
        assert gateway.chat("Hello").status == 200
    settled = -1
    while settled != len(sent):
        settled = len(sent)
        for _ in range(10):
            assert gateway.chat("Hello").status == 200
    assert len(sent) < 3000, "nobody held the replica back: 30 MB went into some buffer"
    assert gateway.metrics()["weir_process_resident_memory_bytes"] < 200e6
    slow.close()
    eventually(lambda: one.running == 0, "the replica is told that nobody listens")


def test_a_storm_of_faults_leaves_nothing_behind(stage):
    """Clients that leave, replicas that fail in every way, at once: all ends, all is given back, no answer is wrong."""
    replicas = stage.replicas("one", "two", "three")
    gateway = stage.gateway(
        [replica_settings(replica, maxInFlight=8) for replica in replicas],
        timeouts={"firstByte": "500ms", "firstContent": "500ms", "streamStall": "500ms"},
        pool={"probe": {"interval": "1s", "timeout": "1s", "fall": 2}})
    gateway.wait_for({"one", "two", "three"})
    dice = random.Random(11)
    lock = threading.Lock()
    faults = [
        modes.reset, modes.hang_up, modes.garbage, modes.html, modes.broken, modes.busy, modes.empty, modes.half_open,
        modes.hang_after_head, modes.aborted, modes.short_body, modes.gzipped, modes.stream_that("reset"),
        modes.stream_that("cut"), modes.stream_that("end"), modes.stream_that("error"), modes.stream_that("hang"),
    ]

    async def unreliable(exchange):
        with lock:
            mode = dice.choice(faults) if dice.random() < 0.15 else modes.streamed(gap=0.001)
        if mode not in (modes.reset, modes.hang_up) and not exchange.is_stream and "stream_that" in mode.__qualname__:
            mode = modes.reset
        await mode(exchange)

    for replica in replicas:
        replica.mode = unreliable
        replica.keeps_records = False
    wrong, counts = [], {"whole": 0, "error": 0, "left": 0}

    def ask(number):
        messages = [{"role": "user", "content": f"Question {number}"}]
        expected = answer_text(messages)
        streams, leaves = number % 2 == 0, number % 7 == 0
        with gateway.connect() as connection:
            connection.send_request("POST", CHAT, chat_body(*messages, stream=streams), key=KEY)
            if leaves:
                (connection.reset if number % 14 else connection.close)()
                counts["left"] += 1
                return
            reply = connection.read_reply()
        if reply.status != 200:
            if reply.status < 429 or set(reply.error) != {"message", "type", "param", "code"}:
                wrong.append(reply)
            counts["error"] += 1
        elif streams:
            text = reply.streamed_text
            is_whole = text == expected and reply.events[-1] == "[DONE]"
            is_honest = expected.startswith(text) and "error" in reply.chunks[-1] and reply.events[-1] != "[DONE]"
            if not is_whole and not is_honest:
                wrong.append(reply)
            counts["whole" if is_whole else "error"] += 1
        else:
            if reply.content != expected:
                wrong.append(reply)
            counts["whole"] += 1

    with ThreadPoolExecutor(16) as pool:
        for result in [pool.submit(ask, number) for number in range(400)]:
            result.result()
    assert not wrong, wrong[:3]
    assert counts["whole"] > 250, counts
    eventually(lambda: all(replica["in_flight"] == 0 for replica in gateway.replicas().values()), "all places are free")
    metrics = gateway.metrics()
    assert metrics['weir_queue_length{pool="main"}'] == 0 and metrics["weir_body_memory_bytes"] == 0
    eventually(lambda: gateway.metrics()["weir_connections"] == 0, "no connection is left")
    eventually(lambda: all(replica.running == 0 for replica in replicas), "no replica works for nobody")
