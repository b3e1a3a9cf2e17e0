"""Orchestrators that can do other things than they say; `caught_by` is the test of the contract that has to fail."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import Executor, ThreadPoolExecutor

import attrs
from tests.contracts.mutants_orchestrators import Function, Mutant, Pool, Threaded

from drystone import Orchestrator, RunContext
from drystone_local import LocalOrchestrator


@attrs.frozen(kw_only=True)
class HidesParallel(Threaded):
    """Runs steps beside each other, and says that each has the process to itself."""

    capabilities = frozenset()


class TestHidesParallel(Mutant):
    mutant = HidesParallel
    caught_by = "test_steps_run_beside_each_other_if_it_says_so"


class TestMixesLogs(Mutant):
    mutant = HidesParallel
    caught_by = "test_what_steps_print_is_in_their_own_logs"


@attrs.frozen(kw_only=True)
class OneAtATime(Orchestrator):
    def executor(self, run: RunContext) -> Executor:
        return ThreadPoolExecutor(1)


class TestOneAtATime(Mutant):
    mutant = OneAtATime
    caught_by = "test_steps_run_beside_each_other_if_it_says_so"


@attrs.frozen(kw_only=True)
class NeverEnds(Threaded):
    """Says that it ends steps."""

    capabilities = frozenset({"parallel", "timeout", "resources", "cancel"})


class TestIgnoresTimeout(Mutant):
    mutant = NeverEnds
    caught_by = "test_a_step_is_ended_after_its_timeout"


class TestIgnoresMemory(Mutant):
    mutant = NeverEnds
    caught_by = "test_a_step_is_ended_beyond_its_memory"


class TestWaitsWhenCancelled(Mutant):
    mutant = NeverEnds
    caught_by = "test_a_cancelled_run_ends"


class TestWaitsWhenItIsToFailFast(Mutant):
    mutant = NeverEnds
    caught_by = "test_other_branches_end_as_on_error_says"


@attrs.frozen(kw_only=True)
class NotIsolated(Threaded):
    capabilities = frozenset({"parallel", "isolation"})


class TestNotIsolated(Mutant):
    mutant = NotIsolated
    caught_by = "test_a_step_leaves_nothing_to_the_next"


class TestDiesWithTheStep(Mutant):
    mutant = NotIsolated
    caught_by = "test_a_step_that_dies_takes_nobody_along"


PROGRAM = """
import sys
from drystone.workers import run_task
answer = run_task(sys.stdin.read())
open(sys.argv[1], "w").write(answer)
"""


class ProgramPool(Pool):
    """Runs each task in a program of its own, and takes an answer that is not there for an error of its own."""

    def run(self, function: Function, text: str) -> str:
        with tempfile.NamedTemporaryFile("r") as file:
            subprocess.run([sys.executable, "-c", PROGRAM, file.name], input=text, text=True, check=False)
            if answer := file.read():
                return answer
        raise OSError("There is no answer.")


@attrs.frozen(kw_only=True)
class WrongErrorOfDeath(Threaded):
    pool = ProgramPool
    capabilities = frozenset({"parallel", "isolation"})


class TestWrongErrorOfDeath(Mutant):
    mutant = WrongErrorOfDeath
    caught_by = "test_a_step_that_dies_takes_nobody_along"


@attrs.frozen(kw_only=True)
class Boasts(Threaded):
    capabilities = frozenset({"parallel", "teleportation"})


class TestBoasts(Mutant):
    mutant = Boasts
    caught_by = "test_its_capabilities_are_known_and_it_has_a_name"


@attrs.frozen(kw_only=True)
class LeaksBetweenSteps(LocalOrchestrator):
    """Lets all steps share the driver's process, and says that each has its own."""

    capabilities = frozenset({"parallel", "timeout", "resources", "cancel", "isolation"})

    def executor(self, run: RunContext) -> Executor:
        return ThreadPoolExecutor(4)


class TestLeaksBetweenSteps(Mutant):
    mutant = LeaksBetweenSteps
    caught_by = "test_a_step_leaves_nothing_to_the_next"
