"""Kill the driver of workers at any moment: `resume` completes, every effect is there once, no process is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from drystone import Workspace

KILLS = 50 if os.environ.get("DRYSTONE_REQUIRE_SERVICES") else 10

WIDE = """
import os
import subprocess
import sys
import time
from typing import Annotated

from drystone import Model, log_metadata, pipeline, save_artifact, step


@step
def first(salt: int) -> Annotated[int, "first"]:
    return salt


@step
def wide(x: int, n: int) -> int:
    print("working", n)
    child = subprocess.Popen(["sleep", "300"]) if n % 5 == 0 else None
    time.sleep(0.02)
    save_artifact(n, f"side-{n}")
    log_metadata({f"n{n}": x})
    if child is not None:
        child.kill()
        child.wait()
    return x + n


@step
def joined(xs: list[int]) -> Annotated[int, "joined"]:
    return sum(xs)


@pipeline(model=Model("wides"))
def wides(salt: int):
    start = first(salt)
    left = joined([wide(start, n) for n in range(14)])
    return joined([wide(left, n) for n in range(14, 28)])


if __name__ == "__main__":
    wides(salt=int(sys.argv[1]))
"""


@pytest.fixture
def wide(project: Path) -> Path:
    """A project with a pipeline of thirty steps, most of them side by side."""
    (project / "wide.py").write_text(WIDE)
    return project


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            is_other = entry.name.isdecimal() and int(entry.name) != os.getpid()
            if is_other and os.readlink(entry / "cwd").startswith(str(folder)):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def gone_within(seconds: float, folder: Path) -> list[str]:
    """The processes that still work in a folder after that time, or none as soon as there are none."""
    ends = time.monotonic() + seconds
    while (left := processes_in(folder)) and time.monotonic() < ends:
        time.sleep(0.05)
    return left


def test_a_driver_of_workers_killed_at_any_moment_leaves_nothing_behind_and_is_resumed(wide: Path) -> None:
    chance = random.Random(4)
    for salt in range(KILLS):
        driver = subprocess.Popen([sys.executable, "wide.py", str(salt)], cwd=wide, stdout=subprocess.DEVNULL)
        wait_for_run(salt + 1, driver)
        time.sleep(chance.uniform(0, 1.2))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        assert gone_within(5, wide) == []
        workspace = Workspace.current()
        run = workspace.run(f"wides-{salt + 1}")
        assert run.status in ("crashed", "succeeded")
        if run.status == "crashed":
            resumed = [sys.executable, "-c", f"from drystone import *; Workspace.current().resume({run.name!r})"]
            subprocess.run(resumed, cwd=wide, check=True, capture_output=True, text=True)
        check(workspace, f"wides-{salt + 1}", salt)
        assert gone_within(5, wide) == []
    assert workspace.verify() == []
    subprocess.run([sys.executable, "wide.py", str(KILLS)], cwd=wide, check=True, capture_output=True)
    assert not list((wide / ".drystone" / "live").glob("*"))


def wait_for_run(number: int, driver: subprocess.Popen[Any]) -> None:
    while driver.poll() is None and len(Workspace.current().runs(limit=None)) < number:
        time.sleep(0.01)


def check(workspace: Workspace, name: str, salt: int) -> None:
    """The run is complete, and each of its effects is there exactly once."""
    run = workspace.run(name)
    assert run.status == "succeeded"
    assert {each.status for each in run.steps.values()} <= {"succeeded", "cached"}
    assert run.output.load() == expected(salt)
    made = [str(each) for each in workspace.artifacts(run=name, limit=None)]
    assert len(made) == len(set(made))
    for n in range(28):
        step = f"wide_{n + 1}" if n else "wide"
        sides = workspace.artifacts(name=f"side-{n}", run=name, limit=None)
        assert len(sides) == (run.steps[step].status == "succeeded"), (name, step)
    assert run.model_version is not None
    assert run.model_version.metadata["n27"] == expected_left(salt)


def expected_left(salt: int) -> int:
    return sum(salt + n for n in range(14))


def expected(salt: int) -> int:
    return sum(expected_left(salt) + n for n in range(14, 28))
