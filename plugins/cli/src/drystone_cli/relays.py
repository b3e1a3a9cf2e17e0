"""Output of steps that is to land above a live view: it goes through a terminal of our own, and comes out in lines."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import sys
import termios
import threading
from collections.abc import Callable, Iterator

CHUNK = 1 << 18
"""Bytes that are shown at once."""

LONGEST = 1 << 16
"""Bytes of a line that has no end."""

OTHERS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-ln-~]"  # sequences that do something else than set colours: move the cursor, clear
    r"|\x1b[\]P_^X](?:[^\x07\x1b]*(?:\x07|\x1b\\))?"  # titles, links and the like
    r"|\x1b(?!\[[0-9;:]*m)(?:[ -/]*[0-~])?"
    r"|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]"
)
COLOURS = re.compile(r"\x1b\[[0-9;:]*m")

Show = Callable[[str, str], None]
"""Takes whole lines, and the beginning of the one after them."""


@contextlib.contextmanager
def relayed(terminal: int, show: Show) -> Iterator[None]:
    """Let descriptors 1 and 2, where they are terminals, lead to one of our own, of the size of the given one."""
    descriptors = [each for each in (1, 2) if _is_terminal(each)]
    leader, follower = os.openpty()
    _set_up(follower, terminal)
    end = f"\x1b_{secrets.token_hex(8)}\x1b\\".encode()
    reader = threading.Thread(target=_relay, args=(leader, end, show), name="drystone-terminal", daemon=True)
    _flush()
    saved = {each: os.dup(each) for each in descriptors}
    for each in descriptors:
        os.dup2(follower, each)
    reader.start()
    try:
        yield
    finally:
        _flush()
        for each, original in saved.items():
            os.dup2(original, each)
            os.close(original)
        # Children that live on may hold the follower open, so there would be no end. All before this has been read.
        _write(follower, end)
        reader.join()
        os.close(follower)
        os.close(leader)


def _is_terminal(descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        return os.isatty(descriptor)
    return False


def _set_up(follower: int, terminal: int) -> None:
    attributes = termios.tcgetattr(follower)
    attributes[1] &= ~termios.OPOST  # line feeds stay what they are
    termios.tcsetattr(follower, termios.TCSANOW, attributes)
    with contextlib.suppress(OSError, termios.error):
        termios.tcsetwinsize(follower, termios.tcgetwinsize(terminal))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _relay(leader: int, end: bytes, show: Show) -> None:
    """Show what comes out of a terminal until the end, and read on where nothing can be shown: writers would wait."""
    rest = b""
    is_over = False
    while not is_over:
        rest, ended, _ = (rest + _read(leader)).partition(end)
        is_over = bool(ended)
        lines, feed, rest = rest.rpartition(b"\n")
        lines += feed
        if is_over or len(rest) > LONGEST:
            keep = b"" if is_over else rest[-len(end) :]  # which may be the beginning of the end
            cut = rest[: len(rest) - len(keep)]
            lines, rest = lines + cut + b"\n" * bool(cut), keep
        with contextlib.suppress(Exception):  # whatever it is: this thread must not end before its time
            show(clean(lines.decode("utf-8", "replace")), clean(rest.decode("utf-8", "replace")))


def _read(leader: int) -> bytes:
    """What is there, all of it up to a limit: a terminal gives a few kilobytes at a time."""
    parts = [os.read(leader, 1 << 16)]
    size = len(parts[0])
    while size < CHUNK and select.select([leader], [], [], 0)[0]:
        parts.append(os.read(leader, 1 << 16))
        size += len(parts[-1])
    return b"".join(parts)


def clean(text: str) -> str:
    """Lines as a terminal would show them in the end: what was overwritten is gone, and only colours are kept."""
    if "\r" in text:
        ended = (line.rstrip("\r").rpartition("\r") for line in text.split("\n"))
        text = "\n".join(f"{''.join(COLOURS.findall(over))}{line}" for over, _, line in ended)
    text = OTHERS.sub("", text)
    return f"{text}\x1b[0m" if "\x1b" in text else text
