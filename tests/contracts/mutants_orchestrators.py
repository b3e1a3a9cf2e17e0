"""Orchestrators that are broken on purpose; `caught_by` is the test of the contract that has to fail."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ClassVar

import attrs
import pytest

from drystone import Orchestrator, RunContext
from drystone.errors import StepFailedError
from drystone.testing import OrchestratorContract


class Mutant(OrchestratorContract):
    """The contract for a mutant, with little patience, since what it waits for does not happen."""

    mutant: type[Orchestrator]
    patience = 1.5

    @pytest.fixture
    def orchestrator(self) -> Orchestrator:
        return self.mutant()


Function = Callable[..., str]


class Pool(ThreadPoolExecutor):
    """A pool whose mutants do something else than to run a task once, and to answer with what it answers."""

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        return super().submit(self.run, function, *given)

    def run(self, function: Function, text: str) -> str:
        return function(text)


@attrs.frozen(kw_only=True)
class Threaded(Orchestrator):
    pool: ClassVar[type[ThreadPoolExecutor]] = Pool

    def executor(self, run: RunContext) -> Executor:
        return self.pool(4)


# Answers


class SuccessPool(Pool):
    def run(self, function: Function, text: str) -> str:
        return json.dumps({**json.loads(function(text)), "failure": None})


@attrs.frozen(kw_only=True)
class TellsNoFailure(Threaded):
    pool = SuccessPool


class TestTellsNoFailure(Mutant):
    mutant = TellsNoFailure
    caught_by = "test_a_failure_is_told_as_it_was"


class MutePool(Pool):
    """Keeps the outcome of a task that failed to itself."""

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        told: Future[Any] = Future()
        told.set_running_or_notify_cancel()

        def pass_on(done: Future[Any]) -> None:
            if json.loads(done.result())["failure"] is None:
                told.set_result(done.result())

        super().submit(function, *given).add_done_callback(pass_on)
        return told


@attrs.frozen(kw_only=True)
class SwallowsFailure(Threaded):
    pool = MutePool


class TestSwallowsFailure(Mutant):
    mutant = SwallowsFailure
    patience = -4.0  # the run is given up 2 seconds after its start
    caught_by = "test_it_can_be_used_again_after_a_failure"


class TwicePool(Pool):
    def run(self, function: Function, text: str) -> str:
        function(text)
        return function(text)


@attrs.frozen(kw_only=True)
class RunsTwice(Threaded):
    pool = TwicePool


class TestRunsTwice(Mutant):
    mutant = RunsTwice
    caught_by = "test_each_step_runs_once_and_after_what_it_needs"


class LatePool(Pool):
    """Answers with what a task is going to answer, as it thinks, and runs it afterwards."""

    def run(self, function: Function, text: str) -> str:
        step = json.loads(text)
        later = threading.Timer(0.3, function, [text])
        answer = function(json.dumps({**step, "inputs": {**step["inputs"], **_unmarked(step["inputs"])}}))
        later.start()
        return answer


def _unmarked(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"marks": {"value": ""}} if "marks" in inputs else {}


@attrs.frozen(kw_only=True)
class RunsLater(Threaded):
    pool = LatePool


class TestRunsLater(Mutant):
    mutant = RunsLater
    caught_by = "test_each_step_runs_once_and_after_what_it_needs"


class MixedPool(Pool):
    """Exchanges the results of two steps that run at the same time."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.last: Future[Any] | None = None

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        mine = super().submit(function, *given)
        self.last, other = mine, self.last
        return other or mine


@attrs.frozen(kw_only=True)
class AnswersForAnother(Threaded):
    pool = MixedPool


class TestAnswersForAnother(Mutant):
    mutant = AnswersForAnother
    caught_by = "test_it_ends_as_plain_python_does"


_answers: dict[str, str] = {}


class StalePool(Pool):
    """Answers a step of a run with what it answered the same step of an earlier one."""

    def run(self, function: Function, text: str) -> str:
        step = json.loads(text)["step"]
        if step not in _answers:
            _answers[step] = function(text)
        return _answers[step]


@attrs.frozen(kw_only=True)
class Stale(Threaded):
    pool = StalePool


class TestStale(Mutant):
    mutant = Stale
    caught_by = "test_a_second_run_is_not_the_first"


class ShortPool(Pool):
    """Has pipes of 64 KiB, and does not read what comes after."""

    def run(self, function: Function, text: str) -> str:
        return function(text)[: 1 << 16]


@attrs.frozen(kw_only=True)
class Truncates(Threaded):
    pool = ShortPool


class TestTruncatesAnswers(Mutant):
    mutant = Truncates
    caught_by = "test_large_tasks_and_answers_arrive_whole"


class SilentPool(Pool):
    def run(self, function: Function, text: str) -> str:
        return json.dumps({**json.loads(function(text)), "log": None})


@attrs.frozen(kw_only=True)
class LosesLogs(Threaded):
    pool = SilentPool


class TestLosesLogs(Mutant):
    mutant = LosesLogs
    caught_by = "test_what_steps_print_is_in_their_own_logs"


class WrappedPool(Pool):
    def run(self, function: Function, text: str) -> str:
        answer = json.loads(function(text))
        if answer["failure"]:
            raise StepFailedError("A step failed.")
        return json.dumps(answer)


@attrs.frozen(kw_only=True)
class ChangesExceptions(Threaded):
    pool = WrappedPool


class TestChangesExceptions(Mutant):
    mutant = ChangesExceptions
    caught_by = "test_an_exception_stays_what_it_was"


# Surroundings


@attrs.frozen(kw_only=True)
class LeaksEnvironment(Orchestrator):
    def executor(self, run: RunContext) -> Executor:
        os.environ["LEAKED"] = "1"
        return ThreadPoolExecutor(2)


class TestLeaksEnvironment(Mutant):
    mutant = LeaksEnvironment
    caught_by = "test_the_driver_keeps_its_environment_and_directory"


@attrs.frozen(kw_only=True)
class LeaksDirectory(Orchestrator):
    def executor(self, run: RunContext) -> Executor:
        os.chdir("/")
        return ThreadPoolExecutor(2)


class TestLeaksDirectory(Mutant):
    mutant = LeaksDirectory
    caught_by = "test_the_driver_keeps_its_environment_and_directory"


@attrs.frozen(kw_only=True)
class UsedOnce(Orchestrator):
    pool: ThreadPoolExecutor = attrs.field(factory=ThreadPoolExecutor, init=False, repr=False, eq=False)

    def executor(self, run: RunContext) -> Executor:
        return self.pool


class TestUsedOnce(Mutant):
    mutant = UsedOnce
    caught_by = "test_it_can_be_used_again_after_a_failure"


class TestCannotBePickled(Mutant):
    mutant = UsedOnce
    caught_by = "test_it_can_be_copied"


class StayingPool(Pool):
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


@attrs.frozen(kw_only=True)
class LeavesThreads(Threaded):
    pool = StayingPool


class TestLeavesThreadsBehind(Mutant):
    mutant = LeavesThreads
    caught_by = "test_nothing_is_left_behind"


@attrs.frozen(kw_only=True)
class LeavesProcesses(Orchestrator):
    def executor(self, run: RunContext) -> Executor:
        subprocess.Popen(["sleep", "20"])
        return ThreadPoolExecutor(2)


class TestLeavesProcessesBehind(Mutant):
    mutant = LeavesProcesses
    caught_by = "test_nothing_is_left_behind"


@attrs.frozen(kw_only=True)
class TellsSecrets(Threaded):
    token: str = ""


class TestTellsSecrets(Mutant):
    mutant = TellsSecrets
    caught_by = "test_a_secret_is_not_shown"

    @pytest.fixture
    def secret_orchestrator(self) -> tuple[TellsSecrets, str]:
        return TellsSecrets(token="open sesame"), "open sesame"
