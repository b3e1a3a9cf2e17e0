"""What every orchestrator does with the surroundings of steps, with what they print, ask, take in and give out."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from drystone.orchestrators import ISOLATION, PARALLEL
from drystone.runs import SUCCEEDED
from drystone.testing import specimens
from drystone.testing.attempts import content, digest
from drystone.testing.benches import BRIEFLY, Bench, processes
from drystone.testing.marks import whereabouts
from drystone.testing.specimens import FAILS, SUCCEEDS

HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "multiprocessing.resource_sharer")
"""Processes of Python itself that stay as long as the driver."""

LASTING = "drystone-logs"
"""A thread of core that stays as long as the driver."""


class Surroundings:
    """The part of the contract about environments, logs, large values, questions, and what is left afterwards."""

    shares_files: ClassVar[bool]
    patience: ClassVar[float]
    large: ClassVar[int] = 32 << 20

    def test_the_driver_keeps_its_environment_and_directory(self, bench: Bench) -> None:
        """Whatever the orchestrator does for its workers, also when a step fails."""
        before = dict(os.environ), Path.cwd()
        bench.run(specimens.shaped, "diamond", FAILS)
        after = dict(os.environ), Path.cwd()
        changed = {name for name, _ in before[0].items() ^ after[0].items()}
        assert changed == set(), f"The run changed variables of the driver: {sorted(changed)}."
        assert after[1] == before[1], f"The run left the driver in {after[1]}."

    def test_a_step_leaves_nothing_to_the_next(self, bench: Bench) -> None:
        """No directory and no variable, where a step has its process to itself; and none to the driver.

        Globals of modules may stay in a worker that is used again.
        """
        if not bench.is_exclusive:
            pytest.skip("Steps share the process of others that run at the same time.")
        specimens.left_behind.clear()
        before = Path.cwd()
        outcome = bench.run(specimens.littering, "/usr").outputs
        directory, variable = outcome["seen"]
        assert variable == "", "A step sees a variable that another one has set."
        assert directory != "/usr", "A step runs in the directory that another one has changed to."
        assert "DRYSTONE_LITTER" not in os.environ, "A step's variable is left in the driver."
        assert Path.cwd() == before, "A step's directory is left in the driver."
        if bench.can(ISOLATION):
            assert outcome["whereabouts"] != whereabouts(), (
                "It declares 'isolation', but runs a step in the driver's own process beside others."
            )
            assert specimens.left_behind == [], "It declares 'isolation', but a step has reached the driver's memory."

    # What they print

    def test_what_steps_print_is_in_their_own_logs(self, bench: Bench) -> None:
        """By whichever way it is printed, from the beginning to the end, and nothing of what another step prints."""
        waits = self.patience if bench.can(PARALLEL) else BRIEFLY / 2
        run = bench.run(specimens.speaking, bench.marked, waits, bench.is_exclusive).run
        assert run.status == SUCCEEDED, run.error
        ways = ["prints", "complains", "logs", *(["spawns"] if bench.is_exclusive else [])]
        for name in ("cora", "otto"):
            printed = run.steps[name].logs().splitlines()
            lines = [f"{name} {way} {when}" for when in ("early", "late") for way in ways]
            lost = [line for line in lines if line not in printed]
            assert lost == [], f"The log of step {name!r} lacks {lost}."
            strange = [line for line in printed if line not in lines]
            assert strange == [], f"The log of step {name!r} has what is not its own: {strange}."
            assert printed == lines, f"The log of step {name!r} is out of order, or says things twice: {printed}"

    def test_what_a_failed_step_printed_is_kept(self, bench: Bench) -> None:
        """Its traceback stands below it."""
        step = bench.run(specimens.complaining).run.steps["complain"]
        assert "fractions.py" in (step.error or ""), "The record of a failure lacks the traceback."
        printed = step.logs()
        assert printed.startswith("before it failed\n"), "What a step printed before it failed is lost."
        assert printed.rstrip().endswith("for Fraction: 'no number'"), "The log does not end with the traceback."

    # What they take in, give out and ask

    def test_large_values_arrive_whole(self, bench: Bench) -> None:
        """Tens of MiB, out of one step and into another."""
        outputs = bench.run(specimens.large, "seed", self.large).outputs
        right = content("seed", self.large)
        assert outputs["measured"].split()[0] == str(len(right)), "A large value arrived in a step with another length."
        assert len(outputs["data"]) == len(right), "A large result was stored with another length."
        assert digest(outputs["data"]) == digest(right), "A large result was not stored as it was."

    def test_large_tasks_and_answers_arrive_whole(self, bench: Bench) -> None:
        """The JSON that executors are given, and that they bring back, may have a million characters."""
        text = "äx" * 500_000
        outcome = bench.run(specimens.noting, text)
        assert outcome.run.status == SUCCEEDED, f"A step with a long parameter and long metadata: {outcome.cause!r}"
        assert outcome.run.output.load() == len(text), "The JSON of a large task did not arrive whole."
        assert outcome.run.steps["note"].metadata == {"text": text}, "The JSON of a large answer did not arrive whole."

    def test_steps_get_what_they_ask_of_the_workspace(self, bench: Bench) -> None:
        """`load_artifact`, `save_artifact`, `log_metadata` and `get_context`; what is loaded becomes an input."""
        bench.run(specimens.giving, 41)
        run = bench.run(specimens.asking).run
        assert run.status == SUCCEEDED, run.error
        step = run.steps["ask"]
        assert step.outputs["output"].load() == 41, "load_artifact() gave something else."
        assert step.metadata == {"given": 41, "attempt": 1, "step": "ask"}, "What the step logged is not on record."
        assert [str(each) for each in step.dynamic_inputs.values()] == ["contract.given@1"], (
            "What the step loaded is not recorded as its input."
        )
        saved = bench.workspace.artifact("contract.saved")
        assert saved.load() == [41, 41], "save_artifact() stored something else."
        assert saved.produced_by == (run.name, "ask"), "What the step saved is not known to be made by it."

    # What is left

    @pytest.mark.parametrize("behaviour", [SUCCEEDS, FAILS])
    def test_nothing_is_left_behind(self, bench: Bench, behaviour: str) -> None:
        """No process and no thread, soon after the run, however it ended."""
        threads, started = set(threading.enumerate()), processes()
        bench.run(specimens.shaped, "wide", behaviour)
        deadline = time.monotonic() + min(self.patience, 5.0)
        while (left := _left(threads, started)) and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert left == [], f"The run is over, and still there are: {', '.join(left)}."


def _left(threads: set[threading.Thread], started: dict[int, str]) -> list[str]:
    """The threads and processes that are new."""
    new = [each.name for each in threading.enumerate() if each not in threads and each.name != LASTING]
    children = [command or f"process {number}" for number, command in processes().items() if number not in started]
    return new + [each for each in children if not any(helper in each for helper in HELPERS)]
