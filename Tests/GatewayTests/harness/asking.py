"""Clients that ask the same thing without a pause while something is done to the gateway or its replicas."""

import threading

from .modes import answer_text
from .waiting import PATIENCE, eventually

HELLO = answer_text([{"role": "user", "content": "Hello"}])


class Asking:
    """Threads that ask without a pause; `failed` has what went wrong."""

    def __init__(self, gateway, *ways):
        self.gateway = gateway
        self.failed, self.answered = [], 0
        self.done = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[way]) for way in ways]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, way):
        while not self.done.is_set():
            try:
                way(self)
                self.answered += 1
            except Exception as problem:
                self.failed.append(f"{way.__name__}: {problem!r}")
                return

    def more(self, count=20):
        """Waits for that many more answers."""
        wanted = self.answered + count
        eventually(lambda: self.failed or self.answered >= wanted, f"{count} more answers", 60)


def on_new_connections(asking):
    reply = asking.gateway.chat("Hello")
    assert reply.status == 200 and reply.content == HELLO, reply


def streaming(asking):
    reply = asking.gateway.chat("Hello", stream=True)
    assert reply.events[-1] == "[DONE]" and reply.streamed_text == HELLO, reply
