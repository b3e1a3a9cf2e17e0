"""What every orchestrator does when steps fail, take too long or too much, or are not wanted any more."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from drystone.errors import MemoryLimitError, PlanError, StepTimeoutError, WorkerDiedError
from drystone.options import Resources
from drystone.orchestrators import CANCEL, ISOLATION, PARALLEL, RESOURCES, TIMEOUT
from drystone.runs import CANCELLED, FAILED, SKIPPED, SUCCEEDED
from drystone.testing import specimens
from drystone.testing.benches import Bench
from drystone.testing.marks import whereabouts
from drystone.testing.specimens import BEHAVIOURS, EXITS, FAILS, RETRIED, STUBBORN, SUCCEEDS, USED_UP

MIB = 1 << 20

SAID = {
    FAILS: "ValueError: broken on purpose",
    USED_UP: "ValueError: broken on purpose",
    EXITS: "SystemExit: 3",
    STUBBORN: "StubbornError: broken on purpose, 1 of 2",
}
"""What the record of a failed step says, by what the step does."""


class FailingRuns:
    """The part of the contract about failures, limits and cancelled runs."""

    patience: ClassVar[float]

    def test_a_failure_is_told_as_it_was(self, bench: Bench) -> None:
        """The record has its type and message, and every attempt."""
        outcome = bench.run(specimens.failing_each)
        steps = {behaviour: outcome.run.steps[f"step{place}"] for place, behaviour in enumerate(BEHAVIOURS)}
        for behaviour, words in SAID.items():
            told = steps[behaviour].error or ""
            assert words in told, f"The record of a step that {behaviour} does not say {words!r}, but: {told}"
        attempts = {behaviour: step.attempts for behaviour, step in steps.items()}
        assert attempts == BEHAVIOURS, f"Steps were tried {attempts} times."
        for behaviour in (RETRIED, USED_UP):
            first = steps[behaviour].failed_attempts[0].error
            assert SAID[FAILS] in first, f"The first attempt of a step that {behaviour} does not say why it failed."

    def test_an_exception_stays_what_it_was(self, bench: Bench) -> None:
        """The exception of the run has the step's as its cause, of its class if that is a plain one."""
        cause = bench.run(specimens.shaped, "chain", FAILS).cause
        assert type(cause) is ValueError, f"The step raised ValueError; that became {cause!r}."
        assert str(cause) == "broken on purpose", f"The message of an exception became {str(cause)!r}."

    def test_it_can_be_used_again_after_a_failure(self, bench: Bench) -> None:
        """The same instance runs another pipeline."""
        bench.run(specimens.shaped, "diamond", FAILS)
        outcome = bench.run(specimens.shaped, "diamond", SUCCEEDS)
        assert outcome.run.status == SUCCEEDED, f"After a failed run, the next one failed: {outcome.cause!r}"

    @pytest.mark.parametrize("on_error", ["continue", "stop", "fail_fast"])
    def test_other_branches_end_as_on_error_says(self, bench: Bench, on_error: str) -> None:
        """`continue` completes them, `stop` what runs, `fail_fast` nothing that the orchestrator can cancel."""
        is_parallel, ends_at_once = bench.can(PARALLEL), on_error == "fail_fast" and bench.can(CANCEL)
        hook = (lambda step: None) if ends_at_once else (lambda step: bench.let_go())
        outcome = bench.run(
            specimens.branches,
            bench.marked,
            self.patience if is_parallel else 0.0,
            self.patience,
            on_error=on_error,
            steps={"broken": {"on_failure": hook}},
        )
        is_going = on_error == "continue" or (is_parallel and not ends_at_once)
        hang, follow = SUCCEEDED if is_going else CANCELLED, SUCCEEDED if on_error == "continue" else CANCELLED
        assert outcome.statuses == {"broken": FAILED, "hang": hang, "follow": follow}, (
            f"With on_error={on_error!r}, other branches ended otherwise."
        )
        assert "waited in vain" not in bench.marks(), "It declares 'cancel', but waited for a step to end by itself."

    def test_a_step_is_ended_after_its_timeout(self, bench: Bench) -> None:
        """With the capability `timeout`; without it, such a step is refused before anything starts."""
        changed: dict[str, Any] = {"steps": {"hang": {"timeout": 0.3}}}
        if not bench.can(TIMEOUT):
            self._assert_refused(bench, TIMEOUT, changed)
            return
        outcome = bench.run(specimens.hanging, bench.marked, self.patience, **changed)
        assert isinstance(outcome.cause, StepTimeoutError), (
            f"It declares 'timeout'; a step that hangs must fail with StepTimeoutError, not {outcome.cause!r}."
        )
        assert outcome.statuses == {"hang": FAILED, "follow": SKIPPED, "beside": SUCCEEDED}
        assert "waited in vain" not in bench.marks(), "The step ended by itself, long after its timeout."

    def test_a_step_is_ended_beyond_its_memory(self, bench: Bench) -> None:
        """With the capability `resources`; without it, such a step is refused before anything starts."""
        if not bench.can(RESOURCES):
            self._assert_refused(bench, RESOURCES, {"steps": {"hang": {"resources": Resources(memory=256 * MIB)}}})
            return
        limited: dict[str, Any] = {"steps": {"gorge": {"resources": Resources(memory=256 * MIB)}}}
        outcome = bench.run(specimens.gorging, 512 * MIB, bench.marked, self.patience, **limited)
        assert isinstance(outcome.cause, MemoryLimitError), (
            f"It declares 'resources'; a step beyond its memory must fail with MemoryLimitError, not {outcome.cause!r}."
        )
        assert "waited in vain" not in bench.marks(), "The step ended by itself; it was over its limit long before."

    @staticmethod
    def _assert_refused(bench: Bench, capability: str, changed: dict[str, Any]) -> None:
        for call in ("plan", "__call__"):
            asked = specimens.hanging.with_options(stack=bench.stack, **changed)
            with pytest.raises(PlanError, match=capability):
                getattr(asked, call)("", 0.0)
        assert bench.workspace.runs() == [], "Something was started, though the plan is refused."

    def test_a_cancelled_run_ends(self, bench: Bench) -> None:
        """With the capability `cancel` at once, without it when the running step ends; nothing else is started."""
        then = (lambda: None) if bench.can(CANCEL) else bench.let_go
        thread = bench.cancelled_when("begin hang", then=then)
        outcome = bench.run(specimens.hanging, bench.marked, self.patience)
        thread.join()
        assert outcome.run.status == CANCELLED, f"The run was cancelled while a step ran, and {outcome.run.status}."
        assert "waited in vain" not in bench.marks(), "It declares 'cancel', but waited for a step to end by itself."
        assert "begin follow" not in bench.marks(), "A step was started after the run had been cancelled."

    def test_a_step_that_dies_takes_nobody_along(self, bench: Bench) -> None:
        """With the capability `isolation`: `WorkerDiedError` names the cause, and other branches complete."""
        bench.needs(ISOLATION)
        outcome = bench.run(specimens.dying, whereabouts())
        assert isinstance(outcome.cause, WorkerDiedError), (
            f"A step ended its process; that must be WorkerDiedError, not {outcome.cause!r}."
        )
        right = {"exits": FAILED, "killed": FAILED, "first": SUCCEEDED, "second": SUCCEEDED}
        assert outcome.statuses == right, "Two steps ended their processes, and others fared ill."
        for name, words in {"exits": "7", "killed": "SIGKILL"}.items():
            told = outcome.run.steps[name].error or ""
            assert "WorkerDiedError" in told, f"A step ended its process; that became: {told}"
            assert words in told.partition("\n")[0], f"A step ended with {words}, which the error does not say: {told}"
        again = bench.run(specimens.doubled, 3)
        assert again.run.status == SUCCEEDED, f"After a step that died, the next run failed: {again.cause!r}"
