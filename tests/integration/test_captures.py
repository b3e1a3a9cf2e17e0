"""What steps print, in whatever way and wherever it would have gone: it is in their logs, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drystone import Workspace

Command = Callable[..., Any]

PRINTING = """
import logging, os, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import attrs
from drystone import Orchestrator, Stack, Workspace, pipeline, step
from drystone_local import LocalArtifactStore, LocalOrchestrator

@attrs.frozen(kw_only=True)
class Threaded(Orchestrator):
    def executor(self, run):
        return ThreadPoolExecutor(2)

@step(cache=False)
def first() -> int:
    FIRST
    return 1

@step(cache=False)
def second(n: int) -> int:
    SECOND
    return n

@pipeline
def printing():
    return second(first())

if __name__ == "__main__":
    orchestrator = Threaded() if "threads" in sys.argv else LocalOrchestrator()
    run = printing.with_options(stack=Stack("x", orchestrator=orchestrator, artifact_store=LocalArtifactStore()))()
    LAST
"""


@pytest.fixture
def printing(project: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs a script whose two steps print."""

    def run(
        first: str,
        second: str = "pass",
        last: str = "pass",
        shell: str = '"$0" "$@"',
        threads: bool = False,
        **env: str,
    ) -> subprocess.CompletedProcess[bytes]:
        text = PRINTING
        for name, code in (("FIRST", first), ("SECOND", second), ("LAST", last)):
            text = text.replace(f"    {name}\n", "".join(f"    {line}\n" for line in code.splitlines()))
        (project / "printing.py").write_text(text)
        arguments = [sys.executable, "printing.py", *["threads"] * threads]
        done = subprocess.run(
            ["bash", "-c", shell, *arguments], cwd=project, env={**os.environ, **env}, capture_output=True, check=False
        )
        assert b"Traceback" not in done.stderr, done.stderr
        return done

    return run


def logs(project: Path) -> list[str]:
    workspace = Workspace(project / ".drystone")
    try:
        run = workspace.runs(limit=1)[0]
        assert run.status == "succeeded", run.error
        return [step.logs() for step in run.steps.values()]
    finally:
        workspace.close()


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("shell", ['"$0" "$@" >&-', '"$0" "$@" 2>&-', '"$0" "$@" >&- 2>&- <&-', '"$0" "$@" >/dev/full'])
def test_a_process_without_an_output_keeps_its_logs(
    printing: Command, project: Path, shell: str, threads: bool
) -> None:
    printing("print('one')", "print('two', file=sys.stderr)", "os._exit(0)", shell=shell, threads=threads)
    assert logs(project) == ["one\n", "two\n"]


@pytest.mark.parametrize("threads", [False, True])
def test_a_reader_that_is_gone_does_not_fail_a_step(printing: Command, project: Path, threads: bool) -> None:
    code = "for n in range(20_000): print(n)\nsys.stdout.flush()"
    printing(code, "print('two')", "os._exit(0)", shell='"$0" "$@" | true', threads=threads)
    first, second = logs(project)
    assert first.endswith("19999\n")
    assert second == "two\n"


def test_an_output_that_knows_only_ascii_takes_all(printing: Command, project: Path) -> None:
    done = printing("print('größe 日本')", PYTHONIOENCODING="ascii")
    assert logs(project)[0] == "größe 日本\n"
    assert done.stdout.decode() == "größe 日本\n"


def test_binary_output_is_passed_on_as_it_is(printing: Command, project: Path) -> None:
    done = printing("os.write(1, bytes(range(256)))")
    assert done.stdout == bytes(range(256))
    assert logs(project)[0] == bytes(range(256)).decode("utf-8", "replace")


def test_of_a_hundred_megabytes_both_ends_are_kept(printing: Command, project: Path) -> None:
    code = "os.write(1, b'begin')\nfor _ in range(100): os.write(1, b'x' * (1 << 20))\nos.write(1, b'end')"
    done = printing(code, "print('two')")
    first, second = logs(project)
    assert len(first) < 17 << 20
    assert first.startswith("beginx")
    assert first.endswith("xend")
    assert second == "two\n"
    assert len(done.stdout) < 17 << 20


def test_a_child_that_outlives_its_step_writes_into_no_other_log(printing: Command, project: Path) -> None:
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(0.4); print(\"late\")'])"
    printing(child, "time.sleep(0.9)\nprint('two')")
    assert logs(project) == ["", "two\n"]


def test_a_logging_handler_made_in_a_step_goes_on_working(printing: Command, project: Path) -> None:
    code = "logging.basicConfig(level='INFO', format='%(message)s')\nlogging.info('one')"
    done = printing(code, "logging.info('two')", "logging.info('three')")
    assert logs(project) == ["one\n", "two\n"]
    assert done.stdout + done.stderr == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("threads", [False, True])
def test_a_thread_that_outlives_its_step_goes_on_printing(printing: Command, project: Path, threads: bool) -> None:
    code = """
import contextvars
def late():
    time.sleep(0.4)
    print("late", flush=True)
    globals()["done"] = True
threading.Thread(target=contextvars.copy_context().run, args=(late,)).start()
""".strip()
    done = printing(code, "pass", "time.sleep(1)\nassert done", threads=threads)
    assert done.stdout == b"late\n"
    assert logs(project) == ["", ""]


def test_forked_runs_keep_their_logs_apart(printing: Command, project: Path) -> None:
    code = """
children = []
for n in range(3):
    pid = os.fork()
    if pid == 0:
        os.environ["WHO"] = str(n)
        run = printing()
        os._exit(run.steps["second"].logs() != f"second {n}\\n" * 50)
    children.append(pid)
sys.exit(sum(os.waitpid(pid, 0)[1] for pid in children))
""".strip()
    done = printing("pass", "for _ in range(50): print('second', os.environ.get('WHO'))\ntime.sleep(0.1)", code)
    assert done.returncode == 0
