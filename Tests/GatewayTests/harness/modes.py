"""How a scripted replica answers one request: well, or in one of the ways in which replicas go wrong."""

import asyncio
import gzip
import hashlib
import json
import socket

WORDS = (
    "amber basalt cedar delta ember fjord granite harbor indigo juniper kelp lagoon maple nectar onyx prairie quartz "
    "river saffron tundra umber violet willow yarrow zephyr").split()


def text_of(message):
    """A message's text, whether its content is a string or parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def pieces_of(body):
    """The whole answer to a request, in the pieces that a stream sends: the same on every replica.

    It depends on every message before the partial answer, so that two prompts do not get the same text.
    """
    messages = body.get("messages") or [{"role": "user", "content": str(body.get("prompt"))}]
    if body.get("continue_final_message"):
        messages = messages[:-1]
    texts = [text_of(message) for message in messages]
    if texts and texts[-1] == "What is my name?":
        names = [text.split("My name is ")[1].split(".")[0] for text in texts if text.startswith("My name is ")]
        words = f"Your name is {names[0]}." if names else "You did not tell me your name."
        words = words.split(" ")
    elif texts and texts[-1] == "Say it in all scripts.":
        words = ["Zürich", "日本,", "\U0001F600!", 'a "quote",', "a \\ and a\nline."]
    else:
        digest = hashlib.sha256(json.dumps([[m["role"], t] for m, t in zip(messages, texts)]).encode()).digest()
        words = ["Answer"] + [WORDS[byte % len(WORDS)] for byte in digest[:8]] + [digest[:4].hex() + "."]
    return [words[0]] + [" " + word for word in words[1:]]


def answer_text(messages):
    """What a replica answers to `messages`: for a test to compare with."""
    return "".join(pieces_of({"messages": messages}))


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, connection, request):
        self.connection = connection
        self.request = request
        self.is_over = False
        self._body = None

    @property
    def body(self):
        if self._body is None:
            self._body = json.loads(self.request.body)
        return self._body

    @property
    def is_stream(self):
        return self.body.get("stream") is True

    def write(self, data):
        self.connection.transport.write(data)

    def reset(self):
        self.is_over = True
        self.connection.reset()

    def close(self):
        self.is_over = True
        self.connection.transport.close()

    def reply(self, status, body, content_type="application/json", *fields, length=None):
        head = [f"HTTP/1.1 {status} X", f"content-type: {content_type}"]
        head.append(f"content-length: {len(body) if length is None else length}")
        head.extend(fields)
        self.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    def stream_head(self, *fields):
        head = ["HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", *fields]
        self.write("\r\n".join(head).encode() + b"\r\n\r\n")

    def chunk(self, data):
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def event(self, document):
        self.chunk(b"data: " + json.dumps(document).encode() + b"\n\n")

    # What the answer is made of.

    @property
    def pieces(self):
        """The answer's pieces that the client does not have yet."""
        pieces = pieces_of(self.body)
        if self.body.get("continue_final_message"):
            assert self.body.get("add_generation_prompt") is False, "both true is refused by vLLM"
            had = text_of(self.body["messages"][-1])
            whole = "".join(pieces)
            assert whole.startswith(had), f"{had!r} does not begin {whole!r}"
            left = len(whole) - len(had)
            while sum(len(piece) for piece in pieces[1:]) >= left and pieces:
                del pieces[0]
            if pieces:
                pieces[0] = pieces[0][sum(len(piece) for piece in pieces) - left:]
        limit = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        return pieces[:limit] if limit else pieces

    def usage(self, completion):
        prompt = sum(len(text_of(m).split()) for m in self.body.get("messages", []))
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def chunk_document(self, delta, finish=None):
        return {
            "id": f"chatcmpl-{self.connection.replica.name}", "object": "chat.completion.chunk", "created": 1700000000,
            "model": self.body.get("model"), "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }

    def whole_document(self, finish="stop"):
        pieces = self.pieces
        return {
            "id": f"chatcmpl-{self.connection.replica.name}", "object": "chat.completion", "created": 1700000000,
            "model": self.body.get("model"), "usage": self.usage(len(pieces)),
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": "".join(pieces)}, "finish_reason": finish,
            }],
        }

    def end_stream(self, count, finish="stop"):
        self.event(self.chunk_document({}, finish))
        if (self.body.get("stream_options") or {}).get("include_usage"):
            self.event({**self.chunk_document({}), "choices": [], "usage": self.usage(count)})
        self.chunk(b"data: [DONE]\n\n")
        self.write(b"0\r\n\r\n")


async def answer(exchange):
    """A good answer, streamed if it was asked for."""
    if exchange.is_stream:
        return await streamed()(exchange)
    if exchange.request.path == "/v1/embeddings":
        document = {
            "object": "list", "model": exchange.body["model"], "usage": {"prompt_tokens": 1, "total_tokens": 1},
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
        }
        return exchange.reply(200, json.dumps(document).encode())
    if exchange.request.path == "/v1/completions":
        document = exchange.whole_document()
        choice = {"index": 0, "text": "".join(exchange.pieces), "finish_reason": "stop", "logprobs": None}
        document.update(object="text_completion", choices=[choice])
        return exchange.reply(200, json.dumps(document).encode())
    exchange.reply(200, json.dumps(exchange.whole_document()).encode())


#: A complete reply, made once: for load.
SMALL = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "tiny",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}).encode()
SMALL_REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(SMALL), SMALL)


async def small(exchange):
    """The cheapest good answer."""
    exchange.write(SMALL_REPLY)


def streamed(gap=0.0, steps=None, before=None):
    """A good stream: `gap` seconds between events, or a step of `steps` for each. `before` holds the first content."""

    async def mode(exchange):
        if not exchange.is_stream:
            return await answer(exchange)
        exchange.stream_head()
        exchange.event(exchange.chunk_document({"role": "assistant", "content": ""}))
        if before:
            await before.wait()
        pieces = exchange.pieces
        for piece in pieces:
            if steps:
                await steps.wait()
            exchange.event(exchange.chunk_document({"content": piece}))
            if gap:
                await asyncio.sleep(gap)
        if steps:
            await steps.wait()
        exchange.end_stream(len(pieces))

    return mode


def endless(size=16_000, flow=None):
    """A stream as fast as the gateway takes it, which ends only with its connection. `flow` counts bytes written."""

    async def mode(exchange):
        # What waits in this end's kernel buffer says nothing of the gateway.
        exchange.connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        exchange.stream_head()
        document = json.dumps(exchange.chunk_document({"content": "x" * size})).encode()
        while not exchange.connection.gone.is_set():
            exchange.chunk(b"data: " + document + b"\n\n")
            if flow is not None:
                flow.append(len(document))
            await exchange.connection.is_writable.wait()
            await asyncio.sleep(0)

    return mode


def held(steps):
    """A good answer as soon as `steps` allows it."""

    async def mode(exchange):
        await steps.wait()
        await answer(exchange)

    return mode


def delayed(seconds):
    """A good answer after `seconds`: work that takes its time, not a wait for luck."""

    async def mode(exchange):
        await asyncio.sleep(seconds)
        await answer(exchange)

    return mode


def status(code, *fields, body=b'{"error":{"message":"no","type":"server_error","code":null}}', content_type=None):
    """Another status than 200, as JSON."""

    async def mode(exchange):
        exchange.reply(code, body, content_type or "application/json", *fields)

    return mode


busy = status(503, "retry-after: 5")
too_many = status(429, "retry-after: 5")
broken = status(500)


async def html(exchange):
    """A 200 from something in between that is no model."""
    exchange.reply(200, b"<html><body>Sign in</body></html>", "text/html")


async def no_content_type(exchange):
    body = json.dumps(exchange.whole_document()).encode()
    exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def empty(exchange):
    """A 200 without a body."""
    exchange.reply(200, b"", "text/event-stream" if exchange.is_stream else "application/json")


async def no_choices(exchange):
    """Well-formed JSON that answers nothing."""
    exchange.reply(200, b"{}")


async def garbage(exchange):
    """Bytes that are no HTTP."""
    exchange.write(b"\x16\x03\x01\x02\x00garbage\r\n\r\n")
    exchange.close()


async def two_lengths(exchange):
    """A reply that two parsers would cut in two places."""
    body = json.dumps(exchange.whole_document()).encode()
    exchange.reply(200, body, "application/json", "content-length: 5")
    exchange.close()


async def both_framings(exchange):
    """Content-Length beside Transfer-Encoding."""
    body = json.dumps(exchange.whole_document()).encode()
    exchange.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    exchange.close()


async def short_body(exchange):
    """Content-Length promises more than comes before the end."""
    body = json.dumps(exchange.whole_document()).encode()
    exchange.reply(200, body, length=len(body) + 50)
    exchange.close()


async def reset(exchange):
    """A reset before the first byte of a reply."""
    exchange.reset()


async def hang_up(exchange):
    """A plain close before the first byte of a reply."""
    exchange.close()


async def half_open(exchange):
    """Takes the request and never answers."""
    await asyncio.Event().wait()


async def hang_after_head(exchange):
    """A head, and then nothing."""
    if exchange.is_stream:
        exchange.stream_head()
    else:
        exchange.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n")
    await asyncio.Event().wait()


async def gzipped(exchange):
    """A reply in an encoding that nobody asked for."""
    body = gzip.compress(json.dumps(exchange.whole_document()).encode())
    exchange.reply(200, body, "application/json", "content-encoding: gzip")


async def aborted(exchange):
    """An engine that gave the request up, in the way SGLang says so."""
    if not exchange.is_stream:
        return exchange.reply(200, json.dumps(exchange.whole_document("abort")).encode())
    exchange.stream_head()
    exchange.end_stream(0, "abort")


async def in_band_error(exchange):
    """A 200 whose only event is an error."""
    error = {"error": {"message": "engine died", "type": "server_error", "code": 500}}
    if not exchange.is_stream:
        return exchange.reply(200, json.dumps(error).encode())
    exchange.stream_head()
    exchange.event(error)
    exchange.write(b"0\r\n\r\n")


async def in_band_refusal(exchange):
    """A 200 whose only event says that the request is to blame."""
    exchange.stream_head()
    exchange.event({"error": {"message": "Cannot continue the final message.", "type": "x", "code": 400}})
    exchange.write(b"0\r\n\r\n")


async def malformed_event(exchange):
    exchange.stream_head()
    exchange.chunk(b'data: {"choices": [}\n\n')
    exchange.write(b"0\r\n\r\n")


async def done_at_once(exchange):
    """A stream that claims to be complete and said nothing."""
    exchange.stream_head()
    exchange.event(exchange.chunk_document({"role": "assistant", "content": ""}))
    exchange.chunk(b"data: [DONE]\n\n")
    exchange.write(b"0\r\n\r\n")


async def settle():
    """Lets what was written arrive: a reset destroys what the other side has not read yet."""
    await asyncio.sleep(0.02)


def stream_that(ending, after=3, steps=None):
    """A good stream whose `ending` comes after some pieces: reset, end, cut, error, malformed, hang or abort."""

    async def mode(exchange):
        exchange.stream_head()
        exchange.event(exchange.chunk_document({"role": "assistant", "content": ""}))
        for piece in exchange.pieces[:after]:
            exchange.event(exchange.chunk_document({"content": piece}))
        if steps:
            await steps.wait()
        else:
            await settle()
        if ending == "reset":
            exchange.reset()
        elif ending == "end":  # a clean end of the body without a finish reason or marker
            exchange.write(b"0\r\n\r\n")
        elif ending == "close":
            exchange.close()
        elif ending == "cut":  # inside an event
            whole = b"data: " + json.dumps(exchange.chunk_document({"content": " never"})).encode()
            exchange.chunk(whole[: len(whole) // 2])
            exchange.close()
        elif ending == "error":
            exchange.event({"error": {"message": "engine died", "type": "server_error", "code": 500}})
            exchange.write(b"0\r\n\r\n")
        elif ending == "malformed":
            exchange.chunk(b"data: {nonsense\n\n")
            exchange.write(b"0\r\n\r\n")
        elif ending == "abort":
            exchange.end_stream(after, "abort")
        elif ending == "hang":
            await asyncio.Event().wait()
        else:
            raise ValueError(ending)

    return mode


def split_oddly(size):
    """A good stream whose bytes come in chunks of `size`, which respects no event and no character."""

    async def mode(exchange):
        whole = b""
        for piece in exchange.pieces:
            # A comment, CR LF line ends and characters of several bytes are all legal.
            document = json.dumps(exchange.chunk_document({"content": piece}), ensure_ascii=False)
            whole += b": kept\r\n\r\ndata: " + document.encode() + b"\r\n\r\n"
        whole += b"data: " + json.dumps(exchange.chunk_document({}, "stop")).encode() + b"\n\ndata: [DONE]\n\n"
        exchange.stream_head()
        for start in range(0, len(whole), size):
            exchange.chunk(whole[start:start + size])
            await asyncio.sleep(0)
        exchange.write(b"0\r\n\r\n")

    return mode


async def without_done(exchange):
    """A complete answer that lacks `[DONE]` and usage: allowed."""
    exchange.stream_head()
    for piece in exchange.pieces:
        exchange.event(exchange.chunk_document({"content": piece}))
    exchange.event(exchange.chunk_document({}, "stop"))
    exchange.write(b"0\r\n\r\n")


async def chunked_whole(exchange):
    """A plain answer in chunks of seven bytes."""
    body = json.dumps(exchange.whole_document()).encode()
    exchange.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    for start in range(0, len(body), 7):
        exchange.chunk(body[start:start + 7])
    exchange.write(b"0\r\n\r\n")


async def until_close(exchange):
    """A plain answer that ends with its connection."""
    body = json.dumps(exchange.whole_document()).encode()
    exchange.write(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + body)
    exchange.close()
