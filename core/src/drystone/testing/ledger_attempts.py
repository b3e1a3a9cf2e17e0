"""What the contract of ledgers tries, here and in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from drystone.errors import LedgerConflict
from drystone.ledgers import Commit, next_commit
from drystone.locations import opened_ledger
from drystone.projects import HOME

PATIENCE = 500
"""Conflicts in a row after which a ledger is broken, and not busy."""

STACKS = """
from pathlib import Path

from drystone import FsspecArtifactStore
from drystone.testing import memory_stack

default = memory_stack("contract", artifact_store=FsspecArtifactStore(url=f"file://{Path.cwd()}/blobs"))
"""

FLOW = """
import os
import signal
from pathlib import Path

from drystone import pipeline, step


@step
def first() -> int:
    with Path("firsts").open("a") as file:
        file.write("x")
    return 1


@step
def second(x: int) -> int:
    if not Path("go").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return x + 1


@pipeline
def flow() -> int:
    return second(first())
"""
"""A pipeline whose driver dies in its second step."""


def event(text: str) -> dict[str, Any]:
    """An event that no version of Drystone knows and every one skips."""
    return {"type": "contract", "v": 1, "critical": False, "text": text, "id": os.urandom(4).hex()}


def added(ledger: Any, text: str) -> Commit:
    """The next commit, after it was appended."""
    commit = next_commit(ledger.head(), [event(text)])
    ledger.append(commit)
    return commit


def persistent(ledger: Any, text: str = "again") -> Commit:
    """The next commit, after it was appended at last.

    Raises:
        LedgerConflict: Nobody else can have been faster as often as that.
    """
    for _ in range(PATIENCE):
        with suppress(LedgerConflict):
            return added(ledger, text)
    return added(ledger, text)


def append(url: str, times: str, size: str) -> None:
    """Add commits, and say the identifier of each once it is added."""
    ledger = opened_ledger(url)
    for _ in range(int(times)):
        print(persistent(ledger, "x" * int(size)).id, flush=True)  # noqa: T201 - the parent reads it


def python(code: str, folder: Path, url: str, who: str) -> subprocess.CompletedProcess[str]:
    """What became of a program that works in a folder on the workspace at a URL, as somebody with another home."""
    environment = {**os.environ, HOME: url, "XDG_CACHE_HOME": str(folder / who)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
