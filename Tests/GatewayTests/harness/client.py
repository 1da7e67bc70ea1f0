"""A client of raw sockets: sends any bytes, and reads replies and events as they come."""

import json
import re
import socket
import struct
import time


class Reply:
    """One HTTP reply, whole."""

    def __init__(self, status, fields, body):
        self.status = status
        self.fields = fields
        self.body = body

    def field(self, name):
        found = [value for key, value in self.fields if key == name.lower()]
        assert len(found) <= 1, f"{name} came {len(found)} times: {found}"
        return found[0] if found else None

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def content(self):
        return self.json["choices"][0]["message"]["content"]

    @property
    def events(self):
        """The data of each event of a stream, `[DONE]` included."""
        lines = self.text.replace("\r\n", "\n").split("\n")
        return [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]

    @property
    def chunks(self):
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def streamed_text(self):
        return text_of(self.chunks)

    def __repr__(self):
        return f"<Reply {self.status} {dict(self.fields)} {self.body[:400]!r}>"


def text_of(chunks):
    """The text that a stream's chunks make."""
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices", []))


class Connection:
    """A connection to the gateway. Raises OSError or EOFError when it ends too early."""

    def __init__(self, peer):
        self.socket = peer
        self.buffer = b""
        #: Bytes of one read, and seconds before it.
        self._pace = (65536, 0)
        if peer.family == socket.AF_INET:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Leaves with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_request(self, method, path, body=None, fields=(), key=None):
        head = [f"{method} {path} HTTP/1.1", "host: weir.test"]
        if key:
            head.append(f"authorization: Bearer {key}")
        names = {name.lower() for name, _ in fields}
        if body is not None:
            if "content-type" not in names:
                head.append("content-type: application/json")
            head.append(f"content-length: {len(body)}")
        head.extend(f"{name}: {value}" for name, value in fields)
        self.send("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + (body or b""))

    def request(self, method, path, body=None, fields=(), key=None):
        self.send_request(method, path, body, fields, key)
        return self.read_reply(is_head=method == "HEAD")

    # Reading.

    def more(self):
        size, pause = self._pace
        if pause:
            time.sleep(pause)
        data = self.socket.recv(size)
        if not data:
            raise EOFError(f"the connection ended after {self.buffer[:300]!r}")
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def take_until(self, mark):
        while (end := self.buffer.find(mark)) < 0:
            self.more()
        return self.take(end + len(mark))

    def read_head(self):
        """Reads one reply's head. Returns (status, fields)."""
        lines = self.take_until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])
        assert match, f"no status line: {lines[0]!r}"
        pairs = [line.partition(":") for line in lines[1:]]
        return int(match[1]), [(name.lower(), value.strip()) for name, _, value in pairs]

    def read_chunk(self):
        """The next chunk of a chunked body; empty at its end."""
        size = int(self.take_until(b"\r\n")[:-2].split(b";")[0], 16)
        data = self.take(size)
        assert self.take(2) == b"\r\n"
        return data

    def read_body(self, fields, status=200, is_head=False):
        fields = dict(fields)
        if is_head or status in (204, 304):
            return b""
        if "chunked" in fields.get("transfer-encoding", ""):
            body = b""
            while data := self.read_chunk():
                body += data
            return body
        if "content-length" in fields:
            return self.take(int(fields["content-length"]))
        try:
            while True:
                self.more()
        except EOFError:
            taken, self.buffer = self.buffer, b""
            return taken

    def read_reply(self, is_head=False):
        status, fields = self.read_head()
        while status == 100:
            status, fields = self.read_head()
        return Reply(status, fields, self.read_body(fields, status, is_head))

    def events(self):
        """The data of a stream's events, each as soon as it is here; ends with the body."""
        text = b""
        while data := self.read_chunk():
            text += data
            while (end := text.find(b"\n\n")) >= 0:
                event, text = text[:end], text[end + 2:]
                if event.startswith(b"data: "):
                    yield event[6:].decode()

    def events_slowly(self, size, pause):
        """The same from a body read `size` bytes at a time, with `pause` seconds between."""
        status, _ = self.read_head()
        assert status == 200
        self._pace = (size, pause)
        return self.events()

    def is_closed_by_peer(self):
        """Whether the gateway ends the connection, with nothing more to say."""
        try:
            return self.buffer == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
