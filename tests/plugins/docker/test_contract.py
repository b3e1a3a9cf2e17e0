"""The orchestrator keeps what the interface promises, with real containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from drystone import Secret, StackComponent
from drystone.testing import OrchestratorContract
from drystone_docker import DockerOrchestrator
from drystone_docker.engines import close

PROJECT = '[project]\nname = "drystone-contract"\nversion = "1"\n'
"""All tests are of one project, by whose name they find the image that the first of them builds."""


class TestDockerOrchestrator(OrchestratorContract):
    patience: ClassVar[float] = 60.0

    @pytest.fixture
    def orchestrator(
        self, base_image: str, tmp_path: Path, containers_left: Callable[..., list[str]]
    ) -> Iterator[StackComponent]:
        (tmp_path / "pyproject.toml").write_text(PROJECT)
        yield DockerOrchestrator(base_image=base_image, volumes={str(tmp_path): str(tmp_path)}, workers=6)
        assert containers_left() == []
        close()

    @pytest.fixture
    def secret_orchestrator(self, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
        monkeypatch.setenv("API_TOKEN", "very-secret")
        return DockerOrchestrator(environment={"API_TOKEN": Secret("env:API_TOKEN")}), "very-secret"
