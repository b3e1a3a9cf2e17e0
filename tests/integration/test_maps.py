"""Maps: one step per member of some lists, each with its own key, attempts and result, and one list in the end."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import attrs
import numpy
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from drystone import (
    Artifact,
    Model,
    Orchestrator,
    Retry,
    RunContext,
    Stack,
    Workspace,
    get_context,
    load_artifact,
    log_metadata,
    pipeline,
    save_artifact,
    step,
    traversal,
    unmapped,
)
from drystone.errors import NotFoundError, RunFailedError
from drystone.plugins import load_plugins
from drystone_local import LocalArtifactStore, LocalOrchestrator


@attrs.frozen(kw_only=True)
class ThreadedOrchestrator(Orchestrator):
    """Runs every step in a thread pool."""

    workers: int = 2

    def executor(self, run: RunContext) -> Executor:
        """A pool of threads."""
        return ThreadPoolExecutor(self.workers)


def stack(orchestrator: Orchestrator) -> Stack:
    return Stack("special", orchestrator=orchestrator, artifact_store=LocalArtifactStore())


INLINE = stack(LocalOrchestrator(isolation="inline"))
THREADED = stack(ThreadedOrchestrator())


@step
def count(n: int) -> list[int]:
    return list(range(n))


@step
def square(x: int, factor: int = 1) -> int:
    return x * x * factor


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def split(x: int) -> tuple[Annotated[int, "half"], Annotated[str, Artifact("text", tags={"kind": "words"})]]:
    return x // 2, str(x)


@step
def fragile(x: int) -> int:
    """Fails for what stands in a file, which is no part of its key."""
    if x in json.loads(Path("failing.json").read_text()):
        raise ValueError(f"{x} fails")
    return 10 * x


def failing(*values: int) -> None:
    Path("failing.json").write_text(json.dumps(values))


@pipeline
def work(xs: list[int]) -> Any:
    made = fragile.map(xs)
    return {"made": made, "sum": total(made)}


def statuses(run: Any) -> dict[str, str]:
    return {name: each.status for name, each in run.steps.items()}


def ended(run: Any, step_name: str) -> list[str]:
    return [each.status for each in run.steps[step_name].elements]


# --- what a map is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [INLINE, THREADED], ids=["inline", "threads"])
def test_a_list_known_only_at_run_time_is_mapped_over_and_gathered(workspace: Workspace, where: Stack) -> None:
    @pipeline
    def mapping(n: int) -> Any:
        squares = square.map(count(n))
        return {"squares": squares, "total": total(squares), "again": square.map(squares, factor=unmapped(2))}

    run = mapping.with_options(stack=where)(n=4)
    assert run.outputs["squares"].load() == [0, 1, 4, 9]
    assert run.outputs["total"].load() == 14
    assert run.outputs["again"].load() == [0, 2, 32, 162]
    assert run.executed == 1 + 4 + 1 + 4
    assert run.steps["square"].counts == {"succeeded": 4}


def test_ten_elements_make_one_version_of_kind_list_and_each_is_a_step(workspace: Workspace) -> None:
    @pipeline
    def mapping(n: int) -> Any:
        return square.map(count(n), factor=unmapped(3))

    run = mapping(n=10)
    made = run.steps["square"]
    assert (run.output.name, run.output.version, run.output.kind) == ("mapping.square", 1, "list")
    assert run.output.metadata == {"length": 10}
    assert len(workspace.artifacts()) == 2
    third = made.elements[3]
    assert (third.name, third.status, third.attempts, third.run) == ("square[3]", "succeeded", 1, run.name)
    assert third.outputs["output"].load() == 27
    assert str(third.outputs["output"]) == "mapping.square[3]@1"
    assert third.inputs["x"].load() == 3
    assert str(third.inputs["x"]) == "mapping.count[3]@1"
    assert third.parameters == {"factor": "3"}
    assert workspace.step(run.name, "square[3]") == third
    with pytest.raises(NotFoundError, match=r"no element 10: its elements are square\[0\] to square\[9\]"):
        workspace.step(run.name, "square[10]")
    with pytest.raises(NotFoundError, match=f"Run {run.name} has no step 'squared'. Did you mean 'square'"):
        workspace.step(run.name, "squared[1]")
    assert workspace.verify() == []


def test_a_product_takes_every_combination_and_the_last_list_varies_first(workspace: Workspace) -> None:
    @pipeline
    def crossing() -> Any:
        return square.product([1, 2], factor=count(3))

    assert crossing().output.load() == [0, 1, 2, 0, 4, 8]


def test_several_outputs_become_several_lists(workspace: Workspace) -> None:
    @pipeline
    def splitting(n: int) -> Any:
        half, text = split.map(count(n))
        return square.map(half), text

    run = splitting(n=3)
    assert run.outputs["square"].load() == [0, 0, 1]
    assert run.outputs["text"].load() == ["0", "1", "2"]
    assert run.outputs["text"].name == "text"
    assert run.outputs["text"].tags == {"kind": "words"}


def test_an_element_knows_where_it_is_and_what_it_logs_and_saves_is_its_own(workspace: Workspace) -> None:
    @step
    def noting(x: int) -> int:
        print(f"seen {x}")
        log_metadata({"x": x})
        log_metadata({"double": 2 * x}, artifact="output")
        save_artifact(x, "extra")
        assert get_context().parameters == {"xs": [5, 6]}
        assert get_context().step == f"noting[{x - 5}]"
        return x

    @pipeline(model=Model("m"))
    def mapping(xs: list[int]) -> Any:
        return noting.map(xs)

    run = mapping(xs=[5, 6])
    elements = run.steps["noting"].elements
    assert [each.logs() for each in elements] == ["seen 5\n", "seen 6\n"]
    assert [each.metadata for each in elements] == [{"x": 5}, {"x": 6}]
    assert elements[1].outputs["output"].metadata == {"double": 12}
    assert [each.load() for each in reversed(workspace.artifacts(name="extra"))] == [5, 6]
    assert workspace.artifact("extra", 2).produced_by == (run.name, "noting[1]")
    assert set(run.model_version.artifacts) == {"mapping.noting", "extra"}


def test_an_empty_list_makes_an_empty_list(workspace: Workspace) -> None:
    @pipeline(model=Model("m"))
    def mapping(n: int) -> Any:
        made = square.map(count(n))
        return {"made": made, "total": total(made)}

    run = mapping(n=0)
    assert (run.outputs["made"].load(), run.outputs["total"].load()) == ([], 0)
    assert (run.steps["square"].status, run.steps["square"].elements, run.executed) == ("succeeded", (), 2)
    assert statuses(mapping(n=0)) == {"count": "cached", "square": "cached", "total": "cached"}


def test_a_map_may_be_skipped_waited_for_and_repeated(workspace: Workspace) -> None:
    @step
    def is_large(n: int) -> bool:
        return n > 2

    @pipeline
    def choosing(n: int) -> Any:
        first = square.map(count(n))
        second = square.with_options(when=is_large(n), after=first).map([1, 2])
        return total(second)

    assert statuses(choosing(n=1)) | {} == {
        "count": "succeeded",
        "square": "succeeded",
        "is_large": "succeeded",
        "square_2": "skipped",
        "total": "skipped",
    }
    assert choosing(n=3).output.load() == 5


# --- what can be mapped over ------------------------------------------------------------------------------------------


def test_lists_of_artifacts_of_outputs_and_stored_lists_are_mapped_over(workspace: Workspace) -> None:
    plain = workspace.save_artifact([1, 2, 3], "plain")
    arrays = workspace.save_artifact([numpy.arange(2), numpy.arange(3)], "arrays")
    a, b = workspace.save_artifact(5, "a"), workspace.save_artifact(6, "b")

    @step
    def length(array: Any) -> int:
        return len(array)

    @pipeline
    def mapping() -> Any:
        return {
            "plain": square.map(Artifact("plain").latest),
            "arrays": length.map(arrays),
            "artifacts": square.map([Artifact("a").latest, b]),
            "outputs": square.map([total([1, 2]), a, 7]),
        }

    plan, run = mapping.plan(), mapping()
    made = {name: each.load() for name, each in run.outputs.items()}
    assert made == {"plain": [1, 4, 9], "arrays": [2, 3], "artifacts": [25, 36], "outputs": [9, 25, 49]}
    assert plan.steps["square"].elements == {"run": 3}
    assert plan.steps["length"].elements == {"run": 2}
    assert run.steps["square_2"].elements[1].inputs == {"x": b}
    assert run.steps["length"].elements[1].inputs["array"].load().tolist() == [0, 1, 2]
    assert set(statuses(mapping()).values()) == {"cached"}
    assert str(plain) == "plain@1"

    @pipeline
    def mapping_what_a_map_made() -> Any:
        return square.map(Artifact("mapping.square").latest)

    assert mapping_what_a_map_made().output.load() == [1, 16, 81]


def test_the_artifacts_of_model_versions_are_mapped_over(workspace: Workspace) -> None:
    heights = Model("heights")

    @step
    def fit(n: int) -> Annotated[int, "limit"]:
        return 10 * n

    @step
    def judge(limit: int, height: int) -> bool:
        return height <= limit

    @pipeline(model=heights)
    def training(n: int) -> Any:
        return fit(n)

    @pipeline
    def comparing() -> Any:
        limits = [heights.version(each).artifact("limit") for each in (1, 3, "latest", "production")]
        return judge.map(limits, height=unmapped(25))

    for n in (1, 2, 3):
        training(n)
    workspace.promote(heights, 2, "production")
    run = comparing()
    assert run.output.load() == [False, True, True, False]
    taken = [str(each.inputs["limit"]) for each in run.steps["judge"].elements]
    assert taken == ["limit@1", "limit@3", "limit@3", "limit@2"]
    assert comparing().executed == 0
    workspace.promote(heights, 3, "production")
    assert comparing().output.load() == [False, True, True, True]


def test_fan_out_inside_fan_out(workspace: Workspace) -> None:
    @step
    def spread(n: int) -> list[int]:
        return list(range(n))

    @step
    def doubled(xs: list[int]) -> list[int]:
        return [2 * x for x in xs]

    @step
    def joined(lists: list[list[int]]) -> list[int]:
        return [x for each in lists for x in each]

    @step
    def plus(x: int) -> int:
        return x + 1

    @step
    def total(xs: list[int]) -> int:
        return sum(xs)

    @pipeline
    def nested(n: int) -> Any:
        outer = doubled.map(spread.map(spread(n)))
        return total(plus.map(joined(outer)))

    assert nested(4).output.load() == sum(2 * x + 1 for n in range(4) for x in range(n))


def test_what_is_no_list_and_lists_of_other_lengths_fail_the_map(workspace: Workspace) -> None:
    workspace.save_artifact(3, "three")

    @pipeline
    def wrong() -> Any:
        return square.map(Artifact("three").latest)

    @pipeline
    def uneven() -> Any:
        return total(square.map(count(2), factor=[1, 2, 3]))

    with pytest.raises(RunFailedError, match=r"'square' maps over 'x', which is no list: .* of type builtins\.int"):
        wrong()
    with pytest.raises(RunFailedError, match="different lengths: 'x' has 2, 'factor' has 3") as info:
        uneven()
    assert statuses(info.value.run) == {"count": "succeeded", "square": "failed", "total": "skipped"}

    @step
    def unlike() -> Any:
        return {1, 2}

    @pipeline
    def unordered() -> Any:
        return square.map(unlike())

    with pytest.raises(RunFailedError, match="A step maps over this value, so it must be a list or a tuple"):
        unordered()


# --- the cache --------------------------------------------------------------------------------------------------------


def test_the_second_run_is_cached_as_a_whole_and_an_edited_list_by_its_elements(workspace: Workspace) -> None:
    @pipeline
    def mapping(xs: list[int]) -> Any:
        return square.map(xs)

    first = mapping(xs=[1, 2, 3])
    second = mapping(xs=[1, 2, 3])
    assert (second.executed, statuses(second), second.steps["square"].counts) == (
        0,
        {"square": "cached"},
        {"cached": 3},
    )
    assert second.output == first.output
    assert [each.cached_from for each in second.steps["square"].elements] == [first.name] * 3
    assert second.steps["square"].elements[2].outputs["output"].load() == 9
    plan = mapping.plan(xs=[3, 4, 1])
    assert plan.steps["square"].elements == {"cached": 2, "run": 1}
    assert ", elements: 2 cached, 1 run" in str(plan)
    third = mapping(xs=[3, 4, 1])
    assert (third.executed, third.output.load(), third.output.version) == (1, [9, 16, 1], 2)
    assert ended(third, "square") == ["cached", "succeeded", "cached"]


def test_a_map_made_of_cached_elements_alone_computes_nothing_and_makes_its_list_once(workspace: Workspace) -> None:
    @pipeline(model=Model("m"))
    def mapping(xs: list[int]) -> Any:
        return total(square.map(xs))

    mapping(xs=[1, 2, 3])
    plan = mapping.plan(xs=[2, 1])
    assert (plan.steps["square"].status, plan.steps["total"].status) == ("cached", "run")
    run = mapping(xs=[2, 1])
    assert statuses(run) == {"square": "cached", "total": "succeeded"}
    assert (run.steps["square"].cached_from, run.output.load()) == ("mapping-1", 5)
    again = mapping(xs=[2, 1])
    assert (again.executed, again.steps["square"].outputs) == (0, run.steps["square"].outputs)
    assert len(workspace.artifacts(name="mapping.square")) == 2


def test_members_that_are_alike_are_computed_once(workspace: Workspace) -> None:
    @pipeline
    def mapping(xs: list[int]) -> Any:
        return square.map(xs), square.map(xs[::-1])

    plan, run = mapping.plan(xs=[1, 2, 1, 1]), mapping(xs=[1, 2, 1, 1])
    assert plan.steps["square"].elements == {"run": 2, "cached": 2}
    assert sorted(ended(run, "square")) == ["cached", "cached", "succeeded", "succeeded"]
    assert ended(run, "square_2") == ["cached"] * 4
    assert run.executed == 2
    assert run.outputs["square_2"].load() == [1, 1, 4, 1]


def test_an_element_whose_dynamic_input_changed_runs_again(workspace: Workspace) -> None:
    @step
    def priced(x: int) -> int:
        return x * load_artifact("price")

    @pipeline
    def pricing(xs: list[int]) -> Any:
        return priced.map(xs)

    workspace.save_artifact(2, "price")
    assert pricing(xs=[1, 2]).output.load() == [2, 4]
    assert pricing(xs=[1, 2]).executed == 0
    workspace.save_artifact(3, "price")
    assert pricing(xs=[1, 2]).output.load() == [3, 6]


def test_a_lost_part_is_made_again(workspace: Workspace) -> None:
    @pipeline
    def mapping(xs: list[int]) -> Any:
        return square.map(xs)

    run = mapping(xs=[1, 2, 3])
    store = workspace.store_for(run.output.manifest.store)
    digest = run.steps["square"].elements[1].outputs["output"].manifest.blobs[0].digest
    store.delete(f"blobs/{digest[:2]}/{digest}")
    assert [each.kind for each in workspace.verify()] == ["blob"]
    again = mapping(xs=[1, 2, 3])
    assert ended(again, "square") == ["cached", "succeeded", "cached"]
    assert again.output.load() == [1, 4, 9]
    assert workspace.verify() == []


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [INLINE, THREADED], ids=["inline", "threads"])
def test_a_failed_element_fails_the_map_after_the_others_and_resume_runs_what_is_missing(
    workspace: Workspace, where: Stack
) -> None:
    failing(2, 4)
    with pytest.raises(RunFailedError, match=r"step 'fragile\[[13]\]' raised ValueError: [24] fails") as info:
        work.with_options(stack=where)(xs=[1, 2, 3, 4, 5])
    run = info.value.run
    assert isinstance(info.value.__cause__, ValueError)
    assert statuses(run) == {"fragile": "failed", "total": "skipped"}
    assert ended(run, "fragile") == ["succeeded", "failed", "succeeded", "failed", "succeeded"]
    assert run.steps["fragile"].error.startswith(
        "2 of 5 elements failed: fragile[1], fragile[3]. The first to fail was"
    )
    assert "ValueError: 2 fails" in run.steps["fragile"].elements[1].error
    assert run.executed == 5
    failing()
    again = work.with_options(stack=where)(xs=[1, 2, 3, 4, 5])
    assert ended(again, "fragile") == ["cached", "succeeded", "cached", "succeeded", "cached"]


FLOWS = """
from pathlib import Path
from drystone import pipeline, step

@step
def fragile(x: int) -> int:
    print("computing", x)
    if Path(f"broken-{x}").exists():
        raise ValueError(f"{x} is broken")
    return 10 * x

@step(cache=False)
def total(xs: list[int]) -> int:
    return sum(xs)

@pipeline
def work(n: int):
    return total(fragile.with_options(cache=False).map(list(range(n))))
"""


def test_resume_runs_only_the_elements_that_are_missing(
    project: Path, python: Callable[..., Any], workspace: Workspace
) -> None:
    """Even where the cache is off: what the run itself has computed stays."""
    (project / "flows.py").write_text(FLOWS)
    (project / "broken-1").touch()
    assert python("-c", "from flows import work; work(n=4)").returncode == 1
    failed = workspace.run("work-1")
    assert ended(failed, "fragile") == ["succeeded", "failed", "succeeded", "succeeded"]
    (project / "broken-1").unlink()
    resumed = python("-c", "from drystone import Workspace; print(Workspace.current().resume('work-1').output.load())")
    assert (resumed.stdout.splitlines()[-1], resumed.returncode) == ("60", 0), resumed.stderr
    run = workspace.run("work-1")
    assert (run.status, statuses(run), run.executed) == ("succeeded", {"fragile": "succeeded", "total": "succeeded"}, 5)
    assert ended(run, "fragile") == ["succeeded"] * 4
    before, after = failed.steps["fragile"].elements, run.steps["fragile"].elements
    assert [one.ended_at == other.ended_at for one, other in zip(before, after, strict=True)] == [
        True,
        False,
        True,
        True,
    ]
    assert workspace.verify() == []


def test_an_element_is_explained_and_replayed_by_its_address(
    project: Path, command: Callable[..., Any], python: Callable[..., Any], workspace: Workspace
) -> None:
    (project / "flows.py").write_text(FLOWS)
    (project / "broken-2").touch()
    assert python("-c", "from flows import work; work(n=3)").returncode == 1
    explained = workspace.why("work-1", "fragile[2]").steps["fragile[2]"]
    assert [cause.text for cause in explained.causes] == ["its cache is off", "ValueError: 2 is broken"]
    assert command("replay", "work-1", "fragile[1]").out.endswith("output: 10 (the same as fragile[1]@0)\n")
    refused = command("replay", "work-1", "fragile").message
    assert refused == "Error: Step 'fragile' of work-1 is a map of 3 elements. Replay one of them, as fragile[0]."
    (project / "broken-2").unlink()
    assert "output: 20" in command("replay", "work-1", "fragile[2]").out
    assert command("logs", "work-1", "fragile[1]").out == "computing 1\n"


def test_an_element_that_ran_for_a_changed_list_says_where_that_came_from(workspace: Workspace) -> None:
    @step
    def numbers(n: int) -> list[int]:
        return list(range(n))

    @step
    def square(x: int) -> int:
        return x * x

    @pipeline
    def squares(n: int) -> Any:
        return square.map(numbers(n))

    squares(2)
    (cause,) = workspace.why(squares(3), "square[2]").steps["square[2]"].causes
    assert cause.text == "input x changed"
    assert [each.text for each in cause.causes] == ["x squares.numbers@1 → squares.numbers@2", "numbers ran"]


DYING = """
import os, signal
from pathlib import Path
from drystone import Stack, pipeline, step
from drystone_local import LocalArtifactStore, LocalOrchestrator

@step
def deadly(x: int) -> int:
    if x == 5 and Path("armed").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * x

@pipeline
def here(n: int):
    return deadly.map(list(range(n)))

@pipeline
def apart(n: int):
    return deadly.map(list(range(n)))
"""

STACKS = """
from drystone import Stack
from drystone_local import LocalArtifactStore, LocalOrchestrator

inline = Stack("inline", orchestrator=LocalOrchestrator(isolation="inline"), artifact_store=LocalArtifactStore())
"""


def test_a_map_whose_driver_was_killed_is_resumed(
    project: Path, python: Callable[..., Any], workspace: Workspace
) -> None:
    (project / "dying.py").write_text(DYING)
    (project / "stacks.py").write_text(STACKS)
    (project / "armed").touch()
    assert python("-c", "from dying import here; here.with_options(stack='inline')(n=9)").returncode == -9
    workspace.mark_crashed()
    run = workspace.run("here-1")
    assert (run.status, run.steps["deadly"].status) == ("crashed", "crashed")
    assert set(ended(run, "deadly")) <= {"succeeded", "crashed"}
    assert sum(run.steps["deadly"].counts.values()) == 9
    (project / "armed").unlink()
    resumed = python("-c", "from drystone import Workspace; print(Workspace.current().resume('here-1').output.load())")
    assert (resumed.stdout, resumed.returncode) == (f"{[10 * x for x in range(9)]}\n", 0), resumed.stderr
    run = workspace.run("here-1")
    assert (run.status, run.executed, ended(run, "deadly")) == ("succeeded", 9, ["succeeded"] * 9)
    assert workspace.verify() == []


def test_an_element_that_takes_its_worker_down_fails_alone(
    project: Path, python: Callable[..., Any], workspace: Workspace
) -> None:
    (project / "dying.py").write_text(DYING)
    (project / "armed").touch()
    assert python("-c", "from dying import apart; apart(n=9)").returncode == 1
    run = workspace.run("apart-1")
    assert run.steps["deadly"].where == "worker"
    assert ended(run, "deadly") == ["succeeded"] * 5 + ["failed"] + ["succeeded"] * 3
    assert "SIGKILL" in run.steps["deadly"].elements[5].error


@pytest.mark.parametrize("on_error", ["stop", "fail_fast"])
def test_a_failed_element_stops_the_map_where_that_is_wanted(workspace: Workspace, on_error: str) -> None:
    @pipeline(on_error=on_error)
    def stopping(xs: list[int]) -> Any:
        return total(fragile.map(xs)), count(1)

    failing(1)
    with pytest.raises(RunFailedError) as info:
        stopping.with_options(stack=INLINE)(xs=[0, 1, 2, 3])
    run = info.value.run
    assert ended(run, "fragile") == ["succeeded", "failed", "cancelled", "cancelled"]
    assert run.steps["fragile"].counts == {"succeeded": 1, "failed": 1, "cancelled": 2}


def test_each_element_is_tried_again_by_itself(workspace: Workspace) -> None:
    @step(retries=Retry(2, delay=0))
    def unsteady(x: int) -> int:
        attempt = get_context().attempt
        print(f"attempt {attempt}")
        if attempt <= x:
            raise ValueError(f"not yet {attempt}")
        return attempt

    @pipeline
    def trying(xs: list[int]) -> Any:
        return unsteady.map(xs)

    run = trying(xs=[0, 1, 2])
    assert run.output.load() == [1, 2, 3]
    elements = run.steps["unsteady"].elements
    assert [each.attempts for each in elements] == [1, 2, 3]
    assert [each.error for each in elements[2].failed_attempts] == [
        "ValueError: not yet 1",
        "ValueError: not yet 2",
    ]
    assert elements[2].logs(1).startswith("attempt 1\n")
    with pytest.raises(RunFailedError):
        trying(xs=[3])
    assert workspace.verify() == []


def test_hooks_and_plugins_hear_of_a_map_once_and_of_its_progress(workspace: Workspace) -> None:
    heard: list[Any] = []

    class Listener:
        def drystone_step_started(self, step_run: Any) -> None:
            heard.append(("started", step_run.name))

        def drystone_step_progressed(self, step_run: Any) -> None:
            heard.append(("progressed", step_run.name, sum(step_run.counts.values())))

        def drystone_step_finished(self, step_run: Any) -> None:
            heard.append(("finished", step_run.name, step_run.counts))

    from drystone import announcements, hookimpl

    for name in ("started", "progressed", "finished"):
        setattr(Listener, f"drystone_step_{name}", hookimpl(getattr(Listener, f"drystone_step_{name}")))

    @step(on_success=lambda step_run: heard.append(("hook", step_run.name, len(step_run.elements))))
    def heeded(x: int) -> int:
        return x

    @pipeline
    def mapping(xs: list[int]) -> Any:
        return heeded.map(xs)

    manager = load_plugins()._manager
    listener = Listener()
    manager.register(listener)
    try:
        with mock.patch.object(announcements, "INTERVAL", 0.0), mock.patch.object(traversal, "GROUP", -1.0):
            mapping.with_options(stack=INLINE)(xs=[1, 2, 3])
    finally:
        manager.unregister(listener)
    assert heard[0] == ("started", "heeded")
    assert heard[-2:] == [("hook", "heeded", 3), ("finished", "heeded", {"succeeded": 3})]
    assert set(heard[1:-2]) == {("progressed", "heeded", 3)}


def test_an_interrupt_keeps_what_was_done_and_resume_goes_on(workspace: Workspace, project: Path) -> None:
    failing()
    with mock.patch.object(fragile, "fn", interrupted_at(fragile.fn, 2)), pytest.raises(KeyboardInterrupt):
        work.with_options(stack=INLINE)(xs=[0, 1, 2, 3])
    run = workspace.runs(limit=1)[0]
    assert (run.status, statuses(run)) == ("cancelled", {"fragile": "cancelled", "total": "cancelled"})
    assert ended(run, "fragile") == ["succeeded", "succeeded", "cancelled", "cancelled"]
    assert run.executed == 2
    assert workspace.verify() == []


def interrupted_at(function: Callable[[int], int], value: int) -> Callable[[int], int]:
    def interrupting(x: int) -> int:
        if x == value:
            raise KeyboardInterrupt
        return function(x)

    return interrupting


# --- the law ----------------------------------------------------------------------------------------------------------

rounds = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), max_size=6),
        st.sets(st.integers(0, 5), max_size=2),
        st.sampled_from(["continue", "stop", "fail_fast"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=rounds, at_once=st.booleans(), threaded=st.booleans())
def test_a_map_is_its_list_comprehension_and_computes_nothing_twice(
    project: Path, history: list[Any], at_once: bool, threaded: bool
) -> None:
    done: set[int] = set()
    with (
        tempfile.TemporaryDirectory() as place,
        mock.patch.dict(os.environ, {"DRYSTONE_WORKSPACE": place}),
        mock.patch.object(traversal, "GROUP", -1.0 if at_once else 60.0),
    ):
        workspace = Workspace.current()
        for xs, broken, on_error in history:
            body = work.with_options(stack=THREADED if threaded else INLINE, on_error=on_error)
            failing(*broken)
            plan = body.plan(xs=xs)
            new = set(xs) - done
            assert plan.steps["fragile"].elements.get("run", 0) == len(new)
            try:
                run = body(xs=xs)
            except RunFailedError as exc:
                run = exc.run
            pairs = list(zip(xs, ended(run, "fragile"), strict=True))
            succeeded = [x for x, status in pairs if status == "succeeded"]
            failed = {x for x, status in pairs if status == "failed"}
            assert len(succeeded) == len(set(succeeded))
            assert not done.intersection(succeeded)
            assert (run.steps["fragile"].status in ("succeeded", "cached")) == (not new & broken)
            if new & broken:
                assert statuses(run) == {
                    "fragile": "failed",
                    "total": "skipped" if on_error == "continue" else "cancelled",
                }
                assert failed <= new & broken
                if on_error == "continue":
                    assert "cancelled" not in ended(run, "fragile")
                    assert failed == new & broken
            else:
                assert run.outputs["made"].load() == [10 * x for x in xs]
                assert run.outputs["sum"].load() == sum(10 * x for x in xs)
                assert set(succeeded) == new
            says = plan.steps["fragile"].status
            assert says == ("run" if run.steps["fragile"].status in ("succeeded", "failed") else "cached")
            done |= set(succeeded)
            assert sum(run.steps["fragile"].counts.values()) == len(xs)
        assert workspace.verify() == []
        workspace.close()


def scaled(factor: int) -> Any:
    """A step whose code holds a constant."""

    @step
    def scale(x: int) -> int:
        return x * factor % 5

    return scale


@step
def add(x: int, y: int = 0) -> int:
    return x + y


@attrs.frozen
class One:
    """Has a class of its own."""

    value: int = 1

    def number(self) -> int:
        """What it is worth."""
        return self.value


@attrs.frozen
class Two(One):
    """Has another class."""

    def number(self) -> int:
        """What it is worth."""
        return 2 * self.value


def test_elements_of_other_classes_count_by_themselves_also_in_plans(workspace: Workspace) -> None:
    @step
    def worth(each: One, times: int) -> int:
        return each.number() * times

    @pipeline
    def valuing(values: list, n: int) -> Any:
        return worth.map(values, times=unmapped(total(count(n))))

    for values in ([One()], [Two()]):
        assert valuing.with_options(stack=INLINE)(values, 2).executed
    plan, run = valuing.plan([One(), Two()], 2), valuing.with_options(stack=INLINE)([One(), Two()], 2)
    assert plan.steps["worth"].elements == {"cached": 2}
    assert (run.output.load(), statuses(run)["worth"]) == ([1, 2], "cached")
    assert valuing.plan([One(), Two()], 3).steps["worth"].status == "maybe"  # as long as the sum is not known


@attrs.frozen
class Shape:
    """A pipeline of maps, as it is to be."""

    first: list[int]
    second: list[int]
    factors: tuple[int, int]
    options: dict[str, Any]

    def pipeline(self) -> Any:
        """The pipeline."""

        @pipeline
        def mapping() -> Any:
            one, other = map(scaled, self.factors)
            left = one.with_options(name="left", **self.options).map(self.first)
            right = other.with_options(name="right").map(self.second)
            again = one.with_options(name="again").map(left)
            crossed = add.with_options(name="crossed").product(left, y=right)
            shifted = add.with_options(name="shifted").map(again, y=unmapped(total.with_options(name="sum")(right)))
            return {"crossed": crossed, "shifted": shifted, "total": total(again)}

        return mapping

    def expected(self) -> dict[str, Any]:
        """What it makes."""
        one, other = self.factors
        left, right = [x * one % 5 for x in self.first], [x * other % 5 for x in self.second]
        again = [x * one % 5 for x in left]
        return {
            "crossed": [x + y for x in left for y in right],
            "shifted": [x + sum(right) for x in again],
            "total": sum(again),
        }


shapes = st.builds(
    Shape,
    first=st.lists(st.integers(0, 3), max_size=3),
    second=st.lists(st.integers(0, 3), max_size=3),
    factors=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    options=st.fixed_dictionaries({}, optional={"cache": st.just(False), "cache_salt": st.sampled_from(["", "a"])}),
)


EMPTY = [Shape([], [], factors, {}) for factors in ((0, 0), (0, 1), (1, 0))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(history=EMPTY, at_once=False, rerun=())
@given(
    history=st.lists(shapes, min_size=1, max_size=4),
    at_once=st.booleans(),
    rerun=st.sampled_from([(), ("left",), ("again", "right")]),
)
def test_plans_of_maps_keep_the_law_and_runs_make_what_plain_calls_do(
    project: Path, history: list[Shape], at_once: bool, rerun: tuple[str, ...]
) -> None:
    with (
        tempfile.TemporaryDirectory() as place,
        mock.patch.dict(os.environ, {"DRYSTONE_WORKSPACE": place}),
        mock.patch.object(traversal, "GROUP", -1.0 if at_once else 60.0),
    ):
        workspace = Workspace.current()
        for turn, shape in enumerate(history):
            body = shape.pipeline().with_options(stack=INLINE, **({"rerun": rerun} if turn == 1 else {}))
            plan, run = body.plan(), body()
            executed = {name for name, each in run.steps.items() if each.status == "succeeded"}
            says = {status: {name for name, each in plan.steps.items() if each.status == status} for status in STATUSES}
            assert says["run"] <= executed <= says["run"] | says["maybe"], str(plan)
            for name in says["run"] & {"left", "right"}:
                assert run.steps[name].counts.get("succeeded", 0) <= plan.steps[name].elements.get("run", 0), str(plan)
            assert {name: each.load() for name, each in run.outputs.items()} == shape.expected()
        assert workspace.verify() == []
        workspace.close()


STATUSES = ("run", "cached", "maybe", "skipped")
