"""A server between a client of S3 and the service, which makes trouble where it is told to."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PASSED_ON = {"connection", "transfer-encoding", "content-length"}

Trouble = Callable[[BaseHTTPRequestHandler, Callable[[], tuple[int, dict[str, str], bytes]]], None]
"""What is done with a request, given a way to have it answered by the service."""


class Between:
    """A server that passes requests on to a service, except where it was told what to do instead."""

    def __init__(self, port: int) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._troubles: list[tuple[str, str, Trouble]] = []
        self._always: Trouble | None = None
        self._service = port
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: between.answer(self)
                raise AttributeError(name)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def once(self, method: str, part: str, trouble: Trouble) -> None:
        """Make trouble for the next request of a method whose path has a part."""
        self._troubles.append((method, part, trouble))

    def always(self, trouble: Trouble) -> None:
        """Make trouble for every request."""
        self._always = trouble

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        self.requests.append((handler.command, handler.path, dict(handler.headers)))

        def passed_on() -> tuple[int, dict[str, str], bytes]:
            with closing(http.client.HTTPConnection("127.0.0.1", self._service, timeout=60)) as connection:
                connection.request(handler.command, handler.path, body, dict(handler.headers))
                answer = connection.getresponse()
                return answer.status, dict(answer.headers), answer.read()

        for each in self._troubles:
            method, part, trouble = each
            if method == handler.command and part in handler.path:
                self._troubles.remove(each)
                return trouble(handler, passed_on)
        if self._always is not None:
            return self._always(handler, passed_on)
        return reply(handler, *passed_on())


def reply(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes, cut: int = 0) -> None:
    """Answer; of the body, leave the last `cut` bytes away and end the connection."""
    handler.send_response_only(status)
    for name, value in headers.items():
        if name.lower() not in PASSED_ON or (name.lower() == "content-length" and handler.command == "HEAD"):
            handler.send_header(name, value)
    if handler.command != "HEAD":
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body[: len(body) - cut])
    handler.close_connection = handler.close_connection or cut > 0


def says(status: int, code: str) -> Trouble:
    """An answer as S3 documents it, without anything being done."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    headers = {"Content-Type": "application/xml", "x-amz-bucket-region": "eu-central-1"}
    return lambda handler, passed_on: reply(handler, status, headers, text.encode())


def passes(handler: BaseHTTPRequestHandler, passed_on: Callable[[], tuple[int, dict[str, str], bytes]]) -> None:
    """No trouble."""
    reply(handler, *passed_on())


def agrees(handler: BaseHTTPRequestHandler, passed_on: object) -> None:
    """Nothing is done, and said to be."""
    reply(handler, 200, {"ETag": '"1"'}, b"")


def hangs_up(handler: BaseHTTPRequestHandler, passed_on: object) -> None:
    """Nothing is done, and nothing answered."""
    handler.close_connection = True


def loses_the_answer(handler: BaseHTTPRequestHandler, passed_on: Callable[[], object]) -> None:
    """It is done, and nothing is answered."""
    passed_on()
    handler.close_connection = True


def denies_what_it_did(handler: BaseHTTPRequestHandler, passed_on: Callable[[], object]) -> None:
    """It is done, and said to have failed."""
    passed_on()
    says(500, "InternalError")(handler, lambda: (0, {}, b""))


def cuts_off(handler: BaseHTTPRequestHandler, passed_on: Callable[[], tuple[int, dict[str, str], bytes]]) -> None:
    """The second half of the answer is missing."""
    status, headers, body = passed_on()
    reply(handler, status, headers, body, cut=len(body) // 2)
