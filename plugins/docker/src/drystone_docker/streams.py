"""What containers print, as the engine sends it, and what they are told."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

HEADER = struct.Struct(">BxxxL")
"""What stands before each piece of output: which stream it is from, and its length."""


class Attachment:
    """Both ends of a container's standard streams, on a connection of its own.

    Args:
        stream: What docker-py gives of it, which is another object for each kind of connection.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._socket = getattr(stream, "_sock", stream)  # of a unix or TCP connection it is wrapped as a file
        self._socket.settimeout(None)  # a step may say nothing for hours

    def tell(self, data: bytes) -> None:
        """Write to its standard input, and end that."""
        self._socket.sendall(data)
        with suppress(OSError, AttributeError):  # TLS cannot end one direction alone
            self._socket.shutdown_write() if hasattr(self._socket, "shutdown_write") else self._socket.shutdown(
                socket.SHUT_WR
            )

    def pieces(self) -> Iterator[bytes]:
        """What it prints, until it ends or the connection does."""
        with suppress(OSError):
            while header := self._read(HEADER.size):
                _, length = HEADER.unpack(header)
                while length and (piece := self._socket.recv(min(length, 1 << 16))):
                    length -= len(piece)
                    yield piece

    def _read(self, size: int) -> bytes:
        """So many bytes, or none at the end."""
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                return b""
            data += piece
        return data

    def close(self) -> None:
        """Close the connection, and what docker-py has around it; whoever reads from it is told that it ended."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for each in (self._stream, getattr(self._stream, "_response", None), self._socket):
            if each is not None:
                with suppress(Exception):  # it may be broken, whatever that raises for its kind
                    each.close()
