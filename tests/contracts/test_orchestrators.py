"""Orchestrators of ours, and one as a third party writes it, do what every orchestrator does."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import attrs
import pytest

from drystone import Orchestrator, RunContext, Secret
from drystone.testing import InlineOrchestrator, OrchestratorContract
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


class TestOrchestratorWithoutOurFiles(TestThreadedOrchestrator):
    shares_files = False


class TestLocalOrchestrator(OrchestratorContract):
    @pytest.fixture(params=["auto", "process", "inline"])
    def orchestrator(self, request: pytest.FixtureRequest) -> LocalOrchestrator:
        return LocalOrchestrator(isolation=request.param)


class TestInlineOrchestrator(OrchestratorContract):
    @pytest.fixture
    def orchestrator(self) -> InlineOrchestrator:
        return InlineOrchestrator()


@attrs.frozen(kw_only=True)
class PooledOrchestrator(Orchestrator):
    """Runs every step in one of a few processes that Python starts."""

    workers: int = 2
    token: Secret | None = None

    def executor(self, run: RunContext) -> Executor:
        """A pool of fresh processes."""
        return ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"))


class TestPooledOrchestrator(OrchestratorContract):
    @pytest.fixture
    def orchestrator(self) -> PooledOrchestrator:
        return PooledOrchestrator()

    @pytest.fixture
    def secret_orchestrator(self, monkeypatch: pytest.MonkeyPatch) -> tuple[PooledOrchestrator, str]:
        monkeypatch.setenv("POOL_TOKEN", "open sesame")
        return PooledOrchestrator(token=Secret("env:POOL_TOKEN")), "open sesame"
