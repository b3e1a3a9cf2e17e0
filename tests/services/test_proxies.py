"""The proxy against a tiny server: everything passes as it is, and each fault is what its name says."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from urllib.parse import urlsplit

import pytest

from services.proxies import (
    DONE,
    UNDONE,
    Fault,
    Proxy,
    Rule,
    delayed,
    failed,
    precondition_failed,
    reset,
    reset_afterwards,
    slow_down,
    slowly,
    truncated,
    weather,
)

LOST = (ConnectionError, http.client.HTTPException)


class Shelf(http.server.BaseHTTPRequestHandler):
    """Keeps what is put, gives it back, and knows which host was asked for."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        data = self.body()
        taken = self.headers.get("If-None-Match") == "*" and self.path in self.server.kept  # type: ignore[attr-defined]
        if not taken:
            self.server.kept[self.path] = data  # type: ignore[attr-defined]
        self.reply(412 if taken else 200)

    def do_GET(self) -> None:
        if self.path == "/host":
            return self.reply(200, self.headers["Host"].encode())
        data = self.server.kept.get(self.path)  # type: ignore[attr-defined]
        return self.reply(404) if data is None else self.reply(200, data, chunked="chunked" in self.path)

    do_HEAD = do_GET  # noqa: N815 - as the library calls it

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            data = self.rfile.read(length := int(self.headers.get("Content-Length", 0)))
            if len(data) < length:
                raise ConnectionAbortedError
            return data
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def reply(self, status: int, data: bytes = b"", *, chunked: bool = False) -> None:
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked") if chunked else self.send_header(
            "Content-Length", str(len(data))
        )
        self.end_headers()
        if self.command == "HEAD":
            return
        if chunked:
            data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:5], data[5:], b""))
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """What it keeps is to be seen."""

    kept: dict[str, bytes]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is what these tests are about."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Shelf) as server:
        server.kept = {}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(f"http://127.0.0.1:{server.server_port}", seed=1) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=20)
    yield connection
    connection.close()


def asked(
    client: http.client.HTTPConnection, method: str, path: str, data: bytes = b"", **headers: str
) -> tuple[int, bytes]:
    """Status and body of one answer."""
    client.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
    with client.getresponse() as answer:
        return answer.status, answer.read()


def test_what_nothing_spoils_passes_as_it_is_on_one_connection(
    proxy: Proxy, client: http.client.HTTPConnection
) -> None:
    data = bytes(range(256)) * 5000
    assert asked(client, "PUT", "/a?x=1", data) == (200, b"")
    mine = client.sock
    assert asked(client, "GET", "/a?x=1") == (200, data)
    assert asked(client, "HEAD", "/a?x=1") == (200, b"")
    assert asked(client, "GET", "/nothing") == (404, b"")
    assert asked(client, "GET", "/host") == (200, urlsplit(proxy.url).netloc.encode())
    assert client.sock is mine, "the connection stays open"
    assert [each.status for each in proxy.traffic.exchanges] == [200, 200, 200, 404, 200]


def test_bodies_of_unknown_length_pass(client: http.client.HTTPConnection) -> None:
    client.request("PUT", "/chunked", iter([b"one", b"two", b"three"]), encode_chunked=True)
    assert client.getresponse().read() == b""
    assert asked(client, "GET", "/chunked") == (200, b"onetwothree")
    assert asked(client, "GET", "/chunked") == (200, b"onetwothree"), "and the connection stays usable"


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(
    server: Server, client: http.client.HTTPConnection
) -> None:
    client.putrequest("PUT", "/waited")
    client.putheader("Content-Length", "5")
    client.putheader("Expect", "100-continue")
    client.endheaders()
    assert client.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert client.getresponse().status == 200
    assert server.kept == {"/waited": b"hello"}


def test_requests_and_bytes_are_counted(proxy: Proxy, client: http.client.HTTPConnection) -> None:
    with proxy.counted() as traffic:
        asked(client, "PUT", "/a", b"x" * 100_000)
        asked(client, "GET", "/a")
    assert traffic.requests == 2
    assert 100_000 < traffic.uploaded < 101_000
    assert 100_000 < traffic.downloaded < 101_000
    asked(client, "GET", "/a")
    assert traffic.requests == 2
    assert len(proxy.traffic.exchanges) == 3


@pytest.mark.parametrize("fault", UNDONE)
def test_what_is_undone_did_not_happen(
    fault: Fault, server: Server, proxy: Proxy, client: http.client.HTTPConnection
) -> None:
    proxy.rules = [Rule(fault, times=1)]
    assert spoilt(client, "PUT", "/a", b"x" * 1_000_000)
    assert server.kept == {}
    client.close()
    assert asked(client, "PUT", "/a", b"x") == (200, b"")


@pytest.mark.parametrize("fault", DONE)
def test_what_is_done_happened_and_is_told_as_an_error(
    fault: Fault, server: Server, proxy: Proxy, client: http.client.HTTPConnection
) -> None:
    proxy.rules = [Rule(fault, times=1)]
    assert spoilt(client, "PUT", "/a", b"x" * 1_000_000)
    assert len(server.kept["/a"]) == 1_000_000
    client.close()
    proxy.rules = [Rule(fault, times=1)]
    assert spoilt(client, "GET", "/a")
    client.close()
    assert asked(client, "GET", "/a") == (200, b"x" * 1_000_000)


def spoilt(client: http.client.HTTPConnection, method: str, path: str, data: bytes = b"") -> bool:
    try:
        return asked(client, method, path, data)[0] >= 500
    except LOST:
        return True


@pytest.mark.parametrize("fault", [delayed, slowly])
def test_what_is_late_is_right(fault: Fault, proxy: Proxy, client: http.client.HTTPConnection) -> None:
    proxy.rules = [Rule(fault)]
    assert asked(client, "PUT", "/a", b"x" * 1_000_000) == (200, b"")
    assert asked(client, "GET", "/a") == (200, b"x" * 1_000_000)
    assert [each.fault for each in proxy.traffic.spoilt] == [fault.__name__] * 2


def test_a_truncated_body_has_fewer_bytes_than_announced(proxy: Proxy, client: http.client.HTTPConnection) -> None:
    asked(client, "PUT", "/a", b"x" * 1000)
    proxy.rules = [Rule(truncated)]
    with pytest.raises(http.client.IncompleteRead, match=r"500 bytes read, 500 more expected"):
        asked(client, "GET", "/a")


def test_errors_are_told_as_s3_tells_them(proxy: Proxy, client: http.client.HTTPConnection) -> None:
    for fault, status, code in (
        (failed, 500, b"InternalError"),
        (slow_down, 503, b"SlowDown"),
        (precondition_failed, 412, b"PreconditionFailed"),
    ):
        proxy.rules = [Rule(fault, times=2)]
        told = asked(client, "PUT", "/a", b"x")
        assert told[0] == status
        assert b"<Code>%b</Code>" % code in told[1]
        assert asked(client, "HEAD", "/a") == (status, b"")
        assert asked(client, "GET", "/a") == (404, b""), "the connection stays usable"


def test_a_rule_is_for_methods_paths_and_conditions(proxy: Proxy, client: http.client.HTTPConnection) -> None:
    proxy.rules = [
        Rule(failed, method="PUT", target="commits/"),
        Rule(precondition_failed, conditional=True),
    ]
    assert asked(client, "PUT", "/blobs/1")[0] == 200
    assert asked(client, "PUT", "/commits/1")[0] == 500
    assert asked(client, "GET", "/commits/1")[0] == 404
    assert asked(client, "PUT", "/blobs/2", If_None_Match="*")[0] == 412


def test_faults_come_as_often_as_their_chance_and_never_in_calm(
    proxy: Proxy, client: http.client.HTTPConnection
) -> None:
    proxy.rules = [Rule((failed, slow_down), chance=0.2)]
    told = [asked(client, "GET", "/a")[0] for _ in range(500)]
    assert 60 < told.count(500) + told.count(503) < 140
    assert min(told.count(500), told.count(503)) > 20
    with proxy.calm():
        assert {asked(client, "GET", "/a")[0] for _ in range(100)} == {404}


def test_many_clients_are_served_at_once_and_each_gets_its_own(proxy: Proxy) -> None:
    proxy.rules = weather(0.3)

    def work(n: int) -> bytes:
        while True:
            with closing(http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=20)) as client, suppress(*LOST):
                if asked(client, "PUT", f"/{n}", b"%d" % n * 9000)[0] == 200:
                    status, data = asked(client, "GET", f"/{n}")
                    if status == 200:
                        return data

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(64))) == [b"%d" % n * 9000 for n in range(64)]
    assert {each.fault for each in proxy.traffic.spoilt} > {"reset_in_request", "reset_in_response", "truncated"}


def test_a_server_that_is_gone_is_a_reset_and_one_that_is_back_is_found(
    server: Server, proxy: Proxy, client: http.client.HTTPConnection
) -> None:
    server.kept["/a"] = b"x"
    there, proxy.server = proxy.server, ("127.0.0.1", 1)
    with pytest.raises(LOST):
        asked(client, "GET", "/a")
    client.close()
    proxy.server = there
    assert asked(client, "GET", "/a") == (200, b"x")


def test_a_proxy_that_is_closed_leaves_no_thread_behind(server: Server) -> None:
    before = threading.active_count()
    with Proxy(f"http://127.0.0.1:{server.server_port}", Rule(reset_afterwards)) as proxy:
        client = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=20)
        client.connect()
        with pytest.raises(LOST):
            asked(client, "PUT", "/a", b"x")
        proxy.rules = [Rule(reset)]
        client.connect()
    client.close()
    assert threading.active_count() <= before + 1, "the server's own may still be ending"
