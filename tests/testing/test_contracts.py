"""The components in memory keep the contracts of their kinds."""

from __future__ import annotations

import pytest

from drystone import ContainerRegistry, Scheduler
from drystone.errors import RegistryUnreachableError
from drystone.testing import ContainerRegistryContract, MemoryContainerRegistry, MemoryScheduler, SchedulerContract
from drystone.testing.registries import MakeImage
from drystone.testing.timers import Now


class Unreachable(MemoryContainerRegistry):
    def push(self, image: str, name: str, *, engine: object = None) -> str:
        raise RegistryUnreachableError(f"The registry {self.uri} does not answer.")

    def pull(self, name: str, *, engine: object = None) -> str:
        raise RegistryUnreachableError(f"The registry {self.uri} does not answer.")

    def digest(self, name: str) -> str | None:
        raise RegistryUnreachableError(f"The registry {self.uri} does not answer.")

    def labels(self, name: str) -> dict[str, str] | None:
        raise RegistryUnreachableError(f"The registry {self.uri} does not answer.")


class TestMemoryContainerRegistry(ContainerRegistryContract):
    @pytest.fixture
    def container_registry(self) -> ContainerRegistry:
        return MemoryContainerRegistry()

    @pytest.fixture
    def make_image(self, container_registry: MemoryContainerRegistry) -> MakeImage:
        return container_registry.build

    @pytest.fixture
    def unreachable_registry(self) -> ContainerRegistry:
        return Unreachable()


class Bare(MemoryContainerRegistry):
    tags = ContainerRegistry.tags
    delete = ContainerRegistry.delete
    capabilities = ContainerRegistry.capabilities


class TestRegistryThatCanNeitherListNorDelete(TestMemoryContainerRegistry):
    @pytest.fixture
    def container_registry(self) -> ContainerRegistry:
        return Bare()


class TestMemoryScheduler(SchedulerContract):
    @pytest.fixture
    def scheduler(self) -> Scheduler:
        return MemoryScheduler()

    def with_clock(self, now: Now) -> Scheduler:
        return MemoryScheduler(now=now, look=0.01)


LOOPBACK = [
    "localhost",
    "localhost:5000/team",
    "LOCALHOST:1",
    "localhost.",
    "a.localhost",
    "127.0.0.1:5000/x",
    "127.9.1.2",
]
LOOPBACK += [
    "[::1]:5000/team",
    "::1",
    "0.0.0.0:5000",
    "127.1:5000",
    "http://localhost:5000/team",
    "[::ffff:127.0.0.1]:5000",
]
REMOTE = [
    "localhost.evil.com",
    "localhost.evil.com:5000/team",
    "ghcr.io/team",
    "128.0.0.1",
    "10.0.0.1:5000",
    "127.evil.com",
]
REMOTE += ["evil.com/localhost", "mylocalhost", "[2001:db8::1]:5000", "team"]


@pytest.mark.parametrize("uri", LOOPBACK)
def test_a_registry_on_loopback_is_local(uri: str) -> None:
    assert MemoryContainerRegistry(address=uri).is_local


@pytest.mark.parametrize("uri", REMOTE)
def test_a_registry_elsewhere_is_not(uri: str) -> None:
    assert not MemoryContainerRegistry(address=uri).is_local
