"""What happens while steps run: what they ask for, who makes what, who stops whom, and what is tried again."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest

from drystone import (
    Orchestrator,
    Retry,
    RunContext,
    Stack,
    Workspace,
    load_artifact,
    log_metadata,
    pipeline,
    save_artifact,
    step,
)
from drystone.errors import NotFoundError, RunCancelledError, RunFailedError, WorkspaceError
from drystone_local import LocalArtifactStore

Python = Callable[..., "subprocess.CompletedProcess[str]"]


@attrs.frozen(kw_only=True)
class ThreadedOrchestrator(Orchestrator):
    """Runs every step in a thread pool."""

    workers: int = 4

    def executor(self, run: RunContext) -> Executor:
        """A pool of threads."""
        return ThreadPoolExecutor(self.workers)


def threaded() -> Stack:
    return Stack("threads", orchestrator=ThreadedOrchestrator(), artifact_store=LocalArtifactStore())


# What a step loads while it runs


@step
def total(factor: int = 1) -> int:
    return factor * sum(load_artifact("prices"))


@pipeline
def invoice():
    return total()


@pytest.mark.parametrize("stack", [None, threaded()], ids=["inline", "threads"])
def test_what_a_step_loads_is_an_input_of_it(project, stack):
    workspace = Workspace.current()
    workspace.save_artifact([1, 2], "prices")
    run = invoice.with_options(stack=stack)()
    assert run.output.load() == 3
    assert run.steps["total"].dynamic_inputs == {"prices@latest": workspace.artifact("prices", 1)}
    assert workspace.lineage(workspace.artifact("prices"))["used_by"][0]["step"] == "total"


def test_a_stored_result_stands_only_while_what_the_step_loaded_means_the_same(project):
    workspace = Workspace.current()
    workspace.save_artifact([1, 2], "prices")
    invoice()
    workspace.save_artifact([1, 2], "prices")
    again = invoice()
    assert again.executed == 0
    assert str(again.steps["total"].dynamic_inputs["prices@latest"]) == "prices@1"
    workspace.save_artifact([1, 2, 3], "prices")
    planned = invoice.plan().steps["total"]
    assert (planned.status, planned.causes[0].kind) == ("run", "dynamic")
    assert planned.causes[0].text == "dynamic input prices 1 → 3"
    assert invoice().output.load() == 6


def test_a_fixed_version_that_a_step_loads_never_changes(project):
    @step
    def first() -> int:
        return sum(load_artifact("prices", 1))

    @pipeline
    def fixed():
        return first()

    workspace = Workspace.current()
    workspace.save_artifact([1, 2], "prices")
    fixed()
    workspace.save_artifact([5], "prices")
    assert fixed().executed == 0


def test_what_is_not_there_to_load_fails_the_step_and_says_what_is(project):
    Workspace.current().save_artifact(1, "price")
    with pytest.raises(RunFailedError, match=r"no artifact named 'prices'.*Did you mean 'price'") as failed:
        invoice()
    assert isinstance(failed.value.__cause__, NotFoundError)


def test_a_step_finds_what_it_has_saved_itself(project):
    @step
    def both() -> list[int]:
        save_artifact([1], "mine")
        save_artifact([2], "mine")
        return load_artifact("mine")

    @pipeline
    def own():
        return both()

    run = own()
    assert run.output.load() == [2]
    assert run.steps["both"].dynamic_inputs == {}


def test_a_plan_leaves_open_what_another_step_may_make_before_it_is_loaded(project):
    @step
    def make(n: int) -> Annotated[list[int], "prices"]:
        return [n]

    @pipeline
    def shop(n: int):
        return total.with_options(after=make(n))()

    shop(1)
    plan = shop.plan(2)
    assert {name: each.status for name, each in plan.steps.items()} == {"make": "run", "total": "maybe"}
    assert shop(2).output.load() == 2
    assert {each.status for each in shop.plan(2).steps.values()} == {"cached"}


ELSEWHERE = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import attrs

from drystone import Orchestrator, Stack, Workspace, load_artifact, pipeline, save_artifact, step
from drystone_local import LocalArtifactStore


@attrs.frozen(kw_only=True)
class Processes(Orchestrator):
    def executor(self, run):
        return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@step
def total(n: int) -> int:
    save_artifact(n, "mine")
    return sum(load_artifact("prices")) + load_artifact("mine") + load_artifact("prices", 1)[0]


@step
def lost() -> int:
    return load_artifact("losses")


@pipeline(on_error="continue")
def both():
    return total(10), total(20), lost()


if __name__ == "__main__":
    Workspace.current().save_artifact([1, 2], "prices")
    try:
        both.with_options(stack=Stack("p", orchestrator=Processes(), artifact_store=LocalArtifactStore()))()
    except Exception as exc:
        print(type(exc.__cause__).__name__, exc)
"""


def test_workers_that_have_only_the_store_ask_through_it(project, python):
    (project / "elsewhere.py").write_text(ELSEWHERE)
    done = python("elsewhere.py")
    assert done.stdout.startswith("NotFoundError Run both-1 failed: step 'lost' raised NotFoundError: There is no")
    run = Workspace.current().run("both-1")
    assert {name: each.status for name, each in run.steps.items()} == {
        "total": "succeeded",
        "total_2": "succeeded",
        "lost": "failed",
    }
    outputs = [run.steps[name].outputs["output"].load() for name in ("total", "total_2")]
    assert outputs == [14, 24]
    assert list(run.steps["total"].dynamic_inputs) == ["prices@latest", "prices@1"]
    assert not [each for each in (project / ".drystone" / "artifacts").rglob("tasks/*/*/*/*/*") if each.is_file()]


# Who makes what


@step
def slow(n: int) -> int:
    with open("executed", "a") as file:
        file.write("x")
    if os.path.exists("gate"):
        open("gate").close()
    return n


def executions(folder: Path) -> int:
    return len((folder / "executed").read_text())


def test_equal_steps_of_one_run_compute_once(project):
    @pipeline
    def twins():
        return [slow(7) for _ in range(6)]

    for stack in (threaded(), None):
        (project / "executed").unlink(missing_ok=True)
        run = twins.with_options(stack=stack, rerun="slow_2" if stack is None else ())()
        assert sorted(each.status for each in run.steps.values()).count("cached") == 5
        assert executions(project) == run.executed == 1
        assert {version.load() for version in run.outputs.values()} == {7}


def test_those_that_wait_for_a_step_that_fails_try_it_themselves(project):
    calls: Iterator[int] = iter(range(10))

    @step
    def once_bad(n: int) -> int:
        if next(calls) == 0:
            raise ValueError("bad luck")
        return n

    @pipeline
    def twins():
        return [once_bad(7) for _ in range(3)]

    with pytest.raises(RunFailedError) as failed:
        twins.with_options(stack=threaded())()
    statuses = sorted(each.status for each in failed.value.run.steps.values())
    assert statuses == ["cached", "failed", "succeeded"]


SHARED = """
from drystone import pipeline, step


@step
def slow(n: int) -> int:
    with open("executed", "a") as file:
        file.write("x")
    print("at the gate", flush=True)
    open("gate").read()
    return n


@pipeline
def one(n: int = 7):
    return slow(n)


if __name__ == "__main__":
    run = one()
    print(run.name, run.steps["slow"].status, run.steps["slow"].cached_from)
"""


@pytest.fixture
def shared(project: Path) -> Path:
    """A project whose step waits until somebody opens the gate."""
    (project / "shared.py").write_text(SHARED)
    os.mkfifo(project / "gate")
    return project


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def last_line(process: subprocess.Popen[str]) -> str:
    """The last thing that a process prints before it ends."""
    return process.communicate(timeout=60)[0].splitlines()[-1]


def eventually(what: Callable[[], Any]) -> Any:
    """What a function says, once that is true."""
    ends = time.monotonic() + 30
    while not (found := what()):
        assert time.monotonic() < ends
        time.sleep(0.02)
    return found


def wait_for_step(name: str, status: str = "running") -> None:
    def is_there() -> bool:
        runs = Workspace.current().runs()
        return any(step.status == status for run in runs if run.name == name for step in run.steps.values())

    eventually(is_there)


def test_two_processes_that_want_the_same_compute_it_once(shared):
    first = started(shared, "shared.py")
    wait_for_step("one-1")
    second = started(shared, "shared.py")
    eventually(lambda: len(Workspace.current().runs()) == 2)
    with open(shared / "gate", "w"):
        pass
    assert last_line(second) == "one-2 cached one-1"
    assert last_line(first) == "one-1 succeeded None"
    assert executions(shared) == 1


def test_who_waits_for_a_run_that_dies_computes_itself(shared):
    first = started(shared, "shared.py")
    wait_for_step("one-1")
    second = started(shared, "shared.py")
    eventually(lambda: len(Workspace.current().runs()) == 2)
    first.kill()
    first.communicate()
    wait_for_step("one-2")
    with open(shared / "gate", "w"):
        pass
    assert last_line(second) == "one-2 succeeded None"
    assert Workspace.current().run("one-1").status == "crashed"


# Who stops whom


def test_a_run_is_cancelled_from_elsewhere_while_it_computes(shared):
    driver = started(shared, "shared.py")
    wait_for_step("one-1")
    Workspace.current().cancel("one-1")
    _, err = driver.communicate(timeout=20)
    run = Workspace.current().run("one-1")
    assert (run.status, run.steps["slow"].status) == ("cancelled", "cancelled")
    assert run.error is not None
    assert run.error.startswith("cancelled by ")
    assert run.steps["slow"].logs() == "at the gate\n"
    assert not list((shared / ".drystone" / "live").glob("*"))
    assert err.splitlines()[-1].startswith("drystone.errors.RunCancelledError: Run one-1 was cancelled by ")


def test_the_command_line_cancels_and_waits_for_the_end(shared, command):
    driver = started(shared, str(Path(sys.executable).with_name("drystone")), "run", "shared.py:one")
    wait_for_step("one-1")
    assert command("cancel", "one-1").out == "one-1 cancelled\n"
    _, err = driver.communicate(timeout=20)
    assert driver.returncode == 1
    assert err.splitlines()[-1].startswith("Error: Run one-1 was cancelled by ")
    assert command("cancel", "one-1").message.startswith("Error: Run one-1 is cancelled; only a running one")
    assert command("cancel", "one-9").code == 2


def test_a_run_whose_driver_is_not_in_the_main_thread_is_cancelled_between_steps(project):
    gate, begun = threading.Event(), threading.Event()

    @step
    def wait(n: int) -> int:
        begun.set()
        gate.wait(20)
        return n

    @pipeline
    def chain():
        return wait(wait(1))

    raised: list[BaseException] = []

    def drive() -> None:
        try:
            chain()
        except RunCancelledError as exc:
            raised.append(exc)

    driver = threading.Thread(target=drive)
    driver.start()
    begun.wait(20)
    Workspace.current().cancel("chain-1")
    threading.Timer(0.5, gate.set).start()
    driver.join(20)
    assert len(raised) == 1
    run = raised[0].run
    assert run.status == "cancelled"
    assert run.steps["wait_2"].status == "cancelled"


def test_only_what_runs_can_be_cancelled(project):
    Workspace.current().save_artifact([1], "prices")
    run = invoice()
    with pytest.raises(WorkspaceError, match=r"invoice-1 is succeeded; only a running one"):
        Workspace.current().cancel(run)
    with pytest.raises(NotFoundError):
        Workspace.current().cancel("invoice-9")


def test_an_interrupted_run_is_resumed(shared):
    driver = started(shared, "shared.py")
    wait_for_step("one-1")
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=20)
    assert Workspace.current().run("one-1").status == "cancelled"
    script = "from drystone import Workspace; print(Workspace.current().resume('one-1').status)"
    again = started(shared, "-c", script)
    wait_for_step("one-1")
    with open(shared / "gate", "w"):
        pass
    assert last_line(again) == "succeeded"


def test_of_several_that_resume_a_run_at_once_one_wins(shared):
    driver = started(shared, "shared.py")
    wait_for_step("one-1")
    driver.kill()
    driver.communicate()
    script = "from drystone import Workspace; print(Workspace.current().resume('one-1').status)"
    rivals = [started(shared, "-c", script) for _ in range(4)]
    eventually(lambda: sum(rival.poll() is not None for rival in rivals) == 3)
    with open(shared / "gate", "w"):
        pass
    said = [rival.communicate(timeout=60) for rival in rivals]
    assert sorted(out.splitlines()[-1:] for out, _ in said) == [[], [], [], ["succeeded"]]
    told = [err.splitlines()[-1] for _, err in said if err]
    assert len(told) == 3
    assert all("running" in line and line.startswith("drystone.errors.WorkspaceError: Run one-1 ") for line in told)


def test_logs_are_read_where_the_workspace_was_moved_to(project, python, tmp_path_factory):
    (project / "said.py").write_text(
        "from drystone import pipeline, step\n\n\n@step\ndef say(n: int) -> int:\n    print('saying', n)\n"
        "    return n\n\n\n@pipeline\ndef said():\n    return say.map([1, 2]), say(3)\n\n\n"
        "if __name__ == '__main__':\n    said()\n"
    )
    assert python("said.py").returncode == 0
    moved = tmp_path_factory.mktemp("elsewhere") / "project"
    project.rename(moved)
    script = (
        "from drystone import Workspace as W; r = W.current().run('said-1'); print(r.steps['say_2'].logs(), end='')"
    )
    assert python("-c", script, cwd=moved).stdout == "saying 3\n"
    project.mkdir()


# What is tried again


def flaky(times: int, error: BaseException, retry: Retry) -> Any:
    """A pipeline whose step fails some times before it succeeds."""
    left = [error] * times

    @step(retries=retry)
    def fail_first() -> int:
        print(f"{len(left)} left")
        log_metadata({"left": len(left)})
        if left:
            raise left.pop()
        return 1

    @pipeline
    def trying():
        return fail_first()

    return trying


def test_every_attempt_is_on_record_with_its_error_its_log_and_what_it_noted(project):
    run = flaky(2, ValueError("not yet"), Retry(2, delay=0))()
    record = run.steps["fail_first"]
    assert (record.status, record.attempts, record.metadata) == ("succeeded", 3, {"left": 0})
    assert [each.attempt for each in record.failed_attempts] == [1, 2]
    assert [each.error for each in record.failed_attempts] == ["ValueError: not yet"] * 2
    assert [each.metadata for each in record.failed_attempts] == [{"left": 2}, {"left": 1}]
    assert all(isinstance(each.ended_at, datetime.datetime) for each in record.failed_attempts)
    assert record.logs() == "0 left\n"
    assert record.logs(attempt=1).startswith("2 left\nTraceback")


@pytest.mark.parametrize(
    ("when", "attempts"),
    [(KeyError, 1), ((KeyError, ValueError), 3), (lambda exc: "not" in str(exc), 3), (lambda exc: False, 1)],
)
def test_only_what_a_retry_covers_is_tried_again(project, when, attempts):
    trying = flaky(9, ValueError("not yet"), Retry(2, delay=0, when=when))
    with pytest.raises(RunFailedError) as failed:
        trying()
    assert failed.value.run.steps["fail_first"].attempts == attempts


def test_a_cached_step_keeps_nothing_of_earlier_attempts(project):
    trying = flaky(1, ValueError("not yet"), Retry(1, delay=0))
    trying()
    assert trying().steps["fail_first"].failed_attempts == ()


# What the debugger is for


def test_a_debugged_step_fails_into_the_debugger_at_its_line(project):
    (project / "bad.py").write_text(
        "from drystone import pipeline, step\n\n\n@step\ndef divide(n: int) -> float:\n    return 1 / n\n\n\n"
        "@pipeline\ndef bad(n: int = 0):\n    return divide(n)\n\n\n"
        'if __name__ == "__main__":\n    bad.with_options(debug=True)()\n'
    )
    done = subprocess.run(
        [sys.executable, "bad.py"], cwd=project, input="p n + 41\nq\n", capture_output=True, text=True, check=False
    )
    assert "-> return 1 / n" in done.stdout
    assert "41" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("drystone.errors.RunFailedError")


ASKING = """
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor

import attrs

from drystone import Orchestrator, Stack, load_artifact, pipeline, step
from drystone_local import LocalArtifactStore


@attrs.frozen(kw_only=True)
class Pooled(Orchestrator):
    def executor(self, run):
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


@step
def asks() -> int:
    open("begun", "w").close()
    while not os.path.exists("gate"):
        threading.Event().wait(0.01)
    return load_artifact("prices")


@pipeline
def asking():
    return asks()


if __name__ == "__main__":
    asking.with_options(stack=Stack("pool", orchestrator=Pooled(), artifact_store=LocalArtifactStore()))()
"""


def test_a_step_elsewhere_that_asks_after_its_run_was_cancelled_is_answered(project):
    (project / "asking.py").write_text(ASKING)
    Workspace.current().save_artifact(3, "prices")
    driver = started(project, "asking.py")
    eventually((project / "begun").exists)
    Workspace.current().cancel("asking-1")
    with pytest.raises(subprocess.TimeoutExpired):  # the step cannot be ended, so its driver waits for it
        driver.communicate(timeout=2)
    (project / "gate").touch()
    _, err = driver.communicate(timeout=30)
    assert "RunCancelledError" in err
