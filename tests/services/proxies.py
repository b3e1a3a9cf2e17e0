"""A proxy between an HTTP client and its server, which counts what passes and spoils some of it.

It stands on loopback, speaks HTTP/1.1 with connections that stay open, and passes everything on byte by byte, the
header `Host` too, so that signatures hold. What is to go wrong is a list of rules: the first that fits a request
spoils it.

    with Proxy("http://127.0.0.1:18333", Rule(slow_down, chance=0.2, method="PUT|GET"), seed=7) as proxy:
        client = connect(proxy.url)
        with proxy.counted() as traffic:
            client.get("blobs/3f")
        assert traffic.requests <= 2 and traffic.downloaded < 10_000
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO
from urllib.parse import urlsplit

import attrs

PIECE = 1 << 18
"""Bytes that are passed on at once."""

PAUSE = 0.02
"""Seconds by which `delayed` and each piece of `slowly` are late."""


class Hangup(Exception):  # noqa: N818 - no failure: how an exchange ends whose connections must not be used again
    """Both connections are to be closed."""


@attrs.define
class Exchange:
    """One request, and what came of it.

    Attributes:
        method: `GET`, `PUT` …
        target: Path and query.
        fault: What was done to it; empty if it was passed on as it is.
        status: What the client was told; 0 while it was told nothing.
        uploaded: Bytes that reached the server, heads included.
        downloaded: Bytes that reached the client, heads included.
    """

    method: str
    target: str
    fault: str = ""
    status: int = 0
    uploaded: int = 0
    downloaded: int = 0
    _line: Connection = attrs.field(kw_only=True, repr=False)
    _request: Message = attrs.field(kw_only=True, repr=False)
    _response: Message | None = attrs.field(default=None, kw_only=True, repr=False)

    def serve(self, pause: float = 0.0) -> None:
        """Pass on the request, then the response."""
        self.forward(pause=pause)
        self.answer(pause=pause)

    def forward(self, *, half: bool = False, pause: float = 0.0) -> None:
        """Pass on the request, or one half of it."""
        for piece in self._request.pieces(half=half):
            self._line.wait(pause)
            self._forward(piece)

    def forward_head(self) -> None:
        """Pass on the head of the request, and nothing of its body; of one without a body, the beginning of it."""
        self._forward(self._request.head if self._request.length else self._request.head[:10])

    def answer(self, *, half: bool = False, pause: float = 0.0) -> None:
        """Pass on what the server answers, or one half of it."""
        response = self._answered()
        self.status = response.status
        for piece in response.pieces(half=half):
            self._line.wait(pause)
            self._send(piece)
        if not response.stays_open:
            raise Hangup

    def execute(self) -> None:
        """Let the server do it, and tell nobody what it answers."""
        self.forward()
        for _ in self._answered().pieces():
            pass

    def discard(self) -> None:
        """Take the request from the client, and tell the server nothing of it."""
        for _ in self._request.pieces():
            pass

    def refuse(self, status: int, code: str) -> None:
        """Answer as S3 tells of an error."""
        body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>Chaos.</Message></Error>"
        head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        self.status = status
        self._send((head + body * (self.method != "HEAD")).encode())

    def hang_up(self, *, reset: bool) -> None:
        """Close the connection to the client; with a reset, as if the machine between had gone."""
        if reset:
            self._line.reset()
        raise Hangup

    def wait(self, seconds: float) -> None:
        """Do nothing for that long, or until the proxy is closed."""
        self._line.wait(seconds)

    def _answered(self) -> Message:
        while self._response is None or self._response.status == 100:
            self._response = Message.read(self._line.answers, method=self.method)
            if self._response is None:  # the server is gone
                self.hang_up(reset=True)
        return self._response

    def _forward(self, data: bytes) -> None:
        self.uploaded += len(data)
        self._line.server.sendall(data)

    def _send(self, data: bytes) -> None:
        self.downloaded += len(data)  # before the client can go on
        self._line.client.sendall(data)


def delayed(exchange: Exchange) -> None:
    """It takes a moment longer."""
    exchange.wait(PAUSE * 5)
    exchange.serve()


def slowly(exchange: Exchange) -> None:
    """Both bodies arrive piece by piece."""
    exchange.serve(pause=PAUSE)


def reset(exchange: Exchange) -> None:
    """The connection is reset before the server hears of it."""
    exchange.hang_up(reset=True)


def reset_before_body(exchange: Exchange) -> None:
    """The connection is reset when the server has the head of the request, and nothing of its body."""
    exchange.forward_head()
    exchange.hang_up(reset=True)


def reset_in_request(exchange: Exchange) -> None:
    """The connection is reset when the server has one half of the request."""
    exchange.forward(half=True)
    exchange.hang_up(reset=True)


def reset_in_response(exchange: Exchange) -> None:
    """The server has done it; the connection is reset when the client has one half of the response."""
    exchange.forward()
    exchange.answer(half=True)
    exchange.hang_up(reset=True)


def truncated(exchange: Exchange) -> None:
    """The server has done it; the client gets fewer bytes than were announced."""
    exchange.forward()
    exchange.answer(half=True)
    exchange.hang_up(reset=False)


def failed(exchange: Exchange) -> None:
    """500, and nothing was done."""
    exchange.discard()
    exchange.refuse(500, "InternalError")


def slow_down(exchange: Exchange) -> None:
    """503 SlowDown, and nothing was done."""
    exchange.discard()
    exchange.refuse(503, "SlowDown")


def precondition_failed(exchange: Exchange) -> None:
    """412, although it would have gone well; nothing was done."""
    exchange.discard()
    exchange.refuse(412, "PreconditionFailed")


def failed_afterwards(exchange: Exchange) -> None:
    """The server has done it; the client is told 500."""
    exchange.execute()
    exchange.refuse(500, "InternalError")


def reset_afterwards(exchange: Exchange) -> None:
    """The server has done it; the client is told nothing."""
    exchange.execute()
    exchange.hang_up(reset=True)


Fault = Callable[[Exchange], None]

HARMLESS: tuple[Fault, ...] = (delayed, slowly)
UNDONE: tuple[Fault, ...] = (reset, reset_before_body, reset_in_request, failed, slow_down)
DONE: tuple[Fault, ...] = (reset_in_response, truncated, failed_afterwards, reset_afterwards)
FAULTS = (*HARMLESS, *UNDONE, *DONE)
"""All that may happen to any request; `precondition_failed` only makes sense where a condition was set."""


@attrs.define
class Rule:
    """What is to go wrong, and where.

    Attributes:
        faults: What is done; of several, one at random.
        chance: How likely it is that a request that fits is spoilt.
        method: A pattern of the methods it is for.
        target: A pattern found in the paths, queries included, it is for.
        conditional: Only for requests with the header `If-None-Match` or `If-Match`.
        times: How often, at most.
    """

    faults: tuple[Fault, ...] = attrs.field(converter=lambda given: given if isinstance(given, tuple) else (given,))
    chance: float = attrs.field(default=1.0, kw_only=True)
    method: str = attrs.field(default=".*", kw_only=True)
    target: str = attrs.field(default="", kw_only=True)
    conditional: bool = attrs.field(default=False, kw_only=True)
    times: float = attrs.field(default=float("inf"), kw_only=True)

    def fits(self, request: Message) -> bool:
        """Whether it is for this request."""
        return (
            self.times > 0
            and re.fullmatch(self.method, request.method) is not None
            and re.search(self.target, request.target) is not None
            and (not self.conditional or bool({b"if-none-match", b"if-match"} & request.headers.keys()))
        )


def weather(chance: float) -> tuple[Rule, ...]:
    """Everything that may go wrong, on so many of all requests."""
    return (
        Rule(precondition_failed, chance=chance / 4, conditional=True),
        Rule(FAULTS, chance=chance),
    )


@attrs.frozen
class Traffic:
    """What passed while it was counted."""

    exchanges: list[Exchange] = attrs.field(factory=list)

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return len(self.exchanges)

    @property
    def uploaded(self) -> int:
        """Bytes that reached the server."""
        return sum(each.uploaded for each in self.exchanges)

    @property
    def downloaded(self) -> int:
        """Bytes that reached clients."""
        return sum(each.downloaded for each in self.exchanges)

    @property
    def spoilt(self) -> list[Exchange]:
        """Those that a rule changed."""
        return [each for each in self.exchanges if each.fault]


class Proxy:
    """A proxy in threads of this process: `with Proxy(server, *rules, seed=…) as proxy`.

    Args:
        server: Its URL, such as `http://127.0.0.1:18333`.
        rules: What is to go wrong; can be changed at any time through the attribute of that name.
        seed: Of the dice.

    Attributes:
        url: Where clients find it.
        traffic: All that has passed.
    """

    def __init__(self, server: str, *rules: Rule, seed: int = 0) -> None:
        parts = urlsplit(server)
        self.server = (str(parts.hostname), int(parts.port or 80))
        self.rules: Iterable[Rule] = rules
        self.traffic = Traffic()
        self.closed = threading.Event()
        self._dice, self._deciding = random.Random(seed), threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._lines: set[Connection] = set()
        self._accepting = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        self._accepting.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for line in [*self._lines]:
            line.shut()
            line.thread.join()

    @contextmanager
    def counted(self) -> Iterator[Traffic]:
        """What passes meanwhile; complete when clients have their answers."""
        traffic, before = Traffic(), len(self.traffic.exchanges)
        try:
            yield traffic
        finally:
            traffic.exchanges.extend(self.traffic.exchanges[before:])

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Nothing goes wrong meanwhile."""
        before, self.rules = self.rules, ()
        try:
            yield
        finally:
            self.rules = before

    def decided(self, request: Message) -> Fault | None:
        """What is done to a request, if anything."""
        with self._deciding:
            for rule in self.rules:
                if rule.fits(request) and self._dice.random() < rule.chance:
                    rule.times -= 1
                    return self._dice.choice(rule.faults)
        return None

    def forget(self, line: Connection) -> None:
        """A connection is over."""
        self._lines.discard(line)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                line = Connection(self, client)
                self._lines.add(line)
                line.thread.start()


class Connection:
    """One client's connection, and the one to the server that its requests take."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy, self.client = proxy, client
        self._requests = client.makefile("rb")
        self._server: socket.socket | None = None
        self.thread = threading.Thread(target=self._run, name="proxy-connection", daemon=True)

    @property
    def server(self) -> socket.socket:
        """The connection to the server, made when it is first needed."""
        if self._server is None:
            self._server = socket.create_connection(self._proxy.server)
            self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.answers = self._server.makefile("rb")
        return self._server

    def wait(self, seconds: float) -> None:
        """Do nothing for that long, or until the proxy is closed."""
        if seconds:
            self._proxy.closed.wait(seconds)

    def reset(self) -> None:
        """Let closing it be a reset."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def shut(self) -> None:
        """End what is under way."""
        for each in (self.client, self._server):
            with suppress(OSError):
                if each is not None:
                    each.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with suppress(Hangup):
                while (request := Message.read(self._requests)) is not None:
                    self._pass_on(request)
        except (OSError, EOFError):  # one of them has gone: so has the other, for all the client can tell
            with suppress(OSError):
                self.reset()
        finally:
            for each in (self._requests, self.client, getattr(self, "answers", None), self._server):
                if each is not None:
                    each.close()
            self._proxy.forget(self)

    def _pass_on(self, request: Message) -> None:
        if request.expects_continue:
            self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange = Exchange(request.method, request.target, line=self, request=request)
        self._proxy.traffic.exchanges.append(exchange)
        fault = self._proxy.decided(request)
        if fault is None:
            exchange.serve()
        else:
            exchange.fault = fault.__name__
            fault(exchange)
        if not request.stays_open:
            raise Hangup


@attrs.define
class Message:
    """A request or response: its head, and its body still in the stream that it comes from."""

    start: list[bytes]
    headers: dict[bytes, bytes]
    head: bytes
    _stream: BinaryIO
    _has_body: bool

    @classmethod
    def read(cls, stream: BinaryIO, method: str | None = None) -> Message | None:
        """The next request of a stream, or the response to a request of a method; None at the stream's end."""
        lines = [stream.readline()]
        while lines[-1].strip():
            lines.append(stream.readline())
        if not lines[0] or not lines[-1]:
            return None
        pairs = (line.partition(b":") for line in lines[1:-1])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        start = lines[0].split(None, 2)
        kept = [line for line in lines if not line.lower().startswith(b"expect:")]
        has_body = method is None or (method != "HEAD" and start[1] not in (b"204", b"304", b"100"))
        return cls(start, headers, b"".join(kept), stream, has_body)

    @property
    def method(self) -> str:
        """Of a request."""
        return self.start[0].decode()

    @property
    def target(self) -> str:
        """Of a request."""
        return self.start[1].decode()

    @property
    def status(self) -> int:
        """Of a response."""
        return int(self.start[1])

    @property
    def length(self) -> int:
        """Bytes of its body; 0 if that is not known."""
        return int(self.headers.get(b"content-length", 0)) if self._has_body else 0

    @property
    def expects_continue(self) -> bool:
        """Whether the client wants to hear that it may go on; the proxy tells it, and asks nobody."""
        return self.headers.get(b"expect", b"").lower() == b"100-continue"

    @property
    def stays_open(self) -> bool:
        """Whether another message may follow on its connection."""
        is_framed = not self._has_body or not {b"content-length", b"transfer-encoding"}.isdisjoint(self.headers)
        is_request = not self.start[0].startswith(b"HTTP/")
        return self.headers.get(b"connection", b"").lower() != b"close" and (is_request or is_framed)

    def pieces(self, *, half: bool = False) -> Iterator[bytes]:
        """Head and body; or the head and half of the body, and where there is none the beginning of the first line."""
        length = self.length
        is_chunked = self._has_body and self.headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        if half and not length and not is_chunked:
            yield self.head[:10]
            return
        yield self.head
        if is_chunked:
            yield from self._first(self._chunks()) if half else self._chunks()
        elif b"content-length" in self.headers or not self.start[0].startswith(b"HTTP/"):
            yield from self._exactly(length // 2 if half else length)
        elif self._has_body:
            yield from iter(lambda: self._stream.read1(PIECE), b"")  # type: ignore[attr-defined]

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self._stream.read1(min(PIECE, length))  # type: ignore[attr-defined]
            if not piece:
                raise EOFError
            length -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        """Chunks as they came, with their frames."""
        size = -1
        while size:
            line = self._stream.readline()
            if not line:
                raise EOFError
            size = int(line.partition(b";")[0], 16)
            yield line
            yield from self._exactly(size + 2 if size else 0)
        while (line := self._stream.readline()).strip():
            yield line
        yield line

    def _first(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        yield next(chunks)
        yield next(chunks)[:1]
