"""`--detach`: runs that go on without the terminal they were started from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drystone import Workspace

DRYSTONE = str(Path(sys.executable).with_name("drystone"))

WAITING = """
import os, sys
from drystone import pipeline, step


@step
def ask(n: int = 1) -> str:
    print("asking", n, "on a terminal" if os.isatty(0) or os.isatty(1) else "in the background", flush=True)
    assert sys.stdin.read() == ""
    assert os.getsid(0) == os.getpid()
    return open("answer").read()


@pipeline
def waiting(n: int = 1):
    return ask(n)


@step
def answer() -> int:
    if os.path.exists("broken"):
        raise RuntimeError("broken")
    return 42


@pipeline
def short():
    return answer()
"""

Told = Callable[..., subprocess.CompletedProcess[str]]


CONTROLLED = """
import fcntl, subprocess, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
subprocess.run(sys.argv[1:], check=True)
print("closing", flush=True)
signal.pause()
"""
"""Leads a session on a terminal of its own, as a shell does, and dies when that is closed."""


@pytest.fixture
def told(project: Path, python: Told) -> Iterator[Told]:
    """Runs a command line to its end; what it has left in the background is ended after the test."""
    (project / "waits.py").write_text(WAITING)
    os.mkfifo(project / "answer")

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return python(DRYSTONE, *arguments, **options)

    yield run
    for each in Workspace.current().runs(status="running"):
        run("cancel", each.name)


def answered(text: str) -> None:
    """Let the step go on."""
    Path("answer").write_text(text)


def test_a_detached_run_is_named_and_goes_on(told: Told) -> None:
    found = told("run", "waits:waiting", "--detach", "--param", "n=7")
    assert found.returncode == 0, found.stderr
    first, follow, cancel, output = found.stdout.splitlines()
    assert first.startswith("waiting-1 runs in the background, as process ")
    assert follow == "follow:  drystone logs waiting-1 --follow"
    assert cancel == "cancel:  drystone cancel waiting-1"
    assert Workspace.current().run("waiting-1").status == "running"
    answered("yes")
    followed = told(*follow.split()[2:])
    assert (followed.returncode, followed.stdout) == (0, "ask | asking 7 in the background\n")
    assert Workspace.current().run("waiting-1").output.load() == "yes"
    written = Path(output.split()[1])
    assert written == Workspace.current().directory / "detached" / "waiting-1.log"
    while "status:   succeeded" not in written.read_text():
        time.sleep(0.01)
    assert "ask: succeeded in " in written.read_text()


def test_it_survives_the_terminal(told: Told) -> None:
    terminal, follower = os.openpty()
    command = [sys.executable, "-c", CONTROLLED, DRYSTONE, "run", "waits:waiting", "--detach"]
    shell = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    said = b""
    while b"closing" not in said:
        said += os.read(terminal, 1000)
    assert b"waiting-1 runs in the background" in said
    os.close(terminal)
    assert shell.wait() == -signal.SIGHUP
    answered("still here")
    assert told("logs", "waiting-1", "--follow").returncode == 0
    assert Workspace.current().run("waiting-1").output.load() == "still here"


def test_it_is_cancelled_from_another_terminal(told: Told) -> None:
    told("run", "waits:waiting", "--detach")
    assert told("cancel", "waiting-1").stdout == "waiting-1 cancelled\n"
    followed = told("logs", "-f", "waiting-1")
    assert followed.returncode == 1
    assert "waiting-1 cancelled" in followed.stderr


def test_what_cannot_start_says_why_and_leaves_nothing(told: Told) -> None:
    for arguments, (code, message) in {
        ("waits:wating",): (2, "Error: waits has no pipeline 'wating'. Did you mean 'waiting'?"),
        ("waits:waiting", "-p", "n=x"): (2, "Error: --param n: it takes a whole number, not 'x'."),
        ("waits:waiting", "--rerun", "x"): (1, "Error: There is no step 'x' to rerun."),
        ("waits:waiting", "--debug"): (2, "Error: --debug needs the terminal that --detach leaves."),
    }.items():
        found = told("run", "--detach", *arguments)
        assert (found.returncode, found.stdout) == (code, "")
        assert message in found.stderr
    assert Workspace.current().runs() == []
    assert list((Workspace.current().directory / "detached").iterdir()) == []


def test_a_process_that_dies_before_it_has_a_run_is_told_of(told: Told, project: Path) -> None:
    (project / "dies.py").write_text("import os, sys\nprint('importing', flush=True)\nos.kill(os.getpid(), 9)\n")
    found = told("run", "dies:pipeline", "--detach")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "importing\nError: The process in the background ended with -9, before the run began.\n"


def test_a_detached_run_as_a_record(told: Told) -> None:
    (record,) = json.loads(told("run", "waits:short", "--json", "--detach").stdout)
    assert record["run"] == "short-1"
    assert record["output"] == str(Workspace.current().directory / "detached" / "short-1.log")
    assert told("logs", "-f", "short-1").returncode == 0


def test_a_run_is_resumed_in_the_background_too(told: Told, project: Path) -> None:
    (project / "broken").touch()
    assert told("run", "waits:short", "--detach").returncode == 0
    assert told("logs", "-f", "short-1").returncode == 1
    (project / "broken").unlink()
    found = told("resume", "short-1", "--detach")
    assert found.stdout.startswith("short-1 runs in the background")
    assert told("logs", "-f", "short-1").returncode == 0
    kept = {path.name for path in (Workspace.current().directory / "detached").iterdir()}
    assert kept == {"short-1.log", "short-1-resumed-1.log"}
    assert "RuntimeError: broken" in (Workspace.current().directory / "detached" / "short-1.log").read_text()
