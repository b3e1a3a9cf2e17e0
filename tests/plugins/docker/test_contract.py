"""The orchestrator keeps what the interface promises, with real containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from drystone import StackComponent
from drystone.testing import OrchestratorContract
from drystone_docker import DockerOrchestrator
from drystone_docker.engines import close


class TestDockerOrchestrator(OrchestratorContract):
    patience: ClassVar[float] = 60.0

    @pytest.fixture
    def orchestrator(
        self, base_image: str, tmp_path: Path, containers_left: Callable[..., list[str]]
    ) -> Iterator[StackComponent]:
        yield DockerOrchestrator(base_image=base_image, volumes={str(tmp_path): str(tmp_path)}, workers=6)
        assert containers_left() == []
        close()

    @pytest.fixture
    def secret_orchestrator(self, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
        from drystone import Secret

        monkeypatch.setenv("API_TOKEN", "very-secret")
        return DockerOrchestrator(environment={"API_TOKEN": Secret("env:API_TOKEN")}), "very-secret"
