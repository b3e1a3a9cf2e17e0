"""The registry keeps the contract, against real registries and the real engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drystone import Secret
from drystone.testing import ContainerRegistryContract
from drystone_registry import ContainerRegistry
from services.registries import TESTER, OciRegistry


class Contract(ContainerRegistryContract):
    @pytest.fixture
    def make_image(self, small_image: Callable[[str], str]) -> Callable[[str], str]:
        return small_image


class TestOpenRegistry(Contract):
    """One that lets everybody in."""

    @pytest.fixture
    def container_registry(self, oci_registry: OciRegistry) -> ContainerRegistry:
        return ContainerRegistry(f"{oci_registry.address}/open")

    @pytest.fixture
    def unreachable_registry(self, closed_port: int) -> ContainerRegistry:
        return ContainerRegistry(f"127.0.0.1:{closed_port}/team")


class TestLockedRegistry(Contract):
    """One that wants a password; it has no path in its address."""

    @pytest.fixture
    def container_registry(self, locked_registry: OciRegistry, monkeypatch: pytest.MonkeyPatch) -> ContainerRegistry:
        monkeypatch.setenv("REGISTRY_PASSWORD", TESTER.password)
        return ContainerRegistry(
            locked_registry.address, username=TESTER.username, password=Secret("env:REGISTRY_PASSWORD")
        )
