"""Replies that end or go wrong at an exact byte."""

import json

from . import modes

#: A prompt whose answer has quotes, line ends and characters of two, three and four bytes.
ALL_SCRIPTS = "Say it in all scripts."


class Cut:
    """A good stream that ends behind byte `place` of what goes over the wire, head included; once, if not None."""

    def __init__(self, place, ending, escapes):
        self.place = place
        self.ending = ending
        self.escapes = escapes
        #: Bytes of the last whole stream.
        self.length = 0

    async def mode(self, exchange):
        wire = await self._wire(exchange)
        place, self.place = self.place, None
        if place is None:
            self.length = len(wire)
            return exchange.write(wire)
        exchange.write(wire[:place])
        end(exchange, self.ending)

    async def _wire(self, exchange):
        """The bytes of a good stream."""
        wire = bytearray()
        exchange.write = wire.extend
        if not self.escapes:
            exchange.event = lambda document: exchange.chunk(
                b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n")
        await modes.streamed()(exchange)
        del exchange.write
        return bytes(wire)


def end(exchange, ending):
    """Ends the connection with a `reset` or a plain `close`."""
    exchange.reset() if ending == "reset" else exchange.close()


async def half_a_head(exchange):
    exchange.write(b"HTTP/1.1 200 OK\r\ncontent-type: app")
    exchange.close()


async def half_of_the_json(exchange):
    """A body that is as long as it says and ends inside its JSON."""
    whole = json.dumps(exchange.whole_document()).encode()
    exchange.reply(200, whole[: len(whole) // 2])


async def done_too_soon(exchange):
    """The marker, with no finish reason before it."""
    exchange.stream_head()
    exchange.event(exchange.chunk_document({"role": "assistant", "content": ""}))
    for piece in exchange.pieces[:3]:
        exchange.event(exchange.chunk_document({"content": piece}))
    exchange.chunk(b"data: [DONE]\n\n")
    exchange.write(b"0\r\n\r\n")


def cut_long_ones(ending, after):
    """A stream that breaks after so many pieces, and goes on well when what is left is no longer than that."""

    async def mode(exchange):
        is_long = exchange.is_stream and len(exchange.pieces) > after
        await (modes.stream_that(ending, after) if is_long else modes.answer)(exchange)

    return mode


async def malformed_within(exchange):
    """An event that is no JSON, inside a stream that is good before and after it."""
    exchange.stream_head()
    exchange.event(exchange.chunk_document({"role": "assistant", "content": ""}))
    for number, piece in enumerate(exchange.pieces):
        if number == 3:
            exchange.chunk(b'data: {"choices": [{"delta": {"content": \n\n')
        exchange.event(exchange.chunk_document({"content": piece}))
    exchange.end_stream(len(exchange.pieces))


async def bad_chunk(exchange):
    """Three good events, and then a chunk whose size is none."""
    exchange.stream_head()
    exchange.event(exchange.chunk_document({"role": "assistant", "content": ""}))
    for piece in exchange.pieces[:3]:
        exchange.event(exchange.chunk_document({"content": piece}))
    exchange.write(b"zz\r\ndata: {}\n\n\r\n")
    exchange.close()


def without_done(ending):
    """Everything up to the finish reason; then a `reset`, a `close`, or an `end` of the body that looks well."""

    async def mode(exchange):
        exchange.stream_head()
        exchange.event(exchange.chunk_document({"role": "assistant", "content": ""}))
        for piece in exchange.pieces:
            exchange.event(exchange.chunk_document({"content": piece}))
        exchange.event(exchange.chunk_document({}, "stop"))
        if ending == "end":
            return exchange.write(b"0\r\n\r\n")
        await modes.settle()
        end(exchange, ending)

    return mode
