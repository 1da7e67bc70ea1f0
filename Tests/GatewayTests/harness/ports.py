"""Ports that stay a test's own: other tests run at the same time, and the kernel gives out again what is free."""

import socket


class HeldPort:
    """A port of loopback that is given to nobody else before ``release()``.

    It is bound and not listened on: connections are refused until somebody listens there who sets `SO_REUSEADDR`, and
    again from then on when that one ends.
    """

    def __init__(self, host="127.0.0.1"):
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # llama.cpp's server sets only this one.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((host, 0))
        self.number = self._socket.getsockname()[1]

    def release(self):
        self._socket.close()


_held = []


def free_port():
    """A port that nobody listens on, held until this process ends."""
    _held.append(HeldPort())
    return _held[-1].number
