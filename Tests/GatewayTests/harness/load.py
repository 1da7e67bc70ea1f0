"""Clients that ask and check every byte of what they get, alone or many at once while something breaks."""

import itertools
import threading

from .gateway import KEY, chat_body
from .modes import answer_text
from .waiting import eventually

CHAT = "/v1/chat/completions"


def question(number):
    return [{"role": "user", "content": f"Question {number}"}]


def problem_with(reply, expected):
    """What is wrong with a reply whose text should be `expected`; None if nothing is.

    Failed, truncated, duplicated and altered are four things; each is the loss of an answer.
    """
    if reply.status != 200:
        return f"failed: {reply.status} {reply.body[:200]!r}"
    if reply.field("content-type").startswith("application/json"):
        return None if reply.content == expected else f"altered: {reply.content!r}"
    if any("error" in chunk for chunk in reply.chunks):
        return f"failed in-band after {reply.streamed_text!r}: {reply.chunks[-1]}"
    if reply.events.count("[DONE]") != 1 or reply.events[-1] != "[DONE]":
        return f"no end after {reply.streamed_text!r}"
    text = reply.streamed_text
    if text != expected:
        return f"{'truncated' if expected.startswith(text) else 'duplicated or altered'}: {text!r}, not {expected!r}"
    chunks = [chunk for chunk in reply.chunks if chunk["choices"]]
    if len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) != 1:
        return "more than one identity"
    deltas = [chunk["choices"][0] for chunk in chunks]
    if [delta["delta"].get("role") for delta in deltas].count("assistant") != 1:
        return "not one role"
    if len([delta for delta in deltas if delta["finish_reason"]]) != 1:
        return "not one finish reason"
    return None


class Load:
    """Workers that ask one question after the other, streamed and plain in turn, for as long as the block lasts.

    `problems` has what was wrong, `done` counts the answers that were right.
    """

    def __init__(self, gateway, workers=6, kinds=(False, True), **members):
        self.gateway = gateway
        self.kinds = kinds
        self.members = members
        self.problems = []
        self.done = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._is_over = False
        self._limit = None
        self._threads = [threading.Thread(target=self._work) for _ in range(workers)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._is_over = True
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a request never ended"

    def more(self, count):
        """Waits until that many more answers have come."""
        goal = self.done + count
        eventually(lambda: self.done >= goal or self.problems, f"{count} more answers")

    def run(self, count):
        """Asks exactly `count` questions, and returns when all are answered."""
        self._limit = count
        with self:
            eventually(lambda: not any(thread.is_alive() for thread in self._threads), f"{count} answers", seconds=60)
        return self

    def _work(self):
        connection = None
        while not self._is_over and not self.problems:
            with self._lock:
                number = next(self._numbers)
            if self._limit is not None and number >= self._limit:
                break
            messages = question(number)
            try:
                connection = connection or self.gateway.connect()
                body = chat_body(*messages, stream=self.kinds[number % len(self.kinds)], **self.members)
                reply = connection.request("POST", CHAT, body, key=KEY)
            except (OSError, EOFError, AssertionError) as problem:
                self._found(f"failed: {problem!r}")
                break
            if reply.field("connection") == "close":
                connection.close()
                connection = None
            if found := problem_with(reply, answer_text(messages)):
                self._found(found)
            else:
                with self._lock:
                    self.done += 1
        if connection:
            connection.close()

    def _found(self, problem):
        with self._lock:
            self.problems.append(problem)
