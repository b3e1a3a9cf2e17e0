"""What users write their tests with: fixtures, single steps, what re-ran, and faults."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import pytest

from drystone import Artifact, Stack, Workspace, get_context, load_artifact, log_metadata, pipeline, save_artifact, step
from drystone.errors import NotFoundError, ParameterError, ReplayError, RunFailedError, StackError
from drystone.testing import (
    assert_cached,
    assert_only_cached,
    assert_only_ran,
    assert_ran,
    cached,
    fails,
    faulty,
    memory_stack,
    ran,
    recorded_inputs,
    run_step,
)


@step
def measure(stones: int) -> Annotated[list[int], Artifact("heights")]:
    return list(range(stones))


@step
def fit(heights: list[int], share: float = 0.5) -> float:
    print(f"fitting {len(heights)}")
    log_metadata({"count": len(heights)})
    save_artifact(sorted(heights), "ordered")
    return sum(heights) * share


@step
def square(height: int) -> int:
    return height**2


@pipeline
def training(stones: int = 3, share: float = 0.5):
    return fit(measure(stones), share)


@pipeline
def squares(stones: int = 3):
    return square.map(measure(stones))


def test_a_pipeline_runs_on_the_stack_in_memory(drystone_stack: Stack) -> None:
    run = training()
    assert run.stack == drystone_stack.name == "memory"
    assert run.output.load() == 1.5
    assert run.steps["fit"].where == "inline"


def test_the_workspace_is_fresh_and_the_surroundings_do_not_count(
    drystone_workspace: Workspace, tmp_path: Path
) -> None:
    assert list(drystone_workspace.runs()) == []
    assert Path.cwd() == tmp_path
    assert Workspace.current() is drystone_workspace


def test_no_stack_is_left_behind_by_the_fixture(drystone_workspace: Workspace) -> None:
    from drystone import find_stacks

    assert "memory" not in find_stacks().names


def test_what_a_step_makes_is_in_the_outcome() -> None:
    made = run_step(fit, [1, 2, 3], share=2.0)
    assert made.output == 12.0
    assert made.saved == {"ordered": [1, 2, 3]}
    assert made.metadata == {"count": 3}
    assert made.log == "fitting 3\n"
    assert made.error is None


def test_arguments_of_a_step_are_checked_as_in_a_pipeline() -> None:
    with pytest.raises(ParameterError, match="heights"):
        run_step(fit, 3)
    with pytest.raises(Exception, match="has no parameter 'depth'"):
        run_step(fit, [1], depth=3)


def test_a_step_cannot_reach_the_callers_objects() -> None:
    @step
    def spoil(values: list[int]) -> int:
        values.append(1)
        return len(values)

    mine = [1, 2]
    assert run_step(spoil, mine).output == 3
    assert mine == [1, 2]


def test_what_a_step_raises_is_in_the_outcome() -> None:
    @step
    def fail() -> int:
        print("so far")
        raise KeyError("gone")

    made = run_step(fail)
    assert isinstance(made.error, KeyError)
    assert made.outputs == {}
    assert "so far" in made.log
    assert "KeyError" in made.log
    with pytest.raises(KeyError, match="gone"):
        _ = made.output


def test_an_output_of_another_type_is_an_error() -> None:
    @step
    def wrong() -> int:
        return "text"  # type: ignore[return-value]

    assert "is annotated int, but is str" in str(run_step(wrong).error)


def test_a_step_finds_the_context_it_is_given() -> None:
    @step
    def where() -> tuple[str, int, int]:
        context = get_context()
        return context.run, context.attempt, context.parameters["depth"]

    made = run_step(where, _context={"run": "training-7", "attempt": 2, "parameters": {"depth": 3}})
    assert list(made.outputs.values()) == ["training-7", 2, 3]


def test_a_step_loads_what_the_current_workspace_has(drystone_stack: Stack, drystone_workspace: Workspace) -> None:
    @step
    def load() -> int:
        return int(load_artifact("limit"))

    drystone_workspace.save_artifact(7, "limit")
    assert run_step(load).output == 7
    drystone_workspace.close()


def test_a_step_runs_again_on_recorded_inputs(drystone_stack: Stack) -> None:
    run = training(stones=4)
    assert recorded_inputs(run, "fit") == {"heights": [0, 1, 2, 3], "share": 0.5}
    assert run_step(fit, run=run).output == run.output.load() == 3.0
    assert run_step(fit, run=run, share=1.0).output == 6.0


def test_inputs_of_a_pipeline_that_cannot_be_imported_are_refused(drystone_stack: Stack) -> None:
    @pipeline
    def nested():
        return measure(1)

    with pytest.raises(ReplayError, match="defined inside a function"):
        recorded_inputs(nested(), "measure")


def test_assertions_tell_what_ran_and_what_was_cached(drystone_stack: Stack) -> None:
    first, again, other = training(), training(), training(share=1.0)
    assert_only_ran(first, "measure", "fit")
    assert_only_cached(again, "measure", "fit")
    assert_only_ran(again)
    assert (ran(other), cached(other)) == ({"fit"}, {"measure"})
    assert_ran(other, "fit")
    assert_cached(other, "measure")
    with pytest.raises(AssertionError) as caught:
        assert_cached(other, "fit", "measure")
    assert str(caught.value).startswith("fit of training-3 was expected to be cached.\ntraining-3: succeeded")
    assert "cached from training-1" in str(caught.value)
    assert "share" in str(caught.value)
    with pytest.raises(AssertionError, match=r"^fit of training-3 was expected not to run\."):
        assert_only_ran(other)
    with pytest.raises(AssertionError, match=r"^measure of training-3 was expected to run\."):
        assert_ran(other, "fit", "measure")
    with pytest.raises(NotFoundError, match=r"no step 'fitt'. Did you mean 'fit'\?"):
        assert_ran(other, "fitt")


def test_assertions_reach_elements_of_maps(drystone_stack: Stack) -> None:
    squares(stones=2)
    more = squares(stones=3)
    assert_ran(more, "square[2]", "square")
    assert_cached(more, "square[0]", "square[1]")
    with pytest.raises(NotFoundError, match=r"no step 'square\[3\]'"):
        assert_ran(more, "square[3]")


def test_a_step_fails_as_often_as_it_is_told(drystone_stack: Stack) -> None:
    from drystone import Retry

    patient = training.with_options(steps={"fit": {"retries": Retry(2, delay=0)}})
    with fails(fit, times=2) as failures:
        run = patient()
    assert failures.calls == run.steps["fit"].attempts == 3
    assert_only_cached(patient(), "measure", "fit")


def test_a_run_that_failed_is_resumed(drystone_stack: Stack, drystone_workspace: Workspace) -> None:
    with fails(fit, error=OSError("no space")), pytest.raises(RunFailedError) as caught:
        training()
    assert str(caught.value.__cause__) == "no space"
    record = caught.value.run
    resumed = drystone_workspace.resume(record.name)  # type: ignore[attr-defined]
    assert resumed.status == "succeeded"


def test_a_faulty_store_fails_at_the_calls_it_is_told(tmp_path: Path) -> None:
    store = faulty(
        memory_stack().artifact_store, fail={"upload": [1, 3], "read_range": True}, error=OSError(28, "full")
    )
    with pytest.raises(OSError, match="full") as caught:
        store.write("a", b"1")
    assert caught.value.errno == 28
    assert not store.exists("a")
    store.write("a", b"1")
    with pytest.raises(OSError, match="full"):
        store.write("a", b"2")
    assert store.size("a") == 1
    with pytest.raises(OSError, match="full"):
        store.read_range("a", 0, None)
    assert (store.calls("upload"), store.calls("read_range"), store.calls("delete")) == (3, 1, 0)


def test_a_faulty_store_knows_the_methods_of_stores() -> None:
    with pytest.raises(StackError, match=r"cannot fail at 'uplaod'\. Did you mean 'upload'\?"):
        faulty(memory_stack().artifact_store, fail={"uplaod": [1]})


def test_a_pipeline_meets_the_faults_of_its_store(drystone_workspace: Workspace) -> None:
    stack = memory_stack()
    broken = stack.evolve("broken", artifact_store=faulty(stack.artifact_store, fail={"upload": [1]}))
    with pytest.raises(RunFailedError):
        training.with_options(stack=broken)()
    assert training.with_options(stack=broken)().status == "succeeded"


DYING = """
from drystone.testing import faulty, memory_stack
store = faulty(memory_stack().artifact_store, die={"upload": [2]})
store.write("a", b"1")
print("once", flush=True)
store.write("b", b"1")
print("twice")
"""


def test_a_faulty_store_ends_its_process() -> None:
    done = subprocess.run([sys.executable, "-c", DYING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (86, "once\n")


def test_a_fault_is_met_in_a_worker_and_retried(python: Any, project: Path) -> None:
    (project / "walls.py").write_text(WORKERS)
    done = python("walls.py")
    assert done.stdout.splitlines()[-1] == "succeeded 2", done.stderr


WORKERS = """
from drystone import Retry, Stack, pipeline, step
from drystone.testing import faulty
from drystone_local import LocalArtifactStore, LocalOrchestrator

@step(retries=Retry(1, delay=0))
def measure(stones: int) -> int:
    return stones + 1

@pipeline
def training():
    return measure(1)

if __name__ == "__main__":
    store = faulty(LocalArtifactStore(), die={"upload": [1]})
    stack = Stack("s", orchestrator=LocalOrchestrator(isolation="process", workers=1), artifact_store=store)
    run = training.with_options(stack=stack)()
    print(run.status, run.steps["measure"].attempts)
"""


def test_pytest_starts_without_loading_drystone(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    program = "import json, sys, pytest; code = pytest.main(['-q', '-p', 'no:cacheprovider', '--rootdir=.', '.']); "
    program += "print(json.dumps(sorted(sys.modules))); sys.exit(code)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "drystone.testing.fixtures" in loaded
    assert {name for name in loaded if name.startswith("drystone")} == {
        "drystone",
        "drystone.testing",
        "drystone.testing.fixtures",
    }
    assert not loaded & {"cattrs", "fsspec", "sqlite3", "blake3"}


def test_a_stack_in_memory_is_made_in_under_50_ms() -> None:
    began = time.perf_counter()
    memory_stack()
    assert time.perf_counter() - began < 0.05
