"""Our own artifact stores do what every artifact store does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from drystone import ArtifactStore, FsspecArtifactStore, Secret
from drystone.testing import ArtifactStoreContract, MemoryArtifactStore
from drystone_local import LocalArtifactStore


class TestLocalArtifactStore(ArtifactStoreContract):
    @pytest.fixture
    def artifact_store(self, tmp_path: Path) -> LocalArtifactStore:
        return LocalArtifactStore(tmp_path / "store")


class TestStoreOfFiles(ArtifactStoreContract):
    @pytest.fixture
    def artifact_store(self, tmp_path: Path) -> FsspecArtifactStore:
        return FsspecArtifactStore(url=f"file://{tmp_path}/store")

    @pytest.fixture
    def unreachable_store(self) -> FsspecArtifactStore:
        return FsspecArtifactStore(url="ftp://127.0.0.1:1/nobody/listens/here")

    @pytest.fixture
    def secret_store(self, monkeypatch: pytest.MonkeyPatch) -> tuple[ArtifactStore, str]:
        monkeypatch.setenv("STORE_KEY", "hidden-text")
        return FsspecArtifactStore(url="s3://bucket", options={"key": Secret("env:STORE_KEY")}), "hidden-text"


class TestStoreOfMemory(ArtifactStoreContract):
    crosses_processes = False

    @pytest.fixture
    def artifact_store(self, request: pytest.FixtureRequest) -> FsspecArtifactStore:
        return FsspecArtifactStore(url=f"memory://{abs(hash(request.node.name))}")


class TestMemoryArtifactStore(ArtifactStoreContract):
    crosses_processes = False

    @pytest.fixture
    def artifact_store(self) -> Iterator[MemoryArtifactStore]:
        store = MemoryArtifactStore(shelf="contract")
        yield store
        store.clear()
