"""Orchestrators that are broken on purpose; `caught_by` is the test of the contract that has to fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import attrs
import pytest

from drystone import Orchestrator, RunContext
from drystone.testing import OrchestratorContract


class Mutant(OrchestratorContract):
    """The contract for a mutant."""

    mutant: type[Orchestrator]

    @pytest.fixture
    def orchestrator(self) -> Orchestrator:
        return self.mutant()


class FirstAnswerPool(ThreadPoolExecutor):
    """Answers everything with what the first task returned."""

    first: Future[Any] | None = None

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        self.first = self.first or super().submit(function, *given, **named)
        return self.first


@attrs.frozen(kw_only=True)
class Stale(Orchestrator):
    def executor(self, run: RunContext) -> Executor:
        return FirstAnswerPool(2)


class TestStale(Mutant):
    mutant = Stale
    caught_by = "test_it_computes_what_plain_python_does"


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
