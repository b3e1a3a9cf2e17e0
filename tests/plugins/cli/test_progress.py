"""What is seen of a run while it runs. Claims about the live view are about the screen of a terminal, not its codes."""

from __future__ import annotations

import datetime
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pyte
import pytest

from drystone import ArtifactVersion
from drystone.models import StageMove
from drystone.runs import Run, StepRun
from drystone_cli import lanes, live
from drystone_cli.progress import Board, Lines
from drystone_cli.relays import clean

DRYSTONE = str(Path(sys.executable).with_name("drystone"))

PIPELINES = """
import os, sys
from drystone import Retry, pipeline, step

tries = []

@step
def load() -> int:
    print("loaded")
    return 1

@step
def wait(data: int) -> int:
    print("waiting" if not os.environ.get("BAR") else "0 %\\r50 %", end=os.environ.get("BAR", "\\n"), flush=True)
    with open("gate") as gate:
        return len(gate.read())

@step
def flaky(data: int) -> int:
    tries.append(1)
    if len(tries) < 2:
        raise OSError("try again")
    with open("gate") as gate:
        return len(gate.read())

@step
def explode(data: int) -> int:
    raise ValueError("the data is cursed\\nand so are we")

@step
def chatty() -> int:
    for number in range(300):
        print("line", number)
        print("\\x1b[31mred\\x1b[0m\\x1b[2J\\x1b[1;1H error", number, file=sys.stderr)
    os.system("echo from a child")
    return 1

@step
def more(data: int) -> int:
    return data + 1

@step
def use(data: int, other: int) -> int:
    return data

@pipeline
def waiting():
    data = load()
    return use(wait(data), more(data))

@pipeline
def failing():
    data = load()
    return use(explode(data), more(data)), more(data)

@pipeline
def retrying():
    return flaky.with_options(retries=Retry(1, delay=0))(load())

@pipeline
def talking():
    return more(chatty())

@pipeline
def long():
    data = load()
    for _ in range(20):
        data = more(data)
    data = wait(data)
    for _ in range(20):
        data = more(data)
    return data
"""


class Terminal:
    """A command in a terminal of some size, and what is to be seen there."""

    def __init__(self, *command: str, columns: int = 80, lines: int = 24, **environment: str) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=1)
        self._stream = pyte.ByteStream(self.screen)
        self._leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (lines, columns))
        self.settings = termios.tcgetattr(follower)
        self.received = b""
        self.process = subprocess.Popen(
            command,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "TERM": "xterm-256color", **environment},
            preexec_fn=_lead,
        )
        self._follower = follower

    def read(self, pause: float) -> None:
        if select.select([self._leader], [], [], pause)[0]:
            data = os.read(self._leader, 1 << 16)
            self.received += data
            self._stream.feed(data)

    def until(self, *texts: str) -> None:
        """Wait until the screen shows some texts."""
        ending = time.monotonic() + 60
        while not all(re.search(text, self.text) for text in texts):
            assert time.monotonic() < ending, self.text
            self.read(1)

    def end(self) -> int:
        """Wait until the command has ended."""
        while self.process.poll() is None:
            self.read(0.05)
        while select.select([self._leader], [], [], 0)[0]:
            self.read(0)
        return self.process.returncode

    def press(self, keys: bytes) -> None:
        os.write(self._leader, keys)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._leader)
        os.close(self._follower)

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def history(self) -> list[str]:
        """The rows that have left the screen at its top."""
        return ["".join(row[at].data for at in range(self.screen.columns)).rstrip() for row in self.screen.history.top]

    @property
    def colours(self) -> set[str]:
        return {cell.fg for row in self.screen.buffer.values() for cell in row.values()}


def _lead() -> None:
    """Make the terminal that of a session of its own, so that keys typed there reach the command."""
    import fcntl

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def steps(flows: Path) -> Path:
    """The pipelines above, and a gate that some of their steps wait at until it is opened."""
    flows.write_text(PIPELINES)
    os.mkfifo(flows.with_name("gate"))
    return flows.with_name("gate")


@pytest.fixture
def terminal(steps: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts `drystone run` on a pipeline in a terminal."""
    started: list[Terminal] = []

    def start(pipeline: str, **options: Any) -> Terminal:
        started.append(Terminal(DRYSTONE, "run", f"flows:{pipeline}", **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_the_graph_is_shown_with_what_runs_what_is_done_and_what_waits_for_what(terminal, steps):
    shown = terminal("waiting")
    shown.until(r"├─. wait +\d\.\d s\n. │ more", r"\n·─╯ use +after wait")
    assert re.search(r"waiting-1 on stack default  \d of 4 steps  \d\.\d s\n✓   load  succeeded in ", shown.text)
    steps.write_text("go")
    assert shown.end() == 0
    title = next(at for at, row in enumerate(shown.rows) if re.match(r"waiting-1 succeeded in .*: 4 succeeded", row))
    marks = [(row[:4], row[4:].split()[0]) for row in shown.rows[title + 1 : title + 5]]
    assert marks == [("✓   ", "load"), ("├─✓ ", "wait"), ("✓ │ ", "more"), ("✓─╯ ", "use")]


def test_what_steps_print_stands_above_the_view_whole_and_in_order(terminal):
    shown = terminal("talking")
    assert shown.end() == 0
    everything = shown.history + shown.rows
    assert [row for row in everything if row.startswith("line ")] == [f"line {number}" for number in range(300)]
    assert [row for row in everything if row.startswith("red")] == [f"red error {number}" for number in range(300)]
    assert everything.index("from a child") < next(
        at for at, row in enumerate(everything) if row.startswith("talking-1 succeeded")
    )
    assert sum("talking-1 on stack" in row for row in everything) == 0


def test_a_line_that_is_written_over_and_over_is_followed(terminal, steps):
    shown = terminal("waiting", BAR=" ")
    shown.until(r"(?m)^50 %$")
    assert "0 %" not in shown.rows
    steps.write_text("go")
    assert shown.end() == 0
    assert shown.rows.count("50 %") == 1


def test_a_second_run_says_where_its_results_come_from(terminal):
    assert terminal("talking").end() == 0
    shown = terminal("talking")
    assert shown.end() == 0
    assert re.search(r"↺ chatty  cached from talking-1\n↺ more    cached from talking-1\n", shown.text)


def test_failed_and_skipped_steps_say_why_in_one_line(terminal):
    shown = terminal("failing", columns=100)
    assert shown.end() == 1
    assert re.search(r"✗ .*explode +failed in \S+ m?s: ValueError: the data is cursed\n", shown.text)
    assert re.search(r"○.* use +skipped: step 'explode', which it depends on, was failed\n", shown.text)


def test_a_further_attempt_is_counted(terminal, steps):
    shown = terminal("retrying")
    shown.until(r"flaky +\d\.\d s, attempt 2")
    steps.write_text("go")
    assert shown.end() == 0
    assert "attempt 2" in shown.text


def test_of_more_steps_than_rows_those_that_matter_are_shown_and_nothing_is_left_behind(terminal, steps):
    shown = terminal("long", lines=14)
    shown.until(r". wait +\d\.\d s", r"… 1\d more ended, 1\d more waiting")
    assert "more_20" in shown.text
    assert "more_21" in shown.text
    steps.write_text("go")
    assert shown.end() == 0
    assert sum("on stack default  " in row for row in shown.history + shown.rows) == 0
    assert sum("long-1 succeeded" in row for row in shown.history + shown.rows) == 1


def test_a_narrow_terminal_cuts_rows_instead_of_breaking_them(terminal, steps):
    shown = terminal("waiting", columns=22)
    shown.until(r"├─. wait +\d\.\d s")
    assert "waiting-1 on stack de…" in shown.rows
    steps.write_text("go")
    assert shown.end() == 0
    assert sum(row.startswith("waiting-1 ") for row in shown.history + shown.rows) == 1


def test_colours_are_left_out_where_they_are_not_wanted(terminal, steps):
    steps.unlink()
    steps.write_text("go")
    shown = terminal("failing", NO_COLOR="1")
    assert shown.end() == 1
    assert shown.colours == {"default"}
    coloured = terminal("waiting")
    assert coloured.end() == 0
    assert "green" in coloured.colours


def test_a_dumb_terminal_gets_plain_lines(terminal, steps):
    steps.unlink()
    steps.write_text("go")
    shown = terminal("waiting", TERM="dumb")
    assert shown.end() == 0
    assert "  wait: started" in shown.rows
    assert b"\x1b" not in shown.received


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal, steps):
    shown = terminal("waiting")
    shown.until(r"wait +\d\.\d s", "waiting")
    shown.press(b"\x03")
    assert shown.end() == 130
    assert not shown.screen.cursor.hidden
    assert b"\x1b[?1049h" not in shown.received
    assert termios.tcgetattr(shown._follower) == shown.settings
    assert re.search(r"waiting-1 cancelled in .*: 1 succeeded, ", shown.text)
    assert re.search(r"⊘.* wait +cancelled", shown.text)
    assert "Interrupted." in shown.rows


def test_a_killed_run_leaves_the_cursor(terminal, steps):
    shown = terminal("waiting")
    shown.until(r"wait +\d\.\d s")
    shown.process.send_signal(signal.SIGKILL)
    assert shown.end() == -signal.SIGKILL
    assert not shown.screen.cursor.hidden
    assert termios.tcgetattr(shown._follower) == shown.settings


RELAYED = """
import os, subprocess, sys
from drystone_cli.relays import relayed

with relayed(1, lambda lines, partial: os.write(3, lines.encode())):
    child = subprocess.Popen(["sleep", "1000"])
    print(child.pid)
    print("to stderr", file=sys.stderr)
    sys.stdout.write("no end")
print("after")
"""


def test_a_child_that_lives_on_does_not_hold_the_terminal_up(tmp_path):
    lines = tmp_path / "lines"
    script = tmp_path / "script.py"
    script.write_text(RELAYED)
    shown = Terminal("/bin/sh", "-c", f"exec {sys.executable} {script} 3>{lines}")
    try:
        assert shown.end() == 0
        pid, *others = lines.read_text().splitlines()
        os.kill(int(pid), signal.SIGKILL)
        assert others == ["to stderr", "no end"]
        assert shown.rows[0] == "after"
    finally:
        shown.close()


def test_lines_are_shown_as_a_terminal_would_in_the_end():
    assert clean("plain\ttext\n") == "plain\ttext\n"
    assert clean("10 %\r20 %\rdone\r\nnext") == "done\nnext"
    assert clean("\x1b[2J\x1b[3Aup\x1b[31mred\x1b[0m") == "up\x1b[31mred\x1b[0m\x1b[0m"
    assert clean("\x1b]0;title\x07a\x1b(Bb\x07\x08c\x1b[") == "abc"


def step(name: str, status: str, **fields: Any) -> StepRun:
    return StepRun(name=name, run="p-1", status=status, **fields)


NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def run_of(*names: str, status: str = "running", upstream: dict[str, tuple[str, ...]] | None = None) -> Run:
    steps = {name: step(name, "pending") for name in names}
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return Run(
        name="p-1", number=1, pipeline="p", status=status, stack="s", started_at=now, steps=steps,
        upstream=upstream or {},
    )  # fmt: skip


def screen_of(view: live.View, width: int = 100, height: int = 20) -> list[str]:
    from rich.console import Console

    console = Console(file=StringIO(), width=width, height=height, color_system=None)
    with console.capture() as captured:
        console.print(view)
    return [row.rstrip() for row in captured.get().splitlines()]


def test_a_map_is_one_row_that_counts_its_elements():
    view = live.View()
    view.drystone_run_started(run_of("xs", "sq", "total", upstream={"sq": ("xs",), "total": ("sq",)}))
    view.drystone_step_finished(step("xs", "cached", cached_from="p-0"))
    view.drystone_step_started(step("sq", "running", attempts=1, counts={"pending": 10_000}))
    assert re.fullmatch(r"\S sq     ┄{20} 0/10000  \d+\.\d s", screen_of(view)[2])
    for at in range(1, 133):
        counts = {"succeeded": at - 2, "failed": 2, "cached": 5000, "running": 5000 - at}
        view.drystone_step_progressed(step("sq", "running", attempts=1, counts=counts))
    rows = screen_of(view)
    assert len(rows) == 4
    assert re.fullmatch(r"\S sq     ━{10}┄{10} 5132/10000 \(2 failed, 5000 cached\)  \d+\.\d s", rows[2])
    assert re.fullmatch(r"\S sq     5132/10000 \(2 failed, 5000 cached\)  \d+\.\d s", screen_of(view, width=59)[2])
    assert rows[3] == "· total  after sq"
    view.drystone_step_finished(step("sq", "succeeded", counts={"succeeded": 9000, "cached": 1000}))
    assert screen_of(view)[2] == "✓ sq     succeeded: 10000/10000 (1000 cached)"
    view.drystone_step_finished(step("sq", "cached", cached_from="p-0", counts={"cached": 10_000}))
    assert screen_of(view)[2] == "↺ sq     cached from p-0: 10000/10000"
    view.drystone_step_finished(step("sq", "failed", error="2 elements failed", counts={"failed": 2}))
    assert screen_of(view)[2] == "✗ sq     failed: 2 elements failed"


def test_artifacts_with_names_of_their_own_and_promotions_are_shown():
    view = live.View()
    view.drystone_run_started(run_of("fit", "report"))
    for name in ("p.fit", "classifier", "a", "b", "c"):
        saved = ArtifactVersion(
            name=name, version=3, kind="data", manifest=None, created_at=NOW, produced_by=("p-1", "fit")
        )
        view.drystone_artifact_saved(saved)
    view.drystone_step_finished(step("fit", "succeeded"))
    facts = {"model": "walls", "stage": "production", "at": NOW, "author": "ada", "action": "promote"}
    view.drystone_model_promoted(StageMove(number=4, previous=2, **facts))
    rows = screen_of(view, width=100)
    assert rows[1] == "✓ fit     succeeded → classifier@3, a@3, b@3, …"
    assert rows[-1] == "  walls@4 is production now, instead of 2"
    assert len(screen_of(view, height=5)) <= 4


def test_an_event_costs_the_same_however_many_steps_there_are():
    def cost(count: int) -> float:
        board = Board(run_of(*(f"s{at}" for at in range(count))))
        since = time.process_time()
        for at in range(1000):
            board.started(step(f"s{at}", "running"))
            board.finished(step(f"s{at}", "succeeded"))
        return time.process_time() - since

    assert cost(20_000) < 5 * max(cost(1000), 0.002)


def test_events_that_come_too_early_or_of_unknown_steps_disturb_nothing():
    view = live.View()
    view.drystone_step_started(step("early", "running"))
    assert screen_of(view) == []
    view.drystone_run_started(run_of("a", "sq"))
    view.drystone_step_finished(step("sq", "succeeded"))
    view.drystone_step_progressed(step("sq", "running", counts={"running": 3}))
    view.drystone_step_finished(step("late", "succeeded", attempts=1))
    rows = screen_of(view)
    assert rows[0].startswith("p-1 on stack s  2 of 3 steps")
    assert rows[1:] == ["· a", "✓ sq    succeeded", "✓ late  succeeded"]


def test_hundreds_that_run_at_once_do_not_fill_more_than_the_screen():
    view = live.View()
    names = [f"s{at}" for at in range(300)]
    view.drystone_run_started(run_of(*names))
    for name in names:
        view.drystone_step_started(step(name, "running", attempts=1))
    rows = screen_of(view, height=12)
    assert len(rows) <= 11
    assert re.fullmatch(r"  … 29\d more running", rows[-1])


def test_lines_of_a_pipe_tell_each_event_once_and_of_maps_the_first_failure(capsys):
    lines = Lines()
    lines.drystone_run_started(run_of("a", "sq"))
    lines.drystone_step_started(step("a", "running", attempts=1))
    lines.drystone_step_started(step("a", "running", attempts=2))
    lines.drystone_step_finished(step("a", "succeeded", attempts=2))
    for at in range(1000):
        counts = {"succeeded": at, "failed": at // 300, "running": 1000 - at}
        lines.drystone_step_progressed(step("sq", "running", counts=counts))
    lines.drystone_step_finished(step("sq", "failed", error="E: 3 of 1000 elements failed\nthe first\n"))
    lines.drystone_run_finished(run_of("a", "sq", status="failed"))
    assert capsys.readouterr().err.splitlines() == [
        "p-1 on stack s: 2 steps",
        "  a: started",
        "  a: started, attempt 2",
        "  a: succeeded, attempt 2",
        "  sq: 301/1001 (1 failed)",
        "  sq: failed: E: 3 of 1000 elements failed",
        "p-1 failed: 2 pending",
    ]


def test_lines_of_a_pipe_tell_how_far_a_map_is_now_and_then(capsys, monkeypatch):
    lines, now = Lines(), 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for _ in range(45):
        lines.drystone_step_progressed(step("sq", "running", counts={"succeeded": int(now) - 100, "running": 100}))
        now += 1
    assert capsys.readouterr().err.splitlines() == [f"  sq: {done}/{100 + done}" for done in (10, 20, 30, 40)]


def test_a_reader_that_has_gone_does_not_end_the_run(steps):
    steps.unlink()
    steps.write_text("go")
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen([DRYSTONE, "run", "flows:waiting"], stdout=subprocess.PIPE, stderr=writing) as process:
        os.close(writing)
        out = process.communicate()[0].decode()
    assert process.returncode == 0
    assert "4 succeeded" in out


def drawn(upstream: dict[str, list[str]]) -> list[str]:
    names = list(dict.fromkeys([*(each for before in upstream.values() for each in before), *upstream]))
    found = lanes.rows(names, upstream)
    return [f"{row.before}●{row.behind}{name}" for name, row in zip(names, found, strict=True)]


def test_lanes_lead_from_each_step_to_the_last_that_depends_on_it():
    fan = {"a": ["load"], "b": ["load"], "c": ["load"], "end": ["a", "b", "c"]}
    names = ["load", "a", "b", "c", "end"]
    found = lanes.rows(names, fan)
    assert [f"{row.before}●{row.behind}{name}" for name, row in zip(names, found, strict=True)] == [
        "●     load",
        "├─●   a",
        "├─│─● b",
        "● │ │ c",
        "●─┴─╯ end",
    ]


def test_a_chain_is_one_lane_and_steps_on_their_own_share_one():
    assert [row.text for row in lanes.rows(["a", "b", "c"], {"b": ["a"], "c": ["b"]})] == ["● ", "● ", "● "]
    assert [row.text for row in lanes.rows(["a", "b"], {})] == ["● ", "● "]
    assert lanes.rows([], {}) == []
    assert [row.text for row in lanes.rows(["a"], {"a": ["gone"]})] == ["● "]
