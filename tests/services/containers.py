"""Steps in containers without steps: an orchestrator whose image needs no build, and what becomes of its jobs."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import attrs

from drystone_docker import DockerOrchestrator, Image


@attrs.frozen
class Ready:
    """One image for everything."""

    id: str

    def on_engine(self, image: Image) -> str:
        return self.id

    def problems(self, image: Image) -> list[str]:
        return []


@attrs.frozen(kw_only=True)
class PlainOrchestrator(DockerOrchestrator):
    """One whose images are that of the tests."""

    ready: str = ""

    @cached_property
    def images(self) -> Any:
        return Ready(self.ready)


@attrs.define
class Ended:
    """How a job has ended: its exit code or error, and what it printed."""

    code: int | Exception
    output: bytes


def ended(job: Any) -> Ended:
    """Follow a job to its end."""
    printed: list[bytes] = []
    follower = threading.Thread(target=lambda: printed.extend(job.logs()))
    follower.start()
    try:
        code = job.wait()
    except Exception as exc:
        code = exc
    follower.join()
    return Ended(code, b"".join(printed))


@contextmanager
def reached_over_tcp(path: str, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port at which a service on a unix socket answers, too."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threads.append(threading.Thread(target=_connect, args=(client, path, tls)))
                    threads[-1].start()

        threads.append(threading.Thread(target=serve))
        threads[0].start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for each in threads:
                each.join()


def _connect(client: socket.socket, path: str, tls: ssl.SSLContext | None) -> None:
    with socket.socket(socket.AF_UNIX) as service, suppress(OSError):
        service.connect(path)
        with tls.wrap_socket(client, server_side=True) if tls else client as near:
            back = threading.Thread(target=_pass_on, args=(service, near))
            back.start()
            _pass_on(near, service)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
