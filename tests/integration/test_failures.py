"""Whatever fails, and wherever: what is on record is true, and `resume` goes on from there."""

from __future__ import annotations

import concurrent.futures
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import attrs
import pytest

from drystone import (
    Artifact,
    Model,
    Orchestrator,
    Retry,
    RunContext,
    Stack,
    Workspace,
    log_metadata,
    pipeline,
    step,
)
from drystone.databases import Database
from drystone.errors import ArtifactStoreError, PlanError, RunFailedError, StageError, WorkspaceError
from drystone_local import LocalArtifactStore, LocalOrchestrator

Command = Callable[..., Any]


@attrs.frozen(kw_only=True)
class ThreadedOrchestrator(Orchestrator):
    """Runs every step in a thread pool."""

    workers: int = 2

    def executor(self, run: RunContext) -> Executor:
        """A pool of threads."""
        return ThreadPoolExecutor(self.workers)


class Broken(Executor):
    """Fails where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it, or not."""
        if self.where == "submit":
            raise RuntimeError("no submitting")
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End, or not."""
        if self.where == "shutdown":
            raise RuntimeError("no shutting down")


@attrs.frozen(kw_only=True)
class BrokenOrchestrator(Orchestrator):
    """Has an executor that fails."""

    where: str

    def executor(self, run: RunContext) -> Executor:
        """The executor."""
        return Broken(self.where)


def stack(orchestrator: Orchestrator) -> Stack:
    return Stack("special", orchestrator=orchestrator, artifact_store=LocalArtifactStore())


threaded = stack(ThreadedOrchestrator())


@step
def number(n: int) -> int:
    return n


@step
def double(x: int) -> int:
    log_metadata({"x": x})
    return 2 * x


def statuses(run: Any) -> dict[str, str]:
    return {name: each.status for name, each in run.steps.items()}


def last(workspace: Workspace) -> Any:
    assert workspace.verify() == []
    return workspace.runs(limit=1)[0]


# --- what a step raises -----------------------------------------------------------------------------------------------


class MuteError(Exception):
    """Has no message."""

    def __str__(self) -> str:
        raise ValueError("speechless")


class Panic(BaseException):
    """As libraries written in Rust raise it."""


def raising(exception: Callable[[], BaseException]) -> Any:
    @step
    def bad(x: int) -> int:
        print("before")
        raise exception()

    @pipeline
    def failing() -> Any:
        return double(bad(number(1)))

    return failing


@pytest.mark.parametrize("where", ["default", "threaded"])
@pytest.mark.parametrize("exception", [MuteError, Panic, concurrent.futures.CancelledError, SystemExit])
def test_whatever_a_step_raises_fails_it(
    workspace: Workspace, where: str, exception: Callable[[], BaseException]
) -> None:
    failing = raising(exception)
    with pytest.raises(RunFailedError) as info:
        (failing.with_options(stack=threaded) if where == "threaded" else failing)()
    run = info.value.run
    assert type(info.value.__cause__) is type(exception())
    assert statuses(run) == {"number": "succeeded", "bad": "failed", "double": "skipped"}
    assert "raise exception()" in run.steps["bad"].logs()
    assert run.steps["bad"].logs().startswith("before\n")


def test_an_error_of_any_size_is_kept_in_part(workspace: Workspace) -> None:
    with pytest.raises(RunFailedError) as info:
        raising(lambda: ValueError("x" * 3_000_000 + "the end"))()
    run = info.value.run
    assert len(run.error) < 50_000
    assert len(run.steps["bad"].error) < 50_000
    assert run.error.endswith("the end")
    assert len(run.steps["bad"].logs()) > 3_000_000


# --- interrupts -------------------------------------------------------------------------------------------------------


def interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_an_interrupt_inside_a_step_cancels_it_and_keeps_what_was_done(workspace: Workspace) -> None:
    with pytest.raises(KeyboardInterrupt):
        raising(KeyboardInterrupt)()
    run = last(workspace)
    assert (run.status, run.error, run.executed) == ("cancelled", "interrupted", 2)
    assert statuses(run) == {"number": "succeeded", "bad": "cancelled", "double": "cancelled"}
    assert run.steps["number"].outputs["output"].load() == 1


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_interrupt_around_a_commit_leaves_the_truth(workspace: Workspace, where: str) -> None:
    """The commit with the first step's result may or may not have landed; what is recorded says which."""
    committed, calls = Workspace.commit, []

    def commit(self: Workspace, decide: Any, **options: Any) -> Any:
        calls.append(decide)
        third = len(calls) == 3  # after the start of the run and of its first step
        done = committed(self, lambda view: interrupted(decide(view)) if third and where == "before" else decide(view))
        return interrupted() if third else done

    @pipeline(model=Model("m"))
    def doubling(n: int) -> Any:
        return double(number(n)), number(n)

    with mock.patch.object(Workspace, "commit", commit), pytest.raises(KeyboardInterrupt):
        doubling(n=1)
    run = last(workspace)
    assert run.status == "cancelled"
    landed = "succeeded" if where == "after" else "cancelled"
    assert statuses(run)["number"] == landed
    assert [each.version for each in workspace.artifacts(name="doubling.number")] == [1] * (where == "after")
    assert run.outputs == {}
    again = doubling(n=1)
    assert again.steps["number"].outputs["output"].version == 1
    assert workspace.run(run.name).outputs == {}
    assert workspace.verify() == []


def test_an_interrupt_with_threads_starts_nothing_more(project: Path) -> None:
    (project / "many.py").write_text(
        """
import os, pathlib, signal, time
from concurrent.futures import ThreadPoolExecutor
import attrs
from drystone import *
from drystone_local import LocalArtifactStore

@attrs.frozen(kw_only=True)
class Threaded(Orchestrator):
    def executor(self, run):
        return ThreadPoolExecutor(2)

@step
def slow(n: int) -> int:
    pathlib.Path(f"started-{n}").touch()
    if n == 4:
        time.sleep(0.5)  # the driver has handed over everything, and waits
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    return n

@pipeline
def many():
    for n in range(20):
        slow(n)

try:
    many.with_options(stack=Stack("t", orchestrator=Threaded(), artifact_store=LocalArtifactStore()))()
except KeyboardInterrupt:
    run = Workspace.current().runs()[0]
    print(run.status, sorted({each.status for each in run.steps.values()}))
"""
    )
    done = subprocess.run([sys.executable, "many.py"], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout == "cancelled ['cancelled', 'succeeded']\n", done.stderr
    assert len(list(project.glob("started-*"))) < 12


# --- what is behind a run ---------------------------------------------------------------------------------------------


def test_an_executor_that_takes_no_step_fails_it(workspace: Workspace) -> None:
    @pipeline
    def doubling() -> Any:
        return double(number(1))

    with pytest.raises(RunFailedError, match="step 'number' raised RuntimeError: no submitting"):
        doubling.with_options(stack=stack(BrokenOrchestrator(where="submit")))()
    assert statuses(last(workspace)) == {"number": "failed", "double": "skipped"}
    assert doubling().output.load() == 2


def test_an_executor_that_does_not_end_loses_no_result(workspace: Workspace) -> None:
    @pipeline
    def doubling() -> Any:
        return double(number(1))

    with pytest.raises(RuntimeError, match="no shutting down"):
        doubling.with_options(stack=stack(BrokenOrchestrator(where="shutdown")))()
    run = last(workspace)
    assert (run.status, set(statuses(run).values())) == ("crashed", {"succeeded"})
    assert doubling().executed == 0


@pytest.mark.parametrize("which", ["output", "log"])
def test_a_store_that_fails_while_saving_fails_the_step(workspace: Workspace, which: str) -> None:
    written = LocalArtifactStore.write

    def write(self: LocalArtifactStore, key: str, data: bytes) -> None:
        if (b"before" in data) == (which == "log"):
            raise ArtifactStoreError("the store is down")
        written(self, key, data)

    @step
    def chatty() -> int:
        print("before")
        return 1

    @pipeline
    def chatting() -> Any:
        return chatty()

    with (
        mock.patch.object(LocalArtifactStore, "write", write),
        pytest.raises(RunFailedError, match="ArtifactStoreError: the store is down"),
    ):
        chatting()
    assert workspace.artifacts() == []
    assert chatting().output.load() == 1


def test_a_log_that_cannot_be_stored_does_not_hide_why_a_step_failed(workspace: Workspace) -> None:
    def write(self: LocalArtifactStore, key: str, data: bytes) -> None:
        if b"before" in data:
            raise ArtifactStoreError("the store is down")
        written(self, key, data)

    written = LocalArtifactStore.write
    with (
        mock.patch.object(LocalArtifactStore, "write", write),
        pytest.raises(RunFailedError, match="step 'bad' raised ValueError: no luck"),
    ):
        raising(lambda: ValueError("no luck"))()
    assert "raise exception()" in last(workspace).steps["bad"].error


@pytest.mark.parametrize("exception", [MuteError, SystemExit, Panic])
def test_whatever_a_hook_raises_is_noted_and_changes_nothing(
    workspace: Workspace, exception: Callable[[], BaseException]
) -> None:
    def hook(record: Any) -> None:
        raise exception()

    @pipeline(on_success=hook)
    def hooked() -> Any:
        return double.with_options(on_success=hook)(number(1))

    run = hooked()
    assert run.status == "succeeded"
    assert len(run.metadata["hook_errors"]) == 2
    assert type(exception()).__name__ in run.metadata["hook_errors"][0]


def test_a_ledger_that_fails_for_a_while_tells_no_lies(workspace: Workspace) -> None:
    calls = []
    transaction = Database.transaction

    def failing(self: Database) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise WorkspaceError("the disk is full")
        return transaction(self)

    @pipeline(model=Model("m"))
    def doubling(n: int) -> Any:
        return double(number(n)), number(n)

    with mock.patch.object(Database, "transaction", failing), pytest.raises(WorkspaceError, match="the disk is full"):
        doubling(n=1)
    run = last(workspace)
    assert run.status == "crashed"
    assert set(statuses(run).values()) == {"cancelled"}
    assert (run.outputs, run.executed) == ({}, 1)
    assert [each.number for each in workspace.model_versions("m")] == [1]
    assert doubling(n=1).status == "succeeded"


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_after_a_failure_that_stops_nothing_is_started_nor_tried_again(workspace: Workspace, tmp_path: Path) -> None:
    tried = tmp_path / "tried"

    @step(cache=False)
    def flaky(path: str) -> int:
        with open(path, "a") as file:
            file.write("x")
        raise OSError("again")

    @step
    def bad() -> int:
        raise ValueError("no luck")

    @pipeline(on_error="stop")
    def stopping() -> Any:
        return flaky.with_options(retries=Retry(3, delay=0.2))(str(tried)), bad(), number(1)

    with pytest.raises(RunFailedError, match="step 'bad' raised ValueError"):
        stopping()
    assert statuses(last(workspace)) == {"flaky": "cancelled", "bad": "failed", "number": "cancelled"}
    assert last(workspace).steps["flaky"].error == "step 'bad' failed"
    assert tried.read_text() == "x"


def test_what_waits_in_a_pool_is_not_started_after_a_failure_that_stops(workspace: Workspace, tmp_path: Path) -> None:
    @step
    def slow(n: int, place: str) -> int:
        Path(place, f"started-{n}").touch()
        time.sleep(0.2)
        if n == 0:
            raise ValueError("no luck")
        return n

    @pipeline(on_error="stop")
    def stopping() -> Any:
        for n in range(20):
            slow(n, str(tmp_path))

    with pytest.raises(RunFailedError):
        stopping.with_options(stack=threaded)()
    run = last(workspace)
    started = len(list(tmp_path.glob("started-*")))
    assert started <= 5
    assert list(statuses(run).values()).count("cancelled") == 20 - started
    assert run.executed == started


def test_what_is_done_is_committed_while_a_retry_waits(workspace: Workspace, project: Path) -> None:
    seen: list[str] = []

    @step(cache=False)
    def flaky(done: int) -> int:
        raise OSError("again")

    @pipeline
    def waiting() -> Any:
        flaky.with_options(retries=Retry(1, delay=1.5))(0)
        return number(5)

    store = LocalArtifactStore()
    here = Stack("here", orchestrator=LocalOrchestrator(isolation="inline"), artifact_store=store)

    def look() -> None:
        seen.append(last(workspace).steps["number"].status)

    timer = threading.Timer(0.8, look)
    timer.start()
    with pytest.raises(RunFailedError):
        waiting.with_options(stack=here)()
    timer.join()
    assert seen == ["succeeded"]


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_resumed_run_keeps_its_model_version(project: Path, python: Command, command: Command) -> None:
    (project / "train.py").write_text(
        """
import os
from drystone import Model, log_metadata, pipeline, step

@step
def first(n: int) -> int:
    log_metadata({"n": n})
    return n

@step
def second(n: int) -> int:
    if not os.path.exists("go"):
        raise ValueError("not yet")
    log_metadata({"m": n})
    return n

@pipeline(model=Model("m"))
def training(n: int = 1):
    return second(first(n))

if __name__ == "__main__":
    training()
"""
    )
    assert python("train.py").returncode == 1
    (project / "go").touch()
    assert command("resume", "training-1").code == 0
    workspace = Workspace(project / ".drystone")
    version = workspace.model_version("m")
    assert [each.number for each in workspace.model_versions("m")] == [1]
    assert set(version.artifacts) == {"training.first", "training.second"}
    assert version.metadata == {"n": 1, "m": 1}
    assert workspace.run("training-1").model_version.number == 1
    workspace.close()


def test_a_cached_run_reports_the_version_that_holds_its_outputs(workspace: Workspace) -> None:
    @step
    def parity(n: int) -> int:
        return n % 2

    @pipeline(model=Model("m"))
    def training(n: int) -> Any:
        return double(parity(n))

    @pipeline
    def other(n: int) -> Any:
        return parity(n)

    assert training(n=2).model_version.number == 1
    assert training(n=4).model_version.number == 2  # parity alone was executed
    again = training(n=4)
    assert (again.executed, again.model_version.number) == (0, 2)
    other(n=6)
    assert training(n=6).model_version is not None  # both results come from the cache, one of another pipeline


def test_a_cached_run_whose_outputs_no_version_holds_reports_none(workspace: Workspace) -> None:
    @pipeline(model=Model("m"))
    def training(n: int, x: int) -> Any:
        return number(n), double(x)

    training(n=1, x=1), training(n=2, x=2)
    run = training(n=1, x=2)
    assert (run.executed, run.model_version) == (0, None)


def test_two_runs_do_not_give_one_name_to_two_versions(workspace: Workspace) -> None:
    @pipeline(model=Model("m"))
    def training(n: int) -> Any:
        return number(n)

    @step
    def meanwhile(n: int) -> int:
        return n

    entered = Workspace.commit

    def commit(self: Workspace, decide: Any, **options: Any) -> Any:
        done = entered(self, decide, **options)
        if done is not None and done.events[0]["type"] == "run.started":
            entered(self, lambda view: [created])
        return done

    from drystone.events import ModelVersionCreated

    created = ModelVersionCreated(model="m", number=1, name="baseline")
    with mock.patch.object(Workspace, "commit", commit), pytest.raises(StageError, match="already named 'baseline'"):
        training.with_options(version="baseline")(n=1)
    assert [each.name for each in workspace.model_versions("m")] == ["baseline"]
    assert last(workspace).status == "crashed"


def test_new_tags_of_a_model_are_recorded(workspace: Workspace) -> None:
    for team in ("a", "b", "b"):

        @pipeline(model=Model("m", tags={"team": team}))
        def training(n: int) -> Any:
            return number(n)

        training(n=1)
    assert workspace.models()[0].tags == {"team": "b"}
    assert workspace.models(tag="team=a") == []
    assert [each.name for each in workspace.models(tag="team=b")] == ["m"]


# --- resuming ---------------------------------------------------------------------------------------------------------

RESUMED = """
import os, sys
from typing import Any
from drystone import Artifact, Workspace, pipeline, save_artifact, step

@step
def first(n: int) -> int:
    with open("ran", "a") as file:
        file.write("1")
    return n

@step
def second(n: int, table: Any, tables: list) -> str:
    if not os.path.exists("go"):
        os.kill(os.getpid(), 9) if os.path.exists("die") else sys.exit(1)
    return f"{n} {table} {tables}"

@pipeline
def work(table: Any, tables: Any):
    return second(first(3), table, tables)

if __name__ == "__main__":
    saved = save_artifact(["a"], "table")
    work(saved, [saved, 1])
"""


@pytest.fixture
def failed(project: Path, python: Command) -> Path:
    """A project with a run that failed."""
    (project / "work.py").write_text(RESUMED)
    assert python("work.py").returncode == 1
    (project / "go").touch()
    return project


def test_artifacts_that_were_arguments_are_arguments_of_the_resumed_run(failed: Path, command: Command) -> None:
    shown = command("runs", "show", "work-1", "--json").records[0]
    assert shown["parameters"] == {"table": "table@1", "tables": ["table@1", 1]}
    assert command("resume", "work-1").code == 0
    workspace = Workspace(failed / ".drystone")
    run = workspace.run("work-1")
    assert run.output.load() == "3 ['a'] [['a'], 1]"
    assert str(run.steps["second"].inputs["table"]) == "table@1"
    assert (failed / "ran").read_text() == "1"
    workspace.close()


def test_a_lost_result_is_made_again_when_a_run_is_resumed(failed: Path, command: Command) -> None:
    workspace = Workspace(failed / ".drystone")
    for blob in workspace.artifact("work.first").manifest.blobs:
        (failed / f".drystone/artifacts/blobs/{blob.digest[:2]}/{blob.digest}").unlink()
    assert command("resume", "work-1").code == 0
    assert (failed / "ran").read_text() == "11"
    assert workspace.run("work-1").output.load() == "3 ['a'] [['a'], 1]"
    workspace.close()


def test_an_edited_step_is_not_reused_when_a_run_is_resumed(failed: Path, command: Command) -> None:
    file = failed / "work.py"
    file.write_text(file.read_text().replace("return n\n", "return n + 1\n"))
    assert command("resume", "work-1").code == 0
    workspace = Workspace(failed / ".drystone")
    assert workspace.run("work-1").output.load() == "4 ['a'] [['a'], 1]"
    workspace.close()


def test_a_dead_run_is_resumed_through_a_workspace_that_was_open_before(project: Path, python: Command) -> None:
    workspace = Workspace(project / ".drystone")
    (project / "work.py").write_text(RESUMED)
    (project / "die").touch()
    assert python("work.py").returncode == -signal.SIGKILL
    (project / "go").touch()
    try:
        assert workspace.resume("work-1").status == "succeeded"
    finally:
        workspace.close()
        sys.modules.pop("work", None)


def test_a_resumed_run_is_seen_from_the_root_it_was_started_in(
    failed: Path, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "go").touch()
    resume = f"from drystone import Workspace; print(Workspace({str(failed / '.drystone')!r}).resume('work-1').status)"
    done = subprocess.run([sys.executable, "-c", resume], cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.stdout == "succeeded\n", done.stderr
    assert not (elsewhere / "ran").exists()


# --- before a run -----------------------------------------------------------------------------------------------------


def test_a_parameter_that_cannot_be_recorded_is_refused_before_the_run(workspace: Workspace) -> None:
    @pipeline
    def choosing(choose: Any) -> Any:
        return number(choose(1, 2))

    with pytest.raises(PlanError, match="Parameter 'choose' of pipeline 'choosing' cannot be recorded: "):
        choosing(max)
    assert workspace.runs() == []


@pytest.mark.parametrize("name", ["a{", "a}", "a{n:>3q}", "{xs:>3}"])
def test_a_name_that_cannot_be_filled_in_is_refused(workspace: Workspace, name: str) -> None:
    def named(n: int) -> int:
        return n

    named.__annotations__["return"] = Annotated[int, Artifact(name)]
    named = step(named)

    @pipeline
    def naming(n: int, xs: list) -> Any:  # type: ignore[type-arg]
        return named(n)

    with pytest.raises(PlanError, match="It was made of"):
        naming(n=1, xs=[])


def test_a_parameter_called_date_is_what_the_name_takes(workspace: Workspace) -> None:
    @step
    def named(n: int) -> Annotated[int, Artifact("predictions-{date}")]:
        return n

    @pipeline
    def naming(date: str) -> Any:
        return named(1)

    assert naming(date="2020-01-01").output.name == "predictions-2020-01-01"
