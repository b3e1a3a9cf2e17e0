"""What every orchestrator does."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from drystone import FsspecArtifactStore, Stack, Workspace
from drystone.errors import RunFailedError
from drystone.kinds import ArtifactStore, Orchestrator
from drystone.testing import specimens

ANSWERS = {"one": 7, "chain": 12, "diamond": 15}
"""What the pipelines of `specimens` return as plain Python."""


class OrchestratorContract(ABC):
    """What every orchestrator does.

    Inherit it, and say in one fixture how the orchestrator is made::

        class TestThreadedOrchestrator(OrchestratorContract):
            @pytest.fixture
            def orchestrator(self):
                return ThreadedOrchestrator()
    """

    @pytest.fixture
    @abstractmethod
    def orchestrator(self) -> Orchestrator:
        """The orchestrator under test."""

    @pytest.fixture
    def artifact_store(self, tmp_path: Path) -> ArtifactStore:
        """A store that the orchestrator's workers reach; by default files on this machine."""
        return FsspecArtifactStore(url=f"file://{tmp_path}/store")

    @pytest.fixture
    def stack(
        self,
        orchestrator: Orchestrator,
        artifact_store: ArtifactStore,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Stack]:
        """A stack with the orchestrator, in a project of its own."""
        (tmp_path / "pyproject.toml").write_text("")
        monkeypatch.setenv("DRYSTONE_WORKSPACE", str(tmp_path / ".drystone"))
        monkeypatch.chdir(tmp_path)
        workspace = Workspace.current()
        yield Stack("contract", orchestrator=orchestrator, artifact_store=artifact_store)
        workspace.close()

    @pytest.mark.parametrize("shape", sorted(ANSWERS))
    def test_it_computes_what_plain_python_does(self, stack: Stack, shape: str) -> None:
        """Whatever the shape of the graph."""
        run = getattr(specimens, shape).with_options(stack=stack)()
        assert run.output.load() == ANSWERS[shape], f"{shape}: another result than plain Python has."

    def test_big_results_arrive_whole(self, stack: Stack) -> None:
        """Twenty million characters."""
        run = specimens.big.with_options(stack=stack)()
        assert len(run.output.load()) == 20_000_000, "A large result was not stored whole."

    def test_a_failure_is_reported_as_it_was(self, stack: Stack) -> None:
        """With its type and its message."""
        with pytest.raises(RunFailedError) as failed:
            specimens.failing.with_options(stack=stack)()
        assert isinstance(failed.value.__cause__, ValueError), "The step raised ValueError; its type was lost."
        assert "broken on purpose" in str(failed.value.__cause__), "The message of the step's exception was lost."

    def test_it_can_be_used_again_after_a_failure(self, stack: Stack) -> None:
        """The same instance runs another pipeline."""
        with pytest.raises(RunFailedError):
            specimens.failing.with_options(stack=stack)()
        assert specimens.chain.with_options(stack=stack)().output.load() == ANSWERS["chain"]

    def test_the_driver_keeps_its_environment_and_directory(self, stack: Stack) -> None:
        """Whatever the orchestrator does for its workers."""
        before = dict(os.environ), Path.cwd()
        specimens.chain.with_options(stack=stack)()
        assert (dict(os.environ), Path.cwd()) == before, "A run changed the driver's environment or directory."
