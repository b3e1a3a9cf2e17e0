"""Processes of this machine: who started whom, how much memory they take, and ending them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

LINUX = sys.platform == "linux"

SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""

TRACKER = "resource_tracker"
"""In the command line of the helper that removes shared memory and temporary folders after processes of Python.

It ends by itself once they are gone, so it is not killed with them."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, where the system can do that (Linux)."""
    if LINUX:
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def children(process: int) -> list[int]:
    """The processes that a process of one thread started or adopted."""
    with suppress(OSError), open(f"/proc/{process}/task/{process}/children") as file:
        return [int(each) for each in file.read().split()]
    return [each for each, parent in _parents() if parent == process]


def descendants(root: int) -> list[int]:
    """The processes that a process started, and those they started, parents first."""
    of: dict[int, list[int]] = {}
    for process, parent in _parents():
        of.setdefault(parent, []).append(process)
    found = [root]
    for process in found:  # grows while it is walked through
        found += of.get(process, ())
    return found[1:]


def _parents() -> list[tuple[int, int]]:
    """Every process with its parent; those that have ended and wait to be reaped are left out."""
    if not LINUX:
        listed = _ps("-A", "-o", "pid=,ppid=,stat=")
        return [(int(one), int(parent)) for one, parent, state in map(str.split, listed) if state[0] != "Z"]
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent, *_ = file.read().rpartition(b")")[2].split(None, 2)
                if state != b"Z":
                    found.append((int(name), int(parent)))
    return found


def _ps(*options: str) -> list[str]:
    return subprocess.run(["ps", *options], capture_output=True, text=True, check=False).stdout.splitlines()


def kill(processes: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to those that are still there."""
    for each in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(each, number)


def end(process: int) -> None:
    """Kill a process that leads a session, with everything that it started and that can be found."""
    started = descendants(process)
    kill([process, *(each for each in started if TRACKER not in command(each))])
    if not LINUX:  # where orphans of the session are no descendants
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)


def reaped() -> list[tuple[int, int]]:
    """Children of this process that have ended, with their exit codes, negative for signals."""
    found = []
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append((ended[0], os.waitstatus_to_exitcode(ended[1])))
    return found


def has_children() -> bool:
    """Whether a child of this process is running; those that have ended are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def end_left() -> list[str]:
    """Kill what this process started or adopted, but trackers; returns the command lines."""
    commands: list[str] = []
    while left := {each: command(each) for each in descendants(os.getpid())}:
        left = {each: text for each, text in left.items() if TRACKER not in text}
        if not left:
            break
        commands = commands or [*left.values()]
        kill(left)
        time.sleep(0.001)
        has_children()
    return commands


def end_all(patience: float) -> None:
    """End everything that this process started or adopted.

    Args:
        patience: Seconds for helpers to clean up after what they served.
    """
    until = time.monotonic() + patience
    kill(descendants(os.getpid()), signal.SIGTERM)
    while has_children():
        if time.monotonic() > until:
            kill(descendants(os.getpid()))
        time.sleep(0.005)


def command(process: int) -> str:
    """The command line of a process, in short; empty if it is not known."""
    if not LINUX:
        return " ".join(_ps("-o", "command=", "-p", str(process)))[:200]
    with suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as file:
        return file.read(200).replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def memory(root: int) -> int:
    """Bytes of memory that a process and its descendants take: without pages that only mirror files."""
    processes = (root, *descendants(root))
    if not LINUX:
        return sum(int(each) for each in _ps("-o", "rss=", "-p", ",".join(map(str, processes)))) * 1024
    return sum(_amount(f"/proc/{each}/status", b"RssAnon:", b"RssShmem:", b"VmSwap:") for each in processes)


def exact_memory(root: int) -> int:
    """The same, with pages that several processes share divided among them; slower by far."""
    if not LINUX:
        return memory(root)
    names = (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:")
    exact = sum(_amount(f"/proc/{each}/smaps_rollup", *names) for each in (root, *descendants(root)))
    return exact or memory(root)  # kernels before 5.9 do not say it


def _amount(path: str, *names: bytes) -> int:
    """The sum of some lines of a file of /proc, in bytes; 0 if the process is gone."""
    with suppress(OSError), open(path, "rb") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(names)) * 1024
    return 0
