"""The local orchestrator runs steps in the driver's process or in workers, by what they need."""

import pytest

from drystone import Resources, RunContext, StepNeeds
from drystone.errors import StackError
from drystone_local import LocalOrchestrator
from drystone_local.machines import this_machine

RUN = RunContext(run="training-1", pipeline="training", stack="default", steps=2)


NUMBER = "it is a whole number from 1 on, or None for as many as the machine has cores."


def needs(**options):
    return StepNeeds(name="train", **{"alone": True, "importable": True, **options})


@pytest.mark.parametrize(
    ("step", "auto"),
    [
        (needs(), True),
        (needs(alone=False), False),
        (needs(timeout=1), False),
        (needs(resources=Resources(cpus=1)), False),
        (needs(alone=False, importable=False), True),
        (needs(importable=False, timeout=1), False),
        (needs(importable=False, resources=Resources(memory="1GiB")), False),
    ],
)
def test_what_a_step_needs_decides_where_it_runs(step, auto):
    assert LocalOrchestrator().runs_inline(step) is auto
    assert LocalOrchestrator(isolation="process").runs_inline(step) is False
    assert LocalOrchestrator(isolation="inline").runs_inline(step) is True


def test_workers_can_do_everything_and_inline_nothing():
    everything = {"parallel", "timeout", "resources", "cancel", "isolation"}
    assert LocalOrchestrator().capabilities == everything
    assert LocalOrchestrator(isolation="process").capabilities == everything
    assert LocalOrchestrator(isolation="inline").capabilities == frozenset()


def test_it_takes_four_workers_or_one_per_core():
    with LocalOrchestrator().executor(RUN) as pool, LocalOrchestrator(workers=9).executor(RUN) as other:
        assert (pool.workers, other.workers) == (max(4, this_machine().cpus), 9)


def test_it_is_called_local():
    assert (LocalOrchestrator.kind, LocalOrchestrator.name) == ("orchestrator", "local")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"isolation": "proces"}, "isolation='proces'): it is one of 'auto', 'process' and 'inline'."),
        ({"workers": 0}, "workers=0): it is a whole number from 1 on, or None for as many as the machine has cores."),
        (
            {"workers": 2.5},
            "workers=2.5): it is a whole number from 1 on, or None for as many as the machine has cores.",
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(StackError) as caught:
        LocalOrchestrator(**settings)
    assert str(caught.value) == f"LocalOrchestrator({message}"
