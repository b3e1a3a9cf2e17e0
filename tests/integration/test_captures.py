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
from drystone.captures import captured
from drystone.logs import read_log_file

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


GIGABYTE = """
peak, lines = 0, b"y" * 1023 + b"\\n"
for _ in range(1024):
    PRINT
    peak = max(peak, os.fstat(FILE).st_blocks * 512)
assert peak < 512 << 20, f"{peak >> 20} MiB on the disk"
""".strip()


@pytest.mark.parametrize("how", ["os.write(1, lines * 1024)", "print((lines * 1024).decode(), end='')"])
def test_a_step_that_prints_a_gigabyte_does_not_fill_the_disk(printing: Command, project: Path, how: str) -> None:
    printing(GIGABYTE.replace("PRINT", how).replace("FILE", "1"), "print('two')")
    first, second = logs(project)
    assert f"\n… {(1 << 30) - (16 << 20)} bytes left out …\n" in first
    assert second == "two\n"


def test_neither_does_one_in_a_thread(printing: Command, project: Path) -> None:
    code = GIGABYTE.replace("PRINT", "print((lines * 1024).decode(), end='')")
    code = code.replace("FILE", "drystone.captures._log.get().file.fileno()").replace("range(1024)", "range(300)")
    printing(f"import drystone.captures\n{code}", shell='"$0" "$@" >/dev/null', threads=True)
    assert f"\n… {(300 << 20) - (16 << 20)} bytes left out …\n" in logs(project)[0]


def test_what_is_printed_in_different_ways_stays_in_order(printing: Command, project: Path) -> None:
    code = """
for n in range(50):
    print("print", n)
    os.write(1, b"write\\n")
    subprocess.run(["echo", "child"])
    print("error", file=sys.stderr)
""".strip()
    printing(code)
    assert logs(project)[0] == "".join(f"print {n}\nwrite\nchild\nerror\n" for n in range(50))


def test_a_flood_of_lines_is_whole_also_where_the_process_forks_in_it(printing: Command, project: Path) -> None:
    code = """
import warnings
warnings.simplefilter("ignore")  # of forking beside a thread, which is what this is about
for n in range(300_000):
    print(n)
    if n % 50_000 == 25_000:
        pid = os.fork()
        if pid == 0:
            print("child", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
""".strip()
    printing(code)
    lines = logs(project)[0].split()
    assert [line for line in lines if line != "child"] == [str(n) for n in range(300_000)]
    assert lines.count("child") == 6


CAPTURING = """
import os, subprocess, sys
from drystone.captures import captured

with captured(exclusive=True, path=sys.argv[1]) as log:
    print("a print")
    subprocess.run(["echo", "a child"])
    os.write(1, b"a write")
    AND THEN
os.write(1, log.content)
"""


@pytest.fixture
def capturing(project: Path) -> Command:
    """Runs a script that prints into a log file, and returns what the file held before."""

    def run(then: str, path: Path | str) -> subprocess.CompletedProcess[str]:
        (project / "capturing.py").write_text(CAPTURING.replace("AND THEN", then))
        command = [sys.executable, "capturing.py", str(path)]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    return run


PRINTED = "a print\na child\na write"


@pytest.mark.parametrize("death", ["os._exit(3)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_what_a_process_printed_before_it_died_is_in_its_log_file(
    capturing: Command, project: Path, death: str
) -> None:
    path = project / "live" / "of the run" / "step-1.log"
    assert capturing(death, path).stdout == ""
    assert read_log_file(path) == PRINTED.encode()


def test_a_log_file_can_be_read_while_it_grows(capturing: Command, project: Path) -> None:
    path = project / "live" / "step-1.log"
    seen = "assert open(sys.argv[1]).read() == 'a print\\na child\\na write', open(sys.argv[1]).read()"
    assert capturing(seen, path).stdout == PRINTED * 2


def test_a_line_that_has_not_ended_is_seen_as_well(capturing: Command, project: Path) -> None:
    reading = """
    print("50%", end="")
    while not open(sys.argv[1]).read().endswith("50%"): pass"""
    assert capturing(reading.strip(), project / "step-1.log").stdout == (PRINTED + "50%") * 2


def test_a_log_file_takes_the_place_of_one_that_a_dead_attempt_left(capturing: Command, project: Path) -> None:
    path = project / "step-1.log"
    path.write_text("from before")
    orphan = path.open("a")
    capturing("pass", path)
    orphan.write("too late")
    orphan.close()
    assert read_log_file(path) == PRINTED.encode()


@pytest.mark.parametrize("path", ["/proc/none/step-1.log", "pyproject.toml/step-1.log", f"{'x' * 300}.log"])
def test_where_no_log_file_can_be_made_the_log_is_kept_all_the_same(capturing: Command, path: str) -> None:
    assert capturing("pass", path).stdout == PRINTED * 2


def test_the_traceback_stands_at_the_end_of_the_log_file_too(project: Path) -> None:
    path = project / "step-1.log"
    with captured(exclusive=False, path=path) as log:
        print("printed")
        log.postscript = b"Traceback"
    assert log.content == read_log_file(path) == b"printed\nTraceback"
