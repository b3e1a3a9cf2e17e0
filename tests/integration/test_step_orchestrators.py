"""One heavy step runs on another orchestrator of the stack, while the rest runs where it always does."""

from __future__ import annotations

import os

import pytest

from drystone import Orchestrator, Stack, Workspace
from drystone.errors import PlanError
from drystone.testing.commands import CommandOrchestrator
from drystone_local import LocalArtifactStore, LocalOrchestrator

FLOWS = """
import os
from drystone import get_context, pipeline, step

@step
def small(n: int) -> int:
    return os.getpid()

@step(on="big")
def large(n: int) -> int:
    return os.getpid()

@step
def same(n: int) -> int:
    return n + 1

@pipeline
def mixed():
    small(same(1))
    large(2)
    large.map([3, 4])

@pipeline
def placed():
    return same(1)
"""

INLINE, PROCESS = LocalOrchestrator(isolation="inline"), LocalOrchestrator(isolation="process")


def stack(name: str = "s", orchestrator: Orchestrator = INLINE, **on: Orchestrator) -> Stack:
    return Stack(name, orchestrator=orchestrator, artifact_store=LocalArtifactStore(), step_orchestrators=on)


@pytest.fixture
def flows(module, monkeypatch, project):
    monkeypatch.syspath_prepend(str(project))
    module("flows_on", FLOWS)
    import flows_on

    return flows_on


def test_each_step_runs_where_its_orchestrator_says(flows):
    run = flows.mixed.with_options(stack=stack(big=PROCESS))()
    assert {name: each.where for name, each in run.steps.items() if "[" not in name} == {
        "small": "inline",
        "same": "inline",
        "large": "worker",
        "large_2": "worker",
    }
    assert run.steps["small"].outputs["output"].load() == os.getpid()
    assert run.steps["large"].outputs["output"].load() != os.getpid()
    assert os.getpid() not in run.steps["large_2"].outputs["output"].load()


def test_the_driver_may_run_what_is_on_another_orchestrator_while_workers_run_the_rest(flows):
    run = flows.mixed.with_options(stack=stack(orchestrator=PROCESS, big=INLINE))()
    assert run.steps["small"].outputs["output"].load() != os.getpid()
    assert run.steps["large"].outputs["output"].load() == os.getpid()


@pytest.mark.parametrize("rest", [INLINE, PROCESS], ids=["inline", "process"])
def test_a_step_may_be_launched_as_a_command_while_the_rest_runs_here(flows, rest):
    run = flows.mixed.with_options(stack=stack(orchestrator=rest, big=CommandOrchestrator()))()
    made = {name: run.steps[name].outputs["output"].load() for name in ("small", "large", "large_2")}
    assert (made["small"] == os.getpid()) == (rest is INLINE)
    assert len({os.getpid(), made["small"], made["large"], *made["large_2"]}) == 4 + (rest is PROCESS)


def test_a_plan_says_which_steps_run_on_another_orchestrator(flows):
    plan = flows.mixed.with_options(stack=stack(big=PROCESS)).plan()
    assert (plan.steps["large"].where, plan.steps["large"].on) == ("worker", "big")
    assert (plan.steps["small"].where, plan.steps["small"].on) == ("inline", "")
    assert str(plan).count("worker on big") == 2


@pytest.mark.parametrize("other", [{"big": PROCESS}, {"big": INLINE, "huge": PROCESS}])
def test_where_a_step_runs_is_not_part_of_its_key(flows, other):
    first = flows.placed.with_options(stack=stack())
    assert first().executed == 1
    moved = flows.placed.with_options(stack=stack(**other), steps={"same": {"on": "big"}})
    assert moved().executed == 0
    assert moved.plan().steps["same"].status == "cached"


def test_on_is_an_option_that_can_be_changed_and_taken_back(flows):
    assert flows.large.options.on == "big"
    assert flows.large.with_options(on="huge").options.on == "huge"
    assert flows.large.with_options(on=None).options.on is None
    home = {name: {"on": None} for name in ("large", "large_2")}
    run = flows.mixed.with_options(stack=stack(), steps=home)()
    assert run.steps["large"].outputs["output"].load() == os.getpid()


def test_a_stack_without_the_orchestrator_is_refused_before_anything_runs(flows):
    with pytest.raises(PlanError, match="Step 'large' is to run on 'big', an orchestrator that stack 's' does not"):
        flows.mixed.with_options(stack=stack(huge=PROCESS))()
    assert Workspace.current().runs() == []


def test_a_run_that_is_debugged_needs_none_of_its_orchestrators(flows):
    run = flows.mixed.with_options(stack=stack(), debug=True)()
    assert {each.where for each in run.steps.values()} == {"inline"}


def test_a_run_keeps_what_the_orchestrators_of_its_steps_were(flows):
    first = flows.placed.with_options(stack=stack(big=PROCESS))()
    second = flows.placed.with_options(stack=stack(big=LocalOrchestrator(isolation="process", workers=2)))()
    texts = [each.text for each in Workspace.current().diff(first, second).differences]
    assert "setting step_orchestrators.big.workers none → 2" in texts
