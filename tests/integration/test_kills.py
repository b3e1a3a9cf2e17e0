"""Kill the driver at any instant: the workspace opens, tells the truth, and the pipeline completes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest

from drystone import Workspace

CHAIN = """
import sys
from typing import Annotated

from drystone import Model, log_metadata, pipeline, save_artifact, step


@step
def first(salt: int) -> Annotated[int, "one"]:
    print("first")
    return salt


@step
def second(x: int) -> tuple[Annotated[list[int], "two"], Annotated[bytes, "bytes"]]:
    log_metadata({"x": x})
    return list(range(x, x + 1000)), bytes([x % 256]) * 100_000


@step
def third(xs: list[int], data: bytes) -> Annotated[int, "three"]:
    save_artifact({"sum": sum(xs)}, "side")
    return sum(xs) + len(data)


@step
def fourth(x: int) -> Annotated[str, "four"]:
    return str(x)


@step
def fifth(text: str, salt: int) -> Annotated[str, "five"]:
    return text + str(salt)


@pipeline(model=Model("chains"))
def chain(salt: int):
    xs, data = second(first(salt))
    return fifth(fourth(third(xs, data)), salt)


if __name__ == "__main__":
    print(chain(salt=int(sys.argv[1])).output.load())
"""

# Imported by every interpreter that finds it: counts statements of SQL and changes to files, and dies at one of them.
WATCH = """
import atexit, itertools, os, signal, sqlite3, sys

deadly = int(os.environ["DEADLY_INSTANT"])
instants = itertools.count(1)


def tick(*_):
    if next(instants) == deadly:
        os.kill(os.getpid(), signal.SIGKILL)


def watch(event, arguments):
    if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        tick()


def connect(*arguments, opened=sqlite3.connect, **options):
    connection = opened(*arguments, **options)
    connection.set_trace_callback(tick)
    return connection


sqlite3.connect = connect
CHANGES = {"os.link", "os.mkdir", "os.remove", "os.rename", "os.truncate", "fcntl.lockf"}
sys.addaudithook(watch)
if not deadly:
    atexit.register(lambda: print(next(instants) - 1, file=open("instants", "w")))
"""

OUTPUTS = ("one", "two", "bytes", "three", "four", "five", "side")
"""The artifacts of which every completed chain has one version."""


def expected(salt: int) -> str:
    """What a chain with this salt makes."""
    return str(sum(range(salt, salt + 1000)) + 100_000) + str(salt)


@attrs.define
class Chains:
    """A project whose chains are killed, and completed, one after the other."""

    project: Path
    completed: int = 0

    def start(self, *arguments: str, deadly: int | None = None) -> subprocess.Popen[str]:
        """Start a process that dies at the given instant; 0 counts them, None does not watch."""
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        if deadly is not None:
            environment |= {"PYTHONPATH": str(self.project / "watch"), "DEADLY_INSTANT": str(deadly)}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def done(self, *arguments: str, deadly: int | None = None) -> tuple[int, str]:
        """What became of such a process: its exit code, and the last line that it printed."""
        process = self.start(*arguments, deadly=deadly)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), err
        return process.returncode, (out.splitlines() or [""])[-1]

    def instants(self) -> int:
        """How many instants a run has, in a workspace that is there already."""
        self.complete(1000, by_resuming=False)
        assert self.done("chain.py", "1001", deadly=0) == (0, expected(1001))
        self.completed += 1
        total = int((self.project / "instants").read_text())
        assert total > 50, "statements of SQL and changes to files are seen"
        return total

    def check(self) -> str | None:
        """The workspace opens and is whole, all numbers are dense; returns the name of a crashed newest run."""
        workspace = Workspace(self.project / ".drystone")
        try:
            assert workspace.verify() == []
            runs = workspace.runs(limit=None)
            assert [run.number for run in runs] == list(range(len(runs), 0, -1))
            assert {run.status for run in runs} <= {"crashed", "succeeded"}
            for name in OUTPUTS:
                versions = [each.version for each in workspace.artifacts(name=name, limit=None)]
                assert versions == list(range(len(versions), 0, -1))
                assert len(versions) - self.completed in (0, 1), "an effect happens once, however often its step ran"
            models = [each.name for each in workspace.models()]
            numbers = [each.number for name in models for each in workspace.model_versions(name, limit=None)]
            assert numbers == list(range(len(numbers), 0, -1))
            assert len(numbers) <= len(runs), "a run makes one model version, however often it is resumed"
            return runs[0].name if runs and runs[0].status == "crashed" else None
        finally:
            workspace.close()

    def complete(self, salt: int, *, by_resuming: bool) -> None:
        """Complete what was killed, in one of two ways; both make each version once."""
        crashed = self.check()
        if crashed is not None and by_resuming:
            resume = f"from drystone import Workspace; print(Workspace.current().resume({crashed!r}).output.load())"
            assert self.done("-c", resume) == (0, expected(salt))
        else:
            assert self.done("chain.py", str(salt)) == (0, expected(salt))
        self.completed += 1
        assert self.check() is None
        workspace = Workspace(self.project / ".drystone")
        assert {len(workspace.artifacts(name=name, limit=None)) for name in OUTPUTS} == {self.completed}
        workspace.close()


@pytest.fixture
def chains(project: Path) -> Chains:
    """An empty project with the chain."""
    (project / "chain.py").write_text(CHAIN)
    (project / "watch").mkdir()
    (project / "watch/sitecustomize.py").write_text(WATCH)
    return Chains(project)


def strata(total: int, count: int, chance: random.Random) -> list[int]:
    """One random number from each of `count` equal parts of 1 … total."""
    return [chance.randint(1 + total * part // count, total * (part + 1) // count) for part in range(count)]


def test_a_run_killed_at_any_of_its_writes_is_completed(chains: Chains) -> None:
    chance = random.Random(20260101)
    total, killed = chains.instants(), 0
    for salt, instant in enumerate(strata(total, 10, chance)):
        killed += chains.done("chain.py", str(salt), deadly=instant)[0] == -signal.SIGKILL
        chains.complete(salt, by_resuming=bool(salt % 2))
    assert killed >= 8, "a run that is faster commits less often, and so may be done before its instant comes"


def test_a_run_killed_while_its_workspace_is_made_is_completed(chains: Chains, tmp_path: Path) -> None:
    for salt, instant in enumerate((2, 9, 25)):
        place = tmp_path / f"fresh-{salt}"
        place.mkdir()
        fresh = Chains(place)
        for name in ("chain.py", "pyproject.toml"):
            (place / name).write_text((tmp_path / name).read_text())
        (place / "watch").symlink_to(tmp_path / "watch")
        assert fresh.done("chain.py", str(salt), deadly=instant)[0] == -signal.SIGKILL
        fresh.complete(salt, by_resuming=True)


def test_a_resumed_run_killed_again_is_completed(chains: Chains) -> None:
    chance = random.Random(7)
    total = chains.instants()
    for salt in (1, 2):
        instants = sorted(chance.sample(range(total // 4, total * 3 // 4), 3))
        chains.done("chain.py", str(salt), deadly=instants[0])
        for instant in instants[1:]:
            crashed = chains.check()
            resume = f"from drystone import Workspace; Workspace.current().resume({crashed!r})"
            if crashed is not None:
                chains.done("-c", resume, deadly=instant)
        chains.complete(salt, by_resuming=True)


def test_a_run_killed_after_any_time_is_completed(chains: Chains) -> None:
    chance = random.Random(42)
    began = time.monotonic()
    chains.complete(1000, by_resuming=False)
    whole = time.monotonic() - began
    for salt in range(5):
        process = chains.start("chain.py", str(salt))
        time.sleep(chance.uniform(0.3, 1.0) * whole)
        process.kill()
        process.communicate(timeout=60)
        chains.complete(salt, by_resuming=bool(salt % 2))
