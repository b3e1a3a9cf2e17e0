"""What every orchestrator does when steps fail, take too long or too much, or are not wanted any more."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from drystone.errors import MemoryLimitError, PlanError, StepTimeoutError, WorkerDiedError
from drystone.kinds import CANCEL, ISOLATION, PARALLEL, RESOURCES, TIMEOUT
from drystone.options import Resources
from drystone.runs import CANCELLED, FAILED, SKIPPED, SUCCEEDED
from drystone.testing import specimens
from drystone.testing.benches import Bench
from drystone.testing.marks import whereabouts
from drystone.testing.specimens import EXITS, FAILS, STUBBORN, SUCCEEDS, USED_UP

MIB = 1 << 20

SAID = {
    FAILS: ("ValueError: broken on purpose", "in misbehave"),
    USED_UP: ("ValueError: broken on purpose", "in misbehave"),
    EXITS: ("SystemExit: 3", "in misbehave"),
    STUBBORN: ("StubbornError: broken on purpose, 1 of 2", "in misbehave"),
}
"""What the record of a failed step says, by what the step does."""


class FailingRuns:
    """The part of the contract about failures, limits and cancelled runs."""

    patience: ClassVar[float]

    @pytest.mark.parametrize("behaviour", SAID)
    def test_a_failure_is_told_as_it_was(self, bench: Bench, behaviour: str) -> None:
        """The record has type, message and traceback, and the exception of the run has the step's as its cause."""
        outcome = bench.run(specimens.shaped, "chain", behaviour)
        told = outcome.run.steps["b"].error or ""
        missing = [words for words in SAID[behaviour] if words not in told]
        assert missing == [], f"The record of a step that {behaviour} lacks {missing}. It says: {told}"
        assert outcome.cause is not None, "The exception of a failed run has no cause."
        if behaviour in (FAILS, USED_UP):
            assert type(outcome.cause) is ValueError, f"The step raised ValueError; that became {outcome.cause!r}."

    def test_attempts_are_counted(self, bench: Bench) -> None:
        """Of a step that fails as often as it is tried, the record knows both attempts and what each printed."""
        step = bench.run(specimens.shaped, "one", USED_UP).run.steps["a"]
        assert step.attempts == 2, f"A step with one retry was tried {step.attempts} times."
        assert len(step.failed_attempts) == 1, "The first attempt is not on record."
        assert "broken on purpose" in step.failed_attempts[0].error, "The first attempt has lost its error."

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

    @pytest.mark.parametrize(("way", "said"), [("os._exit(7)", "7"), ("SIGKILL", "SIGKILL")])
    def test_a_step_that_dies_takes_nobody_along(self, bench: Bench, way: str, said: str) -> None:
        """With the capability `isolation`: `WorkerDiedError` names the cause, and other branches complete."""
        bench.needs(ISOLATION)
        outcome = bench.run(specimens.dying, way, whereabouts())
        assert isinstance(outcome.cause, WorkerDiedError), (
            f"A step ended its process by {way}; that must be WorkerDiedError, not {outcome.cause!r}."
        )
        assert said in str(outcome.cause), f"A step ended its process by {way}, which the error does not name."
        assert outcome.statuses == {"vanish": FAILED, "first": SUCCEEDED, "second": SUCCEEDED}, (
            f"A step ended its process by {way}, and others fared ill."
        )
        again = bench.run(specimens.doubled, 3)
        assert again.run.status == SUCCEEDED, f"After a step that died, the next run failed: {again.cause!r}"
