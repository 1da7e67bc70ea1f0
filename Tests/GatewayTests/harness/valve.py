"""A valve between the gateway and a real replica: lets its bytes through, and shuts where a test says so."""

import asyncio
import socket
import struct

from .replica import ReplicaLoop

#: What a stream's events begin with.
MARK = b"data: "


class Cut:
    """Where a stream ends: behind `events` whole events and `extra` bytes of the next, in a `reset` or a `close`."""

    def __init__(self, events, extra, ending):
        self.events = events
        self.extra = extra
        self.ending = ending

    def place(self, reply):
        """The number of bytes of `reply` that may pass; None while it is too short to say."""
        start = -1
        for _ in range(self.events + 1):
            start = reply.find(MARK, start + 1)
            if start < 0:
                return None
        end = start + self.extra
        return end if end <= len(reply) else None


class Valve:
    """Passes connections on to `target`, which has a `port`. Each of `cuts` ends the next stream that reaches it."""

    def __init__(self, target, name):
        self.name = name
        self.target = target
        self.cuts = []
        #: Cuts that were made.
        self.made = 0
        #: Called when a cut is made.
        self.on_cut = lambda: None
        self._home = ReplicaLoop.shared()
        self._server = self._home.call(self._start())
        self.port = self._server.sockets[0].getsockname()[1]

    async def _start(self):
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def stop(self):
        self._home.loop.call_soon_threadsafe(self._server.close)

    async def _accept(self, reader, writer):
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self.target.port)
        except OSError:
            self._reset(writer)
            return
        reply = bytearray()
        forward = asyncio.ensure_future(self._pass(reader, target_writer, reply))
        backward = asyncio.ensure_future(self._pass_reply(target_reader, writer, reply))
        await asyncio.wait({forward, backward}, return_when=asyncio.FIRST_COMPLETED)
        forward.cancel()
        backward.cancel()
        target_writer.close()
        writer.close()

    @staticmethod
    async def _pass(reader, writer, reply):
        try:
            while data := await reader.read(65536):
                reply.clear()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass

    async def _pass_reply(self, reader, writer, reply):
        try:
            while data := await reader.read(65536):
                passed = len(reply)
                reply += data
                place = self.cuts[0].place(reply) if self.cuts else None
                if place is not None:
                    self.made += 1
                    ending = self.cuts.pop(0).ending
                    self.on_cut()
                    writer.write(bytes(reply[passed:place]))
                    # A reset destroys what the other side has not read yet.
                    await asyncio.sleep(0.02)
                    return self._reset(writer) if ending == "reset" else None
                writer.write(data)
                await writer.drain()
        except OSError:
            self._reset(writer)

    @staticmethod
    def _reset(writer):
        peer = writer.get_extra_info("socket")
        if peer is not None and peer.fileno() >= 0:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
