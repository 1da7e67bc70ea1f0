"""Certificates for tests, and the two ends of TLS: a client of the gateway, and a replica that speaks https."""

import asyncio
import socket
import ssl
import subprocess

from .client import Connection
from .replica import Connection as ReplicaConnection
from .replica import Replica
from .waiting import PATIENCE


class Authority:
    """A certificate authority in `directory`; makes certificates for any name, good or not."""

    def __init__(self, directory, name="authority"):
        self.directory = directory
        self.name = name
        self.file = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self._count = 0
        self._run(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.file)

    @staticmethod
    def _run(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def certificate(self, names="DNS:localhost,IP:127.0.0.1", days=2, common_name="weir.test"):
        """A new certificate and its key. `days` below 0 is one that has expired. Returns both files."""
        self._count += 1
        stem = self.directory / f"{self.name}-{self._count}"
        key, request, made = (stem.with_suffix(suffix) for suffix in (".key", ".csr", ".pem"))
        extensions = stem.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={names}\n")
        self._run(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={common_name}",
            "-keyout", key, "-out", request)
        self._run(
            "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key, "-days", str(days),
            "-set_serial", str(1000 + self._count), "-extfile", extensions, "-out", made)
        return made, key


def client_context(authority, versions=None, alpn=None, certificate=None):
    """What a client believes and offers. `versions`: the oldest and the newest that it speaks."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if versions:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = versions
    if alpn:
        context.set_alpn_protocols(alpn)
    if certificate:
        context.load_cert_chain(*map(str, certificate))
    return context


def connect(gateway, context, session=None, receive_buffer=None):
    """A TLS connection to the gateway, its handshake done."""
    plain = socket.socket()
    if receive_buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plain.settimeout(PATIENCE)
    plain.connect(gateway.address)
    try:
        return Connection(context.wrap_socket(plain, server_hostname="localhost", session=session))
    except BaseException:
        plain.close()
        raise


class TLSReplica(Replica):
    """A scripted replica behind a certificate; remembers the names that clients asked for."""

    def __init__(self, certificate, name="one", mode=None):
        self.names = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*map(str, certificate))
        self._context.sni_callback = lambda _, name, __: self.names.append(name)
        super().__init__(name, mode)

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    async def _start(self):
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ReplicaConnection(self), self._host, self.port, reuse_address=True, backlog=512, ssl=self._context)
        for listener in self._server.sockets:
            # No large body fits into that: there is more to be sent when the session tickets have come.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
