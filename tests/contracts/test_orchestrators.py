"""Orchestrators of ours, and one as a third party writes it, do what every orchestrator does."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor

import attrs
import pytest

from drystone import Orchestrator, RunContext
from drystone.testing import OrchestratorContract
from drystone_local import LocalOrchestrator


@attrs.frozen(kw_only=True)
class ThreadedOrchestrator(Orchestrator):
    """Runs every step in a thread pool."""

    workers: int = 4

    def executor(self, run: RunContext) -> Executor:
        """A pool of threads."""
        return ThreadPoolExecutor(self.workers)


class TestThreadedOrchestrator(OrchestratorContract):
    @pytest.fixture
    def orchestrator(self) -> ThreadedOrchestrator:
        return ThreadedOrchestrator()


class TestLocalOrchestrator(OrchestratorContract):
    @pytest.fixture(params=["auto", "process", "inline"])
    def orchestrator(self, request: pytest.FixtureRequest) -> LocalOrchestrator:
        return LocalOrchestrator(isolation=request.param)
