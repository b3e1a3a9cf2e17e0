"""Our own artifact stores do what every artifact store does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drystone import ArtifactStore, FsspecArtifactStore, Secret
from drystone.testing import ArtifactStoreContract, MemoryArtifactStore
from drystone.testing.artifact_stores import ILLEGAL
from drystone_local import LocalArtifactStore


class TestLocalArtifactStore(ArtifactStoreContract):
    @pytest.fixture
    def artifact_store(self, tmp_path: Path) -> LocalArtifactStore:
        return LocalArtifactStore(tmp_path / "store")

    @pytest.fixture
    def another_store(self, tmp_path: Path) -> LocalArtifactStore:
        return LocalArtifactStore(tmp_path / "another")


class TestStoreOfFiles(ArtifactStoreContract):
    @pytest.fixture
    def artifact_store(self, tmp_path: Path) -> FsspecArtifactStore:
        return FsspecArtifactStore(url=f"file://{tmp_path}/store")

    @pytest.fixture
    def another_store(self, tmp_path: Path) -> FsspecArtifactStore:
        return FsspecArtifactStore(url=f"file://{tmp_path}/another")

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


def test_the_keys_to_be_refused_name_nothing_of_this_machine() -> None:
    """A broken store writes and deletes what they name, perhaps as root."""
    assert [key for key in ILLEGAL if key.startswith("/")] == []


def test_a_store_in_memory_leaves_files_in_the_directory_for_temporary_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is its spool, but also where people keep files of their own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # Python reads TMPDIR once per process
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    MemoryArtifactStore(shelf="temporary").upload(mine, "key")
    assert mine.is_file()
