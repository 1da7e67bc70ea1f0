"""A scripted engine with tokens: one known answer, told in any of the ways in which a stream can be continued.

The answer's tokens are bytes, and some of them end inside a character. An `Engine` stands for the model; the replicas
of a test share it, so it knows how often it was asked, and can cut the first stream of a request after any byte.
"""

import asyncio
import json

PROMPT = [11, 12, 13, 14, 15]
EOS = 2
TOKENS = [b"Gr", b"\xc3", b"\xbc", "ße".encode(), b" \xf0\x9f", "🌍".encode()[2:], b' "q"\\', b"\n\t", "日本 x.".encode()]
#: The same text from an engine that reports no ids, for which a delta counts as a token.
WHOLE_TOKENS = ["Gr", "ü", "ße", " 🌍", ' "q"\\', "\n\t", "日本", " x", "."]
IDS = [100 + index for index in range(len(TOKENS))]
TEXT = b"".join(TOKENS).decode()


def incomplete(data):
    """Bytes at the end that are the beginning of a character."""
    for back in range(0, 4):
        try:
            data[:len(data) - back].decode()
            return back
        except UnicodeDecodeError:
            pass
    raise AssertionError(data)


class Engine:
    """Set `kind` to what the replicas are configured as; the rest says how they misbehave."""

    def __init__(self, kind, tokens=None, line_end="\n", per_packet=1, per_event=1, comments=False):
        self.kind = kind
        self.tokens = tokens or (TOKENS if self.has_ids else [token.encode() for token in WHOLE_TOKENS])
        self.ids = [100 + index for index in range(len(self.tokens))]
        self.line_end = line_end
        self.per_packet = per_packet
        self.per_event = per_event
        self.comments = comments
        self.reset()

    def reset(self, cut_at=None, ending="close"):
        """Before a request: cut its first stream after `cut_at` bytes, with a close, a reset or a clean end."""
        self.cut_at = cut_at
        self.ending = ending
        self.bodies = []
        self.paths = []
        self.tokens_made = 0
        #: Answers instead of a continuation: a mode, or None.
        self.on_prefill = self.on_ids = self.on_replay = None
        #: Extra members of the first event's delta, and the finish reason.
        self.extra = {}
        self.cuts = 1
        self.has_role = True
        #: Besides the usual fields of a head.
        self.fields = ()
        #: Forgets what it was given and begins the answer anew.
        self.is_forgetful = False

    @property
    def text(self):
        return b"".join(self.tokens).decode()

    @property
    def has_ids(self):
        return self.kind in ("weir", "vllm")

    # What is asked.

    def position(self, body, path):
        """Where the answer goes on: the number of tokens that the request has already."""
        if self.is_forgetful:
            return 0
        if path == "/v1/completions":
            prompt = body["prompt"]
            if isinstance(prompt, list):
                assert prompt[:len(PROMPT)] == PROMPT, prompt
                given = prompt[len(PROMPT):]
                assert given == self.ids[:len(given)], given
                return len(given)
            assert prompt.startswith("Once"), prompt
            return self.tokens_in(prompt[len("Once"):])
        if not body.get("continue_final_message") and not (self.kind == "llama.cpp" and self.is_partial(body)):
            return 0
        if self.kind != "llama.cpp":
            assert body["add_generation_prompt"] is False
        assert body["messages"][-1]["role"] == "assistant"
        return self.tokens_in(body["messages"][-1]["content"])

    @staticmethod
    def is_partial(body):
        return body["messages"][-1]["role"] == "assistant"

    def tokens_in(self, text):
        """How many tokens make up `text`, which ends where a token does."""
        wanted = text.encode()
        assert self.text.startswith(text), f"{text!r} does not begin {self.text!r}"
        count = length = 0
        while length < len(wanted):
            length += len(self.tokens[count])
            count += 1
        assert length == len(wanted), f"{text!r} ends inside a token"
        return count

    # What is answered.

    def events(self, body, path, name):
        """The stream's events as documents, and the number of tokens made."""
        is_chat = path != "/v1/completions"
        shows = self.has_ids and body.get("return_token_ids")
        had = self.position(body, path)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        rest = list(zip(self.tokens, self.ids))[had:]
        finish = "stop"
        if limit is not None and limit <= len(rest):
            rest, finish = rest[:limit], "length"
        head = {
            "id": f"chatcmpl-{name}", "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": 1700000000 + len(name), "model": body["model"],
        }

        def document(text, ids, finish=None, first=False):
            choice = {"index": 0, "finish_reason": finish, "logprobs": None}
            if is_chat:
                choice["delta"] = {"content": text} if text or first else {}
                if first and (self.has_role or had):
                    choice["delta"] = {"role": "assistant", **choice["delta"]}
            else:
                choice["text"] = text
            if shows:
                choice["token_ids"] = ids
                if first and not is_chat:
                    choice["prompt_token_ids"] = [*PROMPT, *self.ids[:had]]
            result = {**head, "choices": [choice]}
            if shows and first and is_chat:
                result["prompt_token_ids"] = [*PROMPT, *self.ids[:had]]
            return result

        events = []
        if is_chat or shows:
            events.append(document("", None if is_chat else [], first=True))
        pending, ids = b"", []
        for index, (token, id) in enumerate(rest):
            pending += token
            ids.append(id)
            whole = not incomplete(pending)
            if self.kind == "vllm" and not whole:
                # Ids go ahead of the text that they will become.
                events.append(document("", ids))
                ids = []
            elif whole and ((index + 1) % self.per_event == 0 or index + 1 == len(rest)):
                events.append(document(pending.decode(), ids))
                pending, ids = b"", []
        ends = finish == "stop"
        last = ids + ([EOS] if ends and self.has_ids else [])
        events.append(document(pending.decode(errors="replace"), last, finish))
        made = len(rest) + (1 if ends and self.has_ids else 0)
        if (body.get("stream_options") or {}).get("include_usage"):
            prompt = len(PROMPT) + had
            usage = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
            events.append({**head, "choices": [], "usage": usage})
        return events, made

    def wire(self, events, is_ascii):
        """The events as bytes, in packets."""
        packets, packet = [], b""
        end = self.line_end
        for index, event in enumerate([*events, None]):
            data = "[DONE]" if event is None else json.dumps(event, ensure_ascii=is_ascii, separators=(",", ":"))
            comment = f": still here{end}{end}" if self.comments and index % 2 else ""
            packet += f"{comment}data: {data}{end}{end}".encode()
            if (index + 1) % self.per_packet == 0 or event is None:
                packets.append(packet)
                packet = b""
        return packets

    async def __call__(self, exchange):
        body, path = exchange.body, exchange.request.path
        self.bodies.append(body)
        self.paths.append(path)
        is_first = len(self.bodies) == 1
        instead = None
        if not is_first and isinstance(body.get("prompt"), list):
            instead = self.on_ids
        elif body.get("continue_final_message"):
            instead = self.on_prefill
        elif not is_first:
            instead = self.on_replay
        if instead:
            return await instead(exchange)
        await self.tell(exchange)

    async def tell(self, exchange):
        """Streams what is asked for."""
        body, path = exchange.body, exchange.request.path
        is_first = len(self.bodies) == 1
        assert body["stream"] is True
        name = exchange.connection.replica.name
        events, made = self.events(body, path, name)
        if is_first and self.extra:
            for event in events[1:2]:
                event["choices"][0]["delta"].update(self.extra)
        self.tokens_made += made
        packets = self.wire(events, is_ascii=len(self.bodies) % 2 == 0)
        exchange.stream_head(*self.fields)
        left = self.cut_at if len(self.bodies) <= self.cuts else None
        for packet in packets:
            if left is not None and left < len(packet):
                if left:
                    exchange.chunk(packet[:left])
                return await self.end(exchange)
            if left is not None:
                left -= len(packet)
            exchange.chunk(packet)
        if left == 0:
            return await self.end(exchange)
        exchange.write(b"0\r\n\r\n")

    async def end(self, exchange):
        if self.ending == "clean":
            exchange.write(b"0\r\n\r\n")
        elif self.ending == "reset":
            await asyncio.sleep(0.005)  # so that the reset does not destroy what was written
            exchange.reset()
        else:
            exchange.close()

    def length(self, body, path="/v1/chat/completions"):
        """Bytes of the whole stream, as the first replica would tell it."""
        return sum(len(packet) for packet in self.wire(self.events(body, path, "one")[0], is_ascii=False))

    def length_before_usage(self, body, path="/v1/chat/completions"):
        """Bytes of the stream up to its finish reason, whole."""
        events = self.events({**body, "stream_options": {"include_usage": True}}, path, "one")[0]
        told = b"".join(self.wire(events, False))
        empty_line = (self.line_end * 2).encode()
        return told.index(empty_line, told.index(b'"finish_reason":"')) + len(self.line_end) + 1

    def cut_before(self, text, body, path="/v1/chat/completions"):
        """The number of bytes after which exactly `text` was told."""
        told, count = "", 0
        for event in self.events(body, path, "one")[0]:
            if told == text and told:
                return count
            choice = (event["choices"] or [{}])[0]
            told += (choice.get("delta") or {}).get("content") or choice.get("text") or ""
            count += len(b"".join(self.wire([event], False))) - len(b"".join(self.wire([], False)))
        raise AssertionError(f"{text!r} is never all that was told")
