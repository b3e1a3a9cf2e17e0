"""The law of plans: what says `run` is executed, and nothing is executed that says neither `run` nor `maybe`."""

from __future__ import annotations

import datetime
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drystone import Artifact, Stack, Workspace, pipeline, step, traversal
from drystone_local import LocalArtifactStore, LocalOrchestrator


@step
def number(n: int) -> int:
    return n


@step
def is_even(n: int) -> bool:
    return n % 2 == 0


@step
def double(x: int) -> int:
    return 2 * x


def made(factor: int) -> Any:
    """A step whose code holds a constant."""

    @step
    def combine(values: list, loud: bool) -> int:
        return (sum(values) * factor) % 3

    return combine


@attrs.frozen
class Call:
    """One node of a pipeline, as it is to be."""

    factor: int
    inputs: tuple[int, ...]
    plain: int
    loud: bool
    after: int | None
    when: int | None
    options: dict[str, Any]


calls = st.builds(
    Call,
    factor=st.integers(0, 2),
    inputs=st.lists(st.integers(0, 5), max_size=2).map(tuple),
    plain=st.integers(0, 1),
    loud=st.booleans(),
    after=st.none() | st.integers(0, 5),
    when=st.none() | st.none() | st.integers(0, 5),
    options=st.fixed_dictionaries(
        {},
        optional={
            "cache": st.sampled_from([False, *map(datetime.timedelta, (0, 1, 999_999_999))]),
            "cache_salt": st.sampled_from(["", "a"]),
            "ignore_inputs": st.sampled_from(["loud", "values"]),
        },
    ),
)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Call]]:
    """Graphs, each an edit of the one before."""
    graph = draw(st.lists(calls, min_size=1, max_size=6))
    states = [graph]
    for _ in range(draw(st.integers(1, 3))):
        graph = list(graph)
        for place in draw(st.sets(st.integers(0, len(graph) - 1), max_size=2)):
            changed = draw(calls)
            graph[place] = draw(st.sampled_from([changed, attrs.evolve(graph[place], plain=changed.plain)]))
        states.append(graph)
    return states


def described(graph: list[Call]) -> Any:
    """The pipeline of a graph."""

    @pipeline
    def body() -> Any:
        handles: list[Any] = []
        for index, call in enumerate(graph):
            before = handles[call.after % index] if call.after is not None and index else ()
            condition = is_even(handles[call.when % index]) if call.when is not None and index else None
            node = made(call.factor).with_options(name=f"n{index}", after=before, when=condition, **call.options)
            inputs = [handles[each % index] for each in call.inputs] if index else []
            handles.append(node([*inputs, call.plain], call.loud))
        return handles[-1]

    return body


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), rerun=st.none() | st.integers(0, 5), uncached=st.booleans(), at_once=st.booleans())
def test_what_says_run_is_executed_and_nothing_else_but_maybe(
    project: Path, history: list[list[Call]], rerun: int | None, uncached: bool, at_once: bool
) -> None:
    with (
        tempfile.TemporaryDirectory() as place,
        mock.patch.dict(os.environ, {"DRYSTONE_WORKSPACE": place}),
        mock.patch.object(traversal, "GROUP", -1.0 if at_once else 60.0),
    ):
        workspace = Workspace.current()
        for turn, graph in enumerate(history):
            body = described(graph).with_options(stack=inline)
            if turn == 1 and rerun is not None:
                body = body.with_options(rerun=f"n{rerun % len(graph)}")
            if turn == 2 and uncached:
                body = body.with_options(cache=False)
            plan, run = body.plan(), body()
            executed = {name for name, each in run.steps.items() if each.status == "succeeded"}
            says = {status: {name for name, each in plan.steps.items() if each.status == status} for status in STATUSES}
            assert says["run"] <= executed <= says["run"] | says["maybe"], str(plan)
            assert {name for name, each in run.steps.items() if each.status == "skipped"} >= says["skipped"], str(plan)
            assert plan.would_run or not executed
        workspace.close()


inline = Stack("i", orchestrator=LocalOrchestrator(isolation="inline"), artifact_store=LocalArtifactStore())
"""The law has nothing to do with where steps run; starting workers for each example takes most of the time."""

STATUSES = ("run", "cached", "maybe", "skipped")


def test_a_step_whose_condition_is_known_to_be_false_is_skipped(workspace: Workspace) -> None:
    @pipeline
    def conditional(n: int) -> Any:
        start = number(n)
        return double(number.with_options(name="guarded", when=is_even(start))(start))

    plan = conditional.plan(n=3)
    assert {name: each.status for name, each in plan.steps.items()} == {
        "number": "run",
        "is_even": "run",
        "guarded": "maybe",
        "double": "maybe",
    }
    conditional(n=3)
    plan = conditional.plan(n=3)
    assert {name: each.status for name, each in plan.steps.items()} == {
        "number": "cached",
        "is_even": "cached",
        "guarded": "skipped",
        "double": "skipped",
    }
    assert plan.steps["guarded"].causes[0].text == "its condition, the output of 'is_even', is false"
    assert plan.steps["double"].causes[0].text == "step 'guarded', which it depends on, is skipped"
    assert not plan.would_run


def test_a_step_that_takes_nothing_from_what_runs_before_it_is_planned_for_certain(workspace: Workspace) -> None:
    @pipeline
    def ordered(n: int) -> Any:
        return number.with_options(name="later", after=double(n))(1)

    assert ordered.plan(n=1).steps["later"].status == "run"
    ordered(n=1)
    plan = ordered.plan(n=2)
    assert {name: each.status for name, each in plan.steps.items()} == {"double": "run", "later": "cached"}


def test_of_two_equal_steps_the_second_may_find_the_result_of_the_first(workspace: Workspace) -> None:
    @pipeline
    def twice() -> Any:
        return number(1), number(1), number(2)

    plan = twice.plan()
    assert {name: each.status for name, each in plan.steps.items()} == {
        "number": "run",
        "number_2": "maybe",
        "number_3": "run",
    }
    assert plan.steps["number_2"].causes[-1].text == "runs unless number makes the same before it"


def test_what_does_not_count_is_no_cause(workspace: Workspace) -> None:
    @step(ignore_inputs="loud")
    def shown(n: int, loud: bool) -> int:
        return n

    @pipeline
    def showing(n: int, loud: bool) -> Any:
        return shown(n, loud)

    showing(n=1, loud=True)
    assert showing(n=1, loud=False).executed == 0
    causes = showing.plan(n=2, loud=False).steps["shown"].causes
    assert [cause.text for cause in causes] == ["parameter n 1 → 2"]


def test_another_salt_is_told_as_what_it_is(workspace: Workspace) -> None:
    @pipeline
    def salted(salt: str) -> Any:
        return number.with_options(cache_salt=salt)(1)

    salted(salt="a")
    causes = salted.plan(salt="b").steps["number"].causes
    assert [cause.text for cause in causes] == ["cache_salt 'a' → 'b'"]


def test_a_cache_of_any_age_is_no_trouble(workspace: Workspace) -> None:
    @pipeline(cache=datetime.timedelta.max)
    def ageless() -> Any:
        return number(1)

    ageless()
    assert ageless().executed == 0
    assert ageless.with_options(cache=datetime.timedelta(0))().executed == 1


@pytest.fixture
def two_stores(project: Path) -> tuple[Stack, Stack]:
    """Two stacks of one project, each with a store of its own."""
    (project / "stacks.py").write_text(
        "from drystone import Stack\nfrom drystone_local import *\n"
        "one = Stack('one', orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore('store-one'))\n"
    )
    one, two = (
        Stack(name, orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore(f"store-{name}"))
        for name in ("one", "two")
    )
    return one, two


def test_a_plan_copies_nothing_and_a_run_what_it_needs(
    workspace: Workspace, project: Path, two_stores: tuple[Stack, Stack]
) -> None:
    @pipeline
    def stored(n: int) -> Any:
        return double(number(n))

    one, two = two_stores
    stored.with_options(stack=one)(n=1)
    plan = stored.with_options(stack=two).plan(n=1)
    assert {each.status for each in plan.steps.values()} == {"cached"}
    assert not list(project.glob("store-two/blobs/*/*"))
    run = stored.with_options(stack=two)(n=1)
    assert run.executed == 0
    assert len(list(project.glob("store-two/blobs/*/*"))) == 2
    assert run.output.load() == 2


def test_a_hit_gets_a_version_under_its_own_name_once(workspace: Workspace) -> None:
    @pipeline
    def first(n: int) -> Any:
        return double(number(n))

    @pipeline
    def second(n: int) -> Any:
        return double(number(n))

    first(n=1), first(n=2)
    runs = [second(n=n) for n in (1, 2, 1, 2)]
    assert [run.executed for run in runs] == [0] * 4
    assert [str(run.output) for run in runs] == ["second.double@1", "second.double@2"] * 2
    assert runs[0].output.produced_by == ("second-1", "double")
    assert len(workspace.artifacts(name="second.double")) == 2


def test_references_are_not_copied_for_a_plan_either(
    workspace: Workspace, project: Path, two_stores: tuple[Stack, Stack]
) -> None:
    one, two = two_stores

    @pipeline
    def making() -> Any:
        return number(7)

    @pipeline
    def reading() -> Any:
        return double(Artifact("making.number").latest)

    making.with_options(stack=one)()
    assert reading.with_options(stack=two).plan().would_run
    assert not list(project.glob("store-two/blobs/*/*"))
    assert reading.with_options(stack=two)().output.load() == 14


def test_a_long_chain_of_equal_steps_is_planned_in_time(workspace: Workspace) -> None:
    @pipeline
    def long(n: int) -> Any:
        for _ in range(2000):
            n = double(n)
        for each in range(2000):
            number(each)
        return n

    began = time.monotonic()
    plan = long.plan(n=1)
    assert time.monotonic() - began < 10
    assert [each.status for each in plan.steps.values()].count("maybe") == 1999


def test_a_hit_that_was_computed_anew_is_another_version(workspace: Workspace) -> None:
    marks = iter("abc")

    @step(ignore=[marks])
    def mark() -> str:
        return next(marks)

    @pipeline
    def first() -> Any:
        return mark()

    @pipeline
    def second() -> Any:
        return mark()

    first()
    assert second().output.load() == "a"
    first.with_options(rerun="mark")()
    assert [str(second().output), second().output.load()] == ["second.mark@2", "b"]
