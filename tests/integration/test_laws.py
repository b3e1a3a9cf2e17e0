"""Laws of runs, on random graphs: results are those of plain calls, edges are obeyed, statuses tell the truth."""

from __future__ import annotations

import os
import tempfile
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from unittest import mock

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drystone import Orchestrator, Run, RunContext, Stack, Workspace, pipeline, step
from drystone.errors import RunFailedError
from drystone_local import LocalArtifactStore, LocalOrchestrator

moments: list[tuple[str, str]] = []
"""What began and ended while a run ran, in order."""

lock = threading.Lock()


@attrs.frozen(kw_only=True)
class ThreadedOrchestrator(Orchestrator):
    """Runs steps side by side."""

    def executor(self, run: RunContext) -> Executor:
        """A pool of threads."""
        return ThreadPoolExecutor(3)


HERE = Stack("here", orchestrator=LocalOrchestrator(isolation="inline"), artifact_store=LocalArtifactStore())


@step(ignore=[moments, lock])
def work(name: str, values: list, plain: int, fails: bool) -> int:
    with lock:
        moments.append(("begin", name))
    if fails:
        raise ArithmeticError(f"{name} fails")
    with lock:
        moments.append(("end", name))
    return sum(values) + plain


@step
def is_odd(n: int) -> bool:
    return n % 2 == 1


@attrs.frozen
class Call:
    """One node, as it is to be: what it takes, waits for, is conditional on, and whether it fails."""

    inputs: tuple[int, ...]
    plain: int
    fails: bool
    after: int | None
    when: int | None


calls = st.builds(
    Call,
    inputs=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    plain=st.integers(0, 3),
    fails=st.integers(0, 5).map(lambda n: n == 0),
    after=st.none() | st.integers(0, 9),
    when=st.none() | st.none() | st.integers(0, 9),
)
graphs = st.lists(calls, min_size=1, max_size=8)


def needed(graph: list[Call], index: int) -> tuple[list[int], int | None, int | None]:
    """The nodes that one takes, waits for and is conditional on."""
    call = graph[index]
    places = [None if each is None or not index else each % index for each in (call.after, call.when)]
    return [each % index for each in call.inputs] if index else [], places[0], places[1]


def described(graph: list[Call], on_error: str) -> Any:
    """The pipeline of a graph."""

    @pipeline(on_error=on_error)
    def body() -> Any:
        handles: list[Any] = []
        for index, call in enumerate(graph):
            inputs, after, when = needed(graph, index)
            condition = is_odd.with_options(name=f"odd{index}")(handles[when]) if when is not None else None
            before = handles[after] if after is not None else ()
            node = work.with_options(name=f"n{index}", after=before, when=condition)
            handles.append(node(f"n{index}", [handles[each] for each in inputs], call.plain, call.fails))
        return {f"n{index}": handle for index, handle in enumerate(handles)}

    return body


def expected(graph: list[Call]) -> dict[str, tuple[str, int | None]]:
    """Status and value of each node, by plain calls: `done` for what is computed or found."""
    found: dict[str, tuple[str, int | None]] = {}
    for index, call in enumerate(graph):
        inputs, after, when = needed(graph, index)
        before = [found[f"n{each}"] for each in (*inputs, *filter(lambda each: each is not None, (after, when)))]
        if when is not None:
            status, value = found[f"n{when}"]
            found[f"odd{index}"] = ("done", value % 2) if status == "done" and value is not None else ("skipped", None)
            before.append(found[f"odd{index}"])
        if any(status != "done" for status, _ in before) or (when is not None and not found[f"odd{index}"][1]):
            found[f"n{index}"] = ("skipped", None)
        elif call.fails:
            found[f"n{index}"] = ("failed", None)
        else:
            found[f"n{index}"] = ("done", sum(found[f"n{each}"][1] or 0 for each in inputs) + call.plain)
    return found


def run_of(body: Any, stack: Stack | None) -> Run:
    """The record of a run, however it ends."""
    moments.clear()
    try:
        run: Run = body.with_options(stack=stack or HERE)()
    except RunFailedError as exc:
        return cast(Run, exc.run)
    return run


def seen(run: Run) -> dict[str, tuple[str, int | None]]:
    """Status and value of each node of a run."""
    found = {}
    for name, each in run.steps.items():
        if each.status in ("succeeded", "cached"):
            found[name] = ("done", int(each.outputs["output"].load()))
        else:
            found[name] = (each.status, None)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=graphs, graph=graphs, in_threads=st.booleans())
def test_a_run_is_what_plain_calls_would_be_whatever_fails_is_skipped_or_cached(
    project: Path, before: list[Call], graph: list[Call], in_threads: bool
) -> None:
    stack = Stack("t", orchestrator=ThreadedOrchestrator(), artifact_store=LocalArtifactStore()) if in_threads else None
    with tempfile.TemporaryDirectory() as place, mock.patch.dict(os.environ, {"DRYSTONE_WORKSPACE": place}):
        run_of(described(before, "continue"), None)  # some of it will be cached
        run = run_of(described(graph, "continue"), stack)
        wanted = expected(graph)
        assert seen(run) == wanted
        assert run.status == ("failed" if ("failed", None) in wanted.values() else "succeeded")
        outputs = {name: version.load() for name, version in run.outputs.items()}
        assert outputs == {name: wanted[name][1] for name in outputs}
        assert set(outputs) == {name for name, (status, _) in wanted.items() if status == "done" and name[0] == "n"}
        assert_in_order(graph)
        again = run_of(described(graph, "continue"), None)
        assert seen(again) == wanted
        assert again.executed == list(wanted.values()).count(("failed", None))
        Workspace.current().close()


def assert_in_order(graph: list[Call]) -> None:
    """No step began before everything that it needs, and was computed, had ended."""
    for index in range(len(graph)):
        inputs, after, when = needed(graph, index)
        for each in (*inputs, *filter(lambda each: each is not None, (after, when))):
            if ("begin", f"n{index}") in moments and ("begin", f"n{each}") in moments:
                assert moments.index(("end", f"n{each}")) < moments.index(("begin", f"n{index}"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs, mode=st.sampled_from(["stop", "fail_fast"]), in_threads=st.booleans())
def test_after_a_failure_that_stops_every_step_has_ended_somehow_and_resume_completes_the_rest(
    project: Path, graph: list[Call], mode: str, in_threads: bool
) -> None:
    stack = Stack("t", orchestrator=ThreadedOrchestrator(), artifact_store=LocalArtifactStore()) if in_threads else None
    with tempfile.TemporaryDirectory() as place, mock.patch.dict(os.environ, {"DRYSTONE_WORKSPACE": place}):
        run, wanted = run_of(described(graph, mode), stack), expected(graph)
        for name, (status, value) in seen(run).items():
            assert status == "cancelled" or (status, value) == wanted[name]
        fails = ("failed", None) in wanted.values()
        assert run.status == ("failed" if fails else "succeeded")
        assert fails or seen(run) == wanted
        healed = [attrs.evolve(call, fails=False) for call in graph]
        assert seen(run_of(described(healed, mode), stack)) == expected(healed)
        Workspace.current().close()
