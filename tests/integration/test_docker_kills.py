"""Kill the driver while containers run: whoever resumes takes what they did, and nothing is left or runs twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

STACKS = """
import os
from drystone import Stack
from drystone_docker import DockerOrchestrator
from drystone_local import LocalArtifactStore

here = os.path.dirname(os.path.abspath(__file__))
default = Stack(
    "boxed",
    orchestrator=DockerOrchestrator(base_image=os.environ["BASE_IMAGE"], volumes={here: here}, workers=4),
    artifact_store=LocalArtifactStore(),
)
"""

WORKS = """
import os, time
from drystone import get_context, pipeline, step
from library import factor

HERE = os.environ.get("MARKS", "")


def mark(folder, text):
    with open(os.path.join(folder, "marks"), "a") as file:
        file.write(text + "\\n")


def wait(folder):
    while not os.path.exists(os.path.join(folder, "go")):
        time.sleep(0.02)


@step(cache=False)
def first(folder: str) -> int:
    mark(folder, "begin first")
    return 1


@step(cache=False)
def slow(n: int, name: str, folder: str) -> int:
    mark(folder, f"begin {name}")
    print(f"{name} works", flush=True)
    wait(folder)
    mark(folder, f"end {name}")
    return n * factor()


@step(cache=False)
def last(a: int, b: int, folder: str) -> int:
    mark(folder, "begin last")
    return a + b


@pipeline
def wall(folder: str):
    one = first(folder)
    left = slow.with_options(name="left")(one, "left", folder)
    right = slow.with_options(name="right")(one, "right", folder)
    return last(left, right, folder)
"""

PATIENCE = 180.0
"""Seconds after which what has not happened will not happen; the image may have to be built first."""


@attrs.frozen
class Yard:
    """A project whose steps run in containers, and wait to be let go."""

    folder: Path
    base_image: str

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("DRYSTONE_")}
        return kept | {"BASE_IMAGE": self.base_image, "DRYSTONE_AUTHOR": "tester@example.org"}

    def drystone(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "drystone_cli", *words]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "drystone_cli", *words]
        with (self.folder.parent / "said").open("a") as said:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, text=True, stdout=said, stderr=said)

    @property
    def marks(self) -> Counter[str]:
        file = self.folder / "marks"
        return Counter(file.read_text().splitlines() if file.exists() else [])

    def await_marks(self, *texts: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.marks.keys() >= {*texts}:
            assert time.monotonic() < deadline, (self.marks, (self.folder.parent / "said").read_text())
            threading.Event().wait(0.02)

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def kill_while_running(self) -> None:
        driver = self.start("run", "works:wall", "--param", f"folder={self.folder}")
        self.await_marks("begin left", "begin right")
        driver.send_signal(signal.SIGKILL)
        driver.wait()

    def resumed(self) -> dict[str, object]:
        done = self.drystone("resume", "wall-1")
        assert done.returncode == 0, done.stdout + done.stderr
        shown = self.drystone("runs", "show", "wall-1", "--json").stdout
        found = json.loads(shown)
        run: dict[str, object] = found[0] if isinstance(found, list) else found
        return run


@pytest.fixture
def yard(tmp_path: Path, base_image: str, containers_left: Callable[..., list[str]]) -> Iterator[Yard]:
    folder = tmp_path / "yard"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "drystone-contract"\nversion = "1"\n')
    (folder / "stacks.py").write_text(STACKS)
    (folder / "works.py").write_text(WORKS)
    (folder / "library.py").write_text("def factor():\n    return 10\n")
    yield Yard(folder, base_image)
    assert containers_left() == []


ONCE = {f"{when} {name}": 1 for name in ("left", "right") for when in ("begin", "end")} | {
    "begin first": 1,
    "begin last": 1,
}


def test_containers_that_still_run_are_taken_over(yard: Yard) -> None:
    yard.kill_while_running()
    threading.Timer(2.0, yard.let_go).start()
    assert yard.resumed()["status"] == "succeeded"
    assert yard.marks == ONCE
    assert yard.drystone("logs", "wall-1", "left").stdout.splitlines()[-1].endswith("left works")


def test_work_that_was_finished_meanwhile_is_taken(yard: Yard) -> None:
    yard.kill_while_running()
    yard.let_go()
    yard.await_marks("end left", "end right")
    assert yard.resumed()["status"] == "succeeded"
    assert yard.marks == ONCE


def test_work_of_code_that_was_edited_meanwhile_is_ended_and_done_anew(yard: Yard) -> None:
    yard.kill_while_running()
    (yard.folder / "library.py").write_text("def factor():\n    return 20\n")
    resuming = yard.start("resume", "wall-1")
    deadline = time.monotonic() + PATIENCE
    while yard.marks["begin left"] < 2 or yard.marks["begin right"] < 2:
        assert time.monotonic() < deadline, (yard.folder.parent / "said").read_text()
        threading.Event().wait(0.02)
    yard.let_go()
    assert resuming.wait(PATIENCE) == 0, (yard.folder.parent / "said").read_text()
    assert yard.marks["end left"] == yard.marks["end right"] == 1
    listed = json.loads(yard.drystone("artifacts", "list", "--json").stdout)
    assert len([each for each in listed if each["name"] == "wall.last"]) == 1


def test_killed_again_and_again_it_completes_with_each_step_done_once(yard: Yard) -> None:
    chance = random.Random(17)
    yard.kill_while_running()
    for _ in range(4):
        driver = yard.start("resume", "wall-1")
        threading.Event().wait(chance.uniform(0.5, 4.0))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    yard.let_go()
    assert yard.resumed()["status"] == "succeeded"
    assert yard.marks == ONCE
