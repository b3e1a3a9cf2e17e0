"""`drystone logs`: of runs that have ended, and of one that goes on in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drystone import Workspace

DRYSTONE = str(Path(sys.executable).with_name("drystone"))

TALKING = '''
import os, signal, sys
from drystone import Retry, get_context, pipeline, step


def wait(name):
    """Until the test opens the pipe of this name to write to it."""
    open(name).read()


@step
def load() -> int:
    print("loading", flush=True)
    os.write(2, b"from below\\n")
    wait("loaded")
    print("loaded")
    return 1


@step
def fit(n: int) -> int:
    print("fitting")
    print("1%\\r50%\\r100%")
    print("no end", end="")
    return n


@pipeline
def talking():
    return fit(load())


@step
def flood() -> int:
    print("x" * 99 + "\\n", end="" )
    wait("loaded")
    for n in range(300_000):
        print(f"{n:0>99}")
    return 1


@pipeline
def flooding():
    return flood()


@step
def quiet() -> int:
    return 1


@pipeline
def silent():
    return quiet()


@step(retries=Retry(2, delay=0.01))
def shaky() -> int:
    attempt = get_context().attempt
    print("attempt", attempt)
    wait(f"attempt-{attempt}")
    if attempt < 3:
        raise RuntimeError(f"shaken {attempt}")
    return 1


@pipeline
def shaking():
    return shaky()


@step
def fatal() -> int:
    print("last words")
    wait("loaded")
    os.kill(os.getpid(), signal.SIGKILL)


@pipeline
def dying():
    return fatal()


@step
def wrong() -> int:
    print("so far")
    raise RuntimeError("wrong")


@pipeline
def failing():
    return wrong()
'''


@pytest.fixture
def flows(project: Path) -> Path:
    """The project with pipelines whose steps print, and wait for pipes."""
    file = project / "talks.py"
    file.write_text(TALKING)
    for name in ("loaded", "attempt-1", "attempt-2", "attempt-3"):
        os.mkfifo(project / name)
    return file


@pytest.fixture
def start(flows: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command line in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        output = subprocess.DEVNULL if arguments[0] == "run" else subprocess.PIPE  # nobody reads what is passed on
        process = subprocess.Popen([DRYSTONE, *arguments], text=True, stdout=output, stderr=output)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


Start = Callable[..., subprocess.Popen[str]]


def release(name: str) -> None:
    """Let a step go on that waits for a pipe, or wait until one does."""
    with open(name, "w"):
        pass


def begun() -> None:
    """Wait until another process has begun a run."""
    while not Workspace.current().runs():
        time.sleep(0.01)


def follow(start: Start, *arguments: str) -> subprocess.Popen[str]:
    """`drystone logs --follow` of a run that another process has begun and that waits."""
    begun()
    return start("logs", "--follow", *arguments)


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def test_logs_of_a_run_that_goes_on_are_followed_to_its_end(start: Start) -> None:
    run = start("run", "talks:talking")
    following = follow(start, "talking-1")
    assert lines(following, 2) == ["load | loading", "load | from below"]
    release("loaded")
    rest, errors = following.communicate()
    assert rest.splitlines() == ["load | loaded", "fit | fitting", "fit | 100%", "fit | no end"]
    assert (following.returncode, errors) == (0, "")
    assert run.wait() == 0


def test_one_step_is_followed_byte_by_byte(start: Start) -> None:
    start("run", "talks:talking")
    begun()
    threading.Thread(target=release, args=("loaded",), daemon=True).start()
    done = subprocess.run([DRYSTONE, "logs", "-f", "talking-1", "fit"], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"fitting\n1%\r50%\r100%\nno end", b"")


def test_a_log_is_followed_without_loss_while_its_middle_is_freed(start: Start) -> None:
    run = start("run", "talks:flooding")
    following = follow(start, "flooding-1", "flood")
    assert lines(following, 1) == ["x" * 99]
    release("loaded")
    text, _ = following.communicate()
    assert run.wait() == 0
    parts = text.split("\n…")
    numbers = [int(line) for part in parts for line in part.split("\n") if line.isdecimal() and len(line) == 99]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-1] == 299_999
    assert len(parts) > 1 or len(numbers) == 300_000


def test_every_attempt_is_shown(start: Start) -> None:
    start("run", "talks:shaking")
    following = follow(start, "shaking-1")
    assert lines(following, 1) == ["shaky | attempt 1"]
    for attempt in (1, 2, 3):
        release(f"attempt-{attempt}")
    text, _ = following.communicate()
    assert following.returncode == 0
    assert "shaky | RuntimeError: shaken 1\nshaky (attempt 2) | attempt 2\n" in text
    assert text.endswith("shaky (attempt 2) | RuntimeError: shaken 2\nshaky (attempt 3) | attempt 3\n")
    shown = start("logs", "shaking-1", "shaky").communicate()
    assert shown[0].count("attempt 1\n") == shown[0].count("attempt 2\n") == shown[0].count("attempt 3\n") == 1
    assert shown[1] == "--- shaky (attempt 2) ---\n--- shaky (attempt 3) ---\n"
    step = Workspace.current().run("shaking-1").steps["shaky"]
    assert [step.logs(attempt).splitlines()[0] for attempt in (1, 2, 3)] == ["attempt 1", "attempt 2", "attempt 3"]
    assert step.logs() == "attempt 3\n"
    assert Workspace.current().verify() == []


def test_a_follower_learns_that_the_driver_died_and_what_was_printed_until_then(start: Start) -> None:
    run = start("run", "talks:dying")
    following = follow(start, "dying-1")
    assert lines(following, 1) == ["fatal | last words"]
    release("loaded")
    rest, errors = following.communicate()
    assert (following.returncode, rest) == (1, "")
    assert errors.startswith("dying-1 crashed")
    assert run.wait() < 0
    assert Workspace.current().run("dying-1").steps["fatal"].logs() == "last words\n"
    assert start("logs", "dying-1").communicate()[0] == "fatal | last words\n"


def test_what_a_running_step_has_printed_is_in_its_record(start: Start) -> None:
    run = start("run", "talks:talking")
    following = follow(start, "talking-1")
    lines(following, 2)
    assert Workspace.current().run("talking-1").steps["load"].logs() == "loading\nfrom below\n"
    assert start("logs", "talking-1").communicate()[0] == "load | loading\nload | from below\n"
    release("loaded")
    following.communicate()
    assert run.wait() == 0
    assert not (Workspace.current().directory / "live" / "talking-1").exists()


def test_following_a_run_that_failed_ends_with_1(start: Start) -> None:
    assert start("run", "talks:failing").wait() == 1
    following = start("logs", "-f", "failing-1")
    text, errors = following.communicate()
    assert following.returncode == 1
    assert text.startswith("wrong | so far\nwrong | Traceback")
    assert text.endswith("wrong | RuntimeError: wrong\n")
    assert errors == "failing-1 failed: step 'wrong' raised RuntimeError: wrong\n"
    shown = start("logs", "failing-1")
    assert shown.communicate()[0] == text
    assert shown.returncode == 0


@pytest.fixture
def told(flows: Path, python: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Any]:
    """Runs a command line to its end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return python(DRYSTONE, *arguments)

    return run


def test_logs_as_records(told: Callable[..., Any], start: Start) -> None:
    threading.Thread(target=release, args=("loaded",), daemon=True).start()
    assert told("run", "talks:talking").returncode == 0
    assert json.loads(told("logs", "talking-1", "--json").stdout) == [
        {"run": "talking-1", "step": name, "attempt": 1, "ended": True, "log": log}
        for name, log in {
            "load": "loading\nfrom below\nloaded\n",
            "fit": "fitting\n1%\r50%\r100%\nno end",
        }.items()
    ]
    assert json.loads(told("logs", "talking-1", "fit", "--json", "--follow").stdout)[0]["step"] == "fit"


def test_where_nothing_was_printed_that_is_said(told: Callable[..., Any]) -> None:
    told("run", "talks:silent")
    told("run", "talks:silent")
    for arguments, message in {
        ("silent-1",): "silent-1 printed nothing.\n",
        ("silent-1", "quiet"): "quiet printed nothing.\n",
        ("silent-2", "quiet"): "quiet was not run: its result is from silent-1, which has its log.\n",
    }.items():
        found = told("logs", *arguments)
        assert (found.returncode, found.stdout, found.stderr) == (0, "", message)


def test_unknown_names_are_answered_with_known_ones(told: Callable[..., Any]) -> None:
    told("run", "talks:silent")
    for arguments, message in {
        ("silent-2",): "Error: There is no run named 'silent-2' in this workspace. Did you mean 'silent-1'?",
        ("silent-1", "quite"): "Error: Run silent-1 has no step 'quite'. Did you mean 'quiet'?",
    }.items():
        found = told("logs", *arguments)
        assert (found.returncode, found.stdout) == (2, "")
        assert found.stderr.startswith(message)
