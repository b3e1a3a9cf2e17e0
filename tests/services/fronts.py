"""A server in front of a real registry: it wants tokens of its own token server, or answers as a test says."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs

from services.registries import Account

Answered = tuple[int, dict[str, str], bytes]


@attrs.define
class Front:
    """What a front does, and what it was asked.

    Attributes:
        behind: The address of the real registry.
        account: Whom the token server gives tokens.
        answers: Given method and path, what is answered in the registry's place, if anything.
        asked: Method, path and the header `Authorization` of each request.
    """

    behind: str
    account: Account | None = None
    answers: Callable[[str, str], Answered | None] = lambda method, path: None
    asked: list[tuple[str, str, str]] = attrs.field(factory=list)
    port: int = 0
    token: str = attrs.field(factory=lambda: f"token-{os.urandom(8).hex()}")

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answered:
        """What is answered."""
        self.asked.append((method, path, headers.get("authorization", "")))
        if path.startswith("/token"):
            return self._token(headers.get("authorization", ""), body)
        if self.account and headers.get("authorization") != f"Bearer {self.token}":
            realm = f'Bearer realm="http://{self.address}/token",service="front",scope="repository:all:pull,push"'
            return 401, {"WWW-Authenticate": realm}, b""
        return self.answers(method, path) or self._forwarded(method, path, headers, body)

    def _token(self, authorization: str, body: bytes) -> Answered:
        assert self.account is not None
        pair = f"{self.account.username}:{self.account.password}"
        right = authorization == "Basic " + base64.b64encode(pair.encode()).decode()
        if right or f"refresh_token={self.account.password}".encode() in body:
            return 200, {"Content-Type": "application/json"}, json.dumps({"token": self.token}).encode()
        return 401, {}, b""

    def _forwarded(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answered:
        dropped = ("authorization", "connection", "transfer-encoding", "content-length", "accept-encoding")
        kept = {name: each for name, each in headers.items() if name not in dropped}
        with contextlib.closing(http.client.HTTPConnection(self.behind, timeout=60)) as connection:
            connection.request(method, path, body, kept)
            said = connection.getresponse()
            data, length = said.read(), said.headers.get("Content-Length")
        passed = {name: each for name, each in said.headers.items() if name.lower() not in dropped}
        return said.status, passed | ({"Content-Length": length} if method == "HEAD" and length else {}), data


def _handler(front: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            headers = {name.lower(): each for name, each in self.headers.items()}
            body = self._chunks() if "chunked" in headers.get("transfer-encoding", "") else self._sized(headers)
            status, said, data = front.answer(self.command, self.path, headers, body)
            self.send_response(status)
            for name, each in ({"Content-Length": str(len(data))} | said).items():
                self.send_header(name, each)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def _sized(self, headers: dict[str, str]) -> bytes:
            return self.rfile.read(int(headers.get("content-length", "0")))

        def _chunks(self) -> bytes:
            found = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815 - the names of http.server

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    return Handler


@contextlib.contextmanager
def in_front_of(behind: str, **settings: Any) -> Iterator[Front]:
    """A front, while it serves."""
    front = Front(behind, **settings)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(front)) as server:
        server.daemon_threads = True
        front.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()
