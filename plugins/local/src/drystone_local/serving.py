"""A worker: takes one task after the other from its socket, and answers."""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import IO, NoReturn

from drystone.errors import StepFailedError
from drystone_local.processes import adopt_orphans, end_left, has_children

READY, RESULT, RAISED, ASK, LEFT = b"R", b"D", b"X", b"A", b"L"
"""What a worker says: it is ready, a result, what the function raised, a question, processes that a task left."""

TASK, ANSWER = b"T", b"W"
"""What it is told."""

HEADER = 9
"""Bytes before each message: its kind, one byte, and its length."""


def framed(kind: bytes, payload: bytes) -> bytes:
    """A message as it travels."""
    return kind + len(payload).to_bytes(HEADER - 1, "big") + payload


def work_through(descriptor: int) -> NoReturn:
    """Be a worker on this socket until its other end is closed.

    It leads a session of its own, so that Ctrl-C of a terminal does not reach it and all it starts can be ended.
    """
    os.setsid()
    adopt_orphans()
    faulthandler.enable(file=2)  # the log of the step, while one runs
    _reseed()
    try:
        with socket.socket(fileno=descriptor) as channel:
            Worker(channel).run()
    except OSError:
        pass  # the driver is gone
    finally:
        os._exit(0)


def _reseed() -> None:
    """Give copies of one process numbers of their own; Python does that for its own generator."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


class Worker:
    """Serves the driver at the other end of a socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._reader: IO[bytes] = channel.makefile("rb")
        self._asking = threading.Lock()
        self._process = os.getpid()

    def run(self) -> None:
        """Work until there is nobody to work for."""
        self._send(READY, b"")
        while (message := self._received()) is not None:
            kind, payload = self._answered(message)
            if os.getpid() != self._process:
                os._exit(0)  # a process that the step forked, and which came back from it
            if has_children() and (left := end_left()):
                self._send(LEFT, json.dumps(left).encode())
            self._send(kind, payload)

    def _answered(self, message: bytes) -> tuple[bytes, bytes]:
        try:
            name, _, text = message.decode().partition("\n")
            return RESULT, _function(name)(text, ask=self._ask).encode()
        except BaseException as exc:
            return RAISED, "".join(traceback.format_exception(exc)).encode("utf-8", "backslashreplace")

    def _ask(self, question: str) -> str:
        """Bring a question to the driver, and the answer back; from any thread."""
        with self._asking:
            self._send(ASK, question.encode())
            answer = self._received()
        if answer is None:
            raise StepFailedError("The driver is gone.")
        said, _, text = answer.decode().partition("\n")
        if said:
            raise StepFailedError(text)
        return text

    def _send(self, kind: bytes, payload: bytes) -> None:
        self._channel.sendall(framed(kind, payload))

    def _received(self) -> bytes | None:
        header = self._reader.read(HEADER)
        return self._reader.read(int.from_bytes(header[1:], "big")) if len(header) == HEADER else None


def _function(name: str) -> Callable[..., str]:
    module, _, qualified = name.partition(":")
    function: Callable[..., str] = attrgetter(qualified)(import_module(module))
    return function
