"""A scripted OpenAI-compatible replica: answers as told, misbehaves to the byte, remembers what it was sent.

All replicas of a test run live on one event loop in one thread. A mode is a coroutine function `mode(exchange)` that
answers one POST; `modes.py` has them. Started as a program it is a process of its own that can be killed:

    python -m harness.replica NAME PORT GAP     prints a line once it listens

There GAP is the seconds between the events of its streams; SIGTERM ends it once nothing runs any more.
"""

import asyncio
import json
import os
import re
import signal
import socket
import struct
import sys
import threading

from . import modes
from .ports import HeldPort


class Recorded:
    """One request as it came: the head's bytes, the body's bytes, and whether its connection was ended on us."""

    def __init__(self, head, body):
        self.head = head
        self.body = body
        self.was_cancelled = False
        self.is_answered = False

    @property
    def line(self):
        return self.head.split(b"\r\n", 1)[0].decode()

    @property
    def path(self):
        return self.line.split(" ")[1]

    @property
    def fields(self):
        """(lower-case name, value) pairs, in order."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]

    def field(self, name):
        found = [value for key, value in self.fields if key == name.lower()]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else None

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def messages(self):
        return self.json["messages"]


class Steps:
    """Holds a scripted reply at each step until the test lets it go on."""

    def __init__(self, loop, allowed=0):
        self._loop = loop
        self._semaphore = asyncio.Semaphore(allowed)

    def allow(self, count=1):
        for _ in range(count):
            self._loop.call_soon_threadsafe(self._semaphore.release)

    async def wait(self):
        await self._semaphore.acquire()


class ReplicaLoop:
    """The thread that all replicas of this process live on."""

    _shared = None

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="replicas", daemon=True)
        self.thread.start()

    @classmethod
    def shared(cls):
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def call(self, coroutine, seconds=20):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)


class Replica:
    """One scripted replica. `mode` answers every POST but those that `next(...)` names ahead."""

    def __init__(self, name="one", mode=None, host="127.0.0.1", port=0):
        self.name = name
        self.mode = mode or modes.answer
        self.is_healthy = True
        self._page_steps = None
        self._moves = asyncio.Event()
        self._moves.set()
        self.keeps_records = True
        #: Sent when a request's head is there, before its body is read.
        self.greeting = b""
        self._planned = []
        self.requests = []
        self.posts = 0
        #: Probes that came, and those that were answered.
        self.probes = 0
        self.pages = 0
        self.running = 0
        self.running_max = 0
        self.cancelled = 0
        self.connections = set()
        self.accepted = 0
        self._host = host
        # Its own also while it is down. In a process of its own, whoever started that holds the port.
        self._held = None if port else HeldPort(host)
        self.port = port or self._held.number
        self._server = None
        self._fillers = []
        self._home = ReplicaLoop.shared()
        self.start()

    @property
    def url(self):
        return f"http://{self._host}:{self.port}"

    def start(self):
        """Listens, on the same port as before."""
        self._home.call(self._start())

    async def _start(self):
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), self._host, self.port, reuse_address=True, backlog=512)

    def refuse(self):
        """Refuses new connections; those that are there go on."""
        self._home.loop.call_soon_threadsafe(self._server.close)

    def ignore(self):
        """From now on connections are neither made nor refused: nobody accepts them, and the queue is full."""

        async def stop_accepting():
            [listener] = self._server.sockets
            asyncio.get_running_loop().remove_reader(listener.fileno())
            with listener.dup() as same:
                same.listen(0)

        self._home.call(stop_accepting())
        for _ in range(4):
            self._fillers.append(socket.socket())
            self._fillers[-1].setblocking(False)
            self._fillers[-1].connect_ex((self._host, self.port))

    @property
    def asked_connections(self):
        """The open connections that a request came on; probes have one of their own."""
        return [connection for connection in list(self.connections) if connection.is_asked]

    def reset_one(self):
        """Resets one of the connections that a request came on."""
        self._home.loop.call_soon_threadsafe(self.asked_connections[0].reset)

    def kill(self):
        """Ends as a killed process does: the listener is gone, every connection is reset."""

        async def end():
            if self._server:
                self._server.close()
                self._server = None
            for connection in list(self.connections):
                connection.reset()

        self._home.call(end())

    def stop(self):
        """Ends for good."""
        self.kill()
        for filler in self._fillers:
            filler.close()
        self.thaw()  # or who waits for that waits until the garbage collector wonders
        if self._held:
            self._held.release()

    def freeze(self):
        """Stops like a process under SIGSTOP: takes connections and requests, answers nothing, its page included."""
        self._home.loop.call_soon_threadsafe(self._moves.clear)

    def thaw(self):
        self._home.loop.call_soon_threadsafe(self._moves.set)

    async def moving(self):
        await self._moves.wait()

    def hold_pages(self):
        """From now on a probe is answered at a step of what is returned, the first one first."""
        self._page_steps = self.steps()
        return self._page_steps

    async def turn_to_page(self):
        if self._page_steps:
            await self._page_steps.wait()

    def drain_on(self, number):
        """Makes the signal end the listener at once, and set `drained` when the last answer is out."""
        self.drained = threading.Event()

        async def drain():
            self._server.close()
            while self.running:
                await asyncio.sleep(0.005)
            self.drained.set()

        def begin(*_):
            asyncio.run_coroutine_threadsafe(drain(), self._home.loop)

        signal.signal(number, begin)

    def next(self, *planned):
        """Modes for the coming POSTs, before `mode` has its turn again."""
        self._planned.extend(planned)

    def steps(self, allowed=0):
        return Steps(self._home.loop, allowed)

    def forget(self):
        """Forgets what was recorded and planned; for fixtures that several tests share."""
        self.requests = []
        self._planned = []
        self.mode = modes.answer
        self.greeting = b""
        self.is_healthy = True
        self.posts = self.running_max = self.cancelled = self.accepted = 0

    @property
    def last(self):
        return self.requests[-1]

    def take_mode(self):
        return self._planned.pop(0) if self._planned else self.mode


class Connection(asyncio.Protocol):
    """One connection of the gateway with a replica, on the replicas' loop."""

    def __init__(self, replica):
        self.replica = replica
        self.buffer = bytearray()
        self.gone = asyncio.Event()
        self._arrived = asyncio.Event()
        #: Set while the gateway takes what is written.
        self.is_writable = asyncio.Event()
        self.is_writable.set()
        self.transport = None
        #: A request, and not a probe, has come on it.
        self.is_asked = False

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replica.connections.add(self)
        self.replica.accepted += 1
        self.task = asyncio.get_running_loop().create_task(self.run())

    def data_received(self, data):
        self.buffer += data
        self._arrived.set()

    def pause_writing(self):
        self.is_writable.clear()

    def resume_writing(self):
        self.is_writable.set()

    def connection_lost(self, problem):
        self.is_writable.set()
        self.replica.connections.discard(self)
        self.gone.set()
        self._arrived.set()

    def reset(self):
        """Ends the connection with a TCP reset."""
        peer = self.transport.get_extra_info("socket")
        if peer is not None and peer.fileno() >= 0:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def more(self):
        self._arrived.clear()
        await self._arrived.wait()
        return not self.gone.is_set()

    async def run(self):
        while True:
            while (end := self.buffer.find(b"\r\n\r\n")) < 0:
                if not await self.more():
                    return
            head = bytes(self.buffer[:end])
            del self.buffer[:end + 4]
            if head.startswith(b"POST ") and self.replica.greeting:
                self.transport.write(self.replica.greeting)
            found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            length = int(found.group(1)) if found else 0
            while len(self.buffer) < length:
                if not await self.more():
                    return
            body = bytes(self.buffer[:length])
            del self.buffer[:length]
            if not await self.serve(head, body):
                return

    async def serve(self, head, body):
        """Answers one request. Returns whether the connection goes on."""
        replica = self.replica
        await replica.moving()
        if self.gone.is_set():
            return False
        if not head.startswith(b"POST "):
            replica.probes += 1
            await replica.turn_to_page()
            replica.pages += 1
            if replica.is_healthy:
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            else:
                self.transport.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}")
            return True
        request = Recorded(head, body)
        self.is_asked = True
        replica.posts += 1
        if replica.keeps_records:
            replica.requests.append(request)
        replica.running += 1
        replica.running_max = max(replica.running_max, replica.running)
        exchange = modes.Exchange(self, request)
        work = asyncio.ensure_future(replica.take_mode()(exchange))
        gone = None
        try:
            # A mode that never waits is done after one turn of the loop.
            await asyncio.sleep(0)
            if not work.done():
                gone = asyncio.ensure_future(self.gone.wait())
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                request.is_answered = True
                work.result()
                return not exchange.is_over and not self.transport.is_closing()
            request.was_cancelled = True
            replica.cancelled += 1
            work.cancel()
            return False
        finally:
            if gone:
                gone.cancel()
            replica.running -= 1


def main():
    name, port, gap = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    replica = Replica(name, modes.streamed(gap), port=port)
    replica.keeps_records = False
    replica.drain_on(signal.SIGTERM)
    print("listening", flush=True)
    threading.Thread(target=end_with_input, daemon=True).start()
    replica.drained.wait()


def end_with_input():
    """Whoever started this process has its input open, and ends however it ends."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
