"""Waiting for something to become true, with a deadline instead of a guess."""

import time

#: Seconds that anything may take on a busy machine before it counts as broken.
PATIENCE = 20.0


def eventually(condition, what, seconds=PATIENCE, pause=0.01):
    """Polls until `condition()` is truthy and returns what it returned; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"did not come to be in {seconds} s: {what}")
        time.sleep(pause)
