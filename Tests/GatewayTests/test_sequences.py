"""Requests of all kinds, one after the other on one connection: each is answered as on a connection of its own."""

import json
from random import Random

import pytest
from harness import modes
from harness.gateway import KEY, chat_body

CHAT = b"POST /v1/chat/completions HTTP/1.1"


def request(body=None, *fields, line=CHAT, key=KEY, chunk=None):
    """One request; `chunk` is the size of its body's chunks, if it is to have any."""
    head = [line, b"host: weir.test", b"authorization: Bearer " + key.encode(), *fields]
    body = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    if chunk:
        head.append(b"transfer-encoding: chunked")
        pieces = [body[at:at + chunk] for at in range(0, len(body), chunk)]
        body = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nx-late: a\r\n\r\n"
    elif body:
        head.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*head, b"", body])


TOOLS = [{"type": "function", "function": {"name": "f"}}]
KINDS = {
    "a plain one": request(chat_body("One")),
    "one with its own id": request(chat_body("Two"), b"x-request-id: mine", b"x-custom: a", b"connection: x-custom"),
    "a stream": request(chat_body("Three", stream=True)),
    "a stream with usage": request(chat_body("Four", stream=True, stream_options={"include_usage": True})),
    "another name": request(chat_body("Five", model="alias")),
    "another name, streamed": request(chat_body("Six", model="alias", stream=True)),
    "a name with an escape": request(chat_body("Seven").replace(b"tiny", b"t\\u0069ny")),
    "tools": request(chat_body("Eight", tools=TOOLS, tool_choice="required", stop=["x"], seed=1, max_tokens=3)),
    "a grammar": request(chat_body("Nine", response_format={"type": "json_object"}, logprobs=True, user="u", n=1)),
    "many messages": request(chat_body(*[f"Line {number}" for number in range(20)])),
    "a completion": request({"model": "tiny", "prompt": "Ten"}, line=b"POST /v1/completions HTTP/1.1"),
    "an embedding": request({"model": "alias", "input": ["Eleven"]}, line=b"POST /v1/embeddings HTTP/1.1"),
    "chunks": request(chat_body("Twelve"), chunk=20),
    "a large one": request(chat_body("Thirteen " * 20_000)),
    "a large one in chunks, streamed": request(chat_body("Fourteen " * 20_000, stream=True), chunk=50_000),
    "HTTP/1.0": request(chat_body("Fifteen"), b"connection: keep-alive", line=CHAT.replace(b"1.1", b"1.0")),
    "one that the replica refuses": request(chat_body("Refuse this.", stream=True)),
    "no JSON": request(chat_body("Sixteen", stream=True, n=3)[:-1] + b"]"),
    "a wrong type": request(chat_body("Seventeen", stream=True, max_tokens="3")),
    "a member twice": request(chat_body("Eighteen", stream=True)[:-1] + b', "model": "alias"}'),
    "no messages": request({"model": "alias", "stream": True, "tools": TOOLS}),
    "a model that is none": request(chat_body("Nineteen", model="nobody", stream=True)),
    "the models": request(line=b"GET /v1/models HTTP/1.1"),
    "a head": request(line=b"HEAD /v1/models/tiny HTTP/1.1"),
    "a preflight": request(
        None, b"origin: https://app.test", b"access-control-request-method: POST", line=b"OPTIONS /v1/models HTTP/1.1"),
    "no page": request(line=b"GET /v1/nothing?a=b HTTP/1.1"),
    "an unknown key": request(line=b"GET /v1/models HTTP/1.1", key="sk-weir-wrong"),
}
#: What differs from one request to the next, or from one moment to the next.
VARYING = ("date", "x-weir-overhead-ms", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")


async def by_text(exchange):
    await (modes.status(400) if b"Refuse" in exchange.request.body else modes.answer)(exchange)


@pytest.fixture(scope="module")
def replica(shared):
    return shared.replica(mode=by_text)


@pytest.fixture(scope="module")
def gateway(shared, replica):
    return shared.gateway(
        [replica], pool={"models": ["tiny", {"name": "alias", "upstream": "org/alias"}], "probe": {"interval": "1m"}},
        http={"cors": {"allowedOrigins": ["https://app.test"]}})


def ids_masked(fields):
    return [(name, "ours" if name == "x-request-id" and value != "mine" else value) for name, value in fields]


def read(connection, name):
    """What of a reply is to be the same each time."""
    reply = connection.read_reply(is_head=name == "a head")
    return reply.status, ids_masked(field for field in reply.fields if field[0] not in VARYING), reply.body


def seen(replica):
    """What the replica was sent, and forgets."""
    requests, replica.requests = replica.requests, []
    return [(request.line, ids_masked(request.fields), request.body) for request in requests]


@pytest.fixture(scope="module")
def alone(gateway, replica):
    """Each kind on a connection of its own: the reply, and what the replica saw."""
    found = {}
    for name, data in KINDS.items():
        with gateway.connect() as connection:
            connection.send(data)
            found[name] = read(connection, name), seen(replica)
    assert {reply[0] for reply, _ in found.values()} == {200, 204, 400, 401, 404}
    return found


@pytest.mark.parametrize("way", ["one by one", "all at once"])
@pytest.mark.parametrize("seed", range(4))
def test_a_request_is_answered_as_if_none_had_come_before_it(gateway, replica, alone, seed, way):
    names = Random(seed).choices(list(KINDS), k=50)
    replies = []
    with gateway.connect() as connection:
        if way == "all at once":
            connection.send(b"".join(KINDS[name] for name in names))
        for name in names:
            if way == "one by one":
                connection.send(KINDS[name])
            replies.append(read(connection, name))
    for index, name in enumerate(names):
        assert replies[index] == alone[name][0], f"{name} after {names[max(0, index - 3):index]}"
    assert seen(replica) == [request for name in names for request in alone[name][1]]
