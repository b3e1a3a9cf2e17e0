"""Artifacts in a SQLite file: what every store does, and what this one does besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from drystone import Place
from drystone.errors import ArtifactStoreError, StackError
from drystone.testing import ArtifactStoreContract
from drystone_example import SqliteArtifactStore


@pytest.fixture
def artifact_store(tmp_path: Path) -> SqliteArtifactStore:
    """An empty store."""
    return SqliteArtifactStore(file=str(tmp_path / "store.sqlite"))


class TestSqliteArtifactStore(ArtifactStoreContract):
    """Inherits every test; the fixtures say how stores are made."""

    @pytest.fixture
    def artifact_store(self, tmp_path: Path) -> SqliteArtifactStore:
        """An empty store."""
        return SqliteArtifactStore(file=str(tmp_path / "store.sqlite"))

    @pytest.fixture
    def unreachable_store(self, tmp_path: Path) -> SqliteArtifactStore:
        """A store whose file is no database."""
        file = tmp_path / "unreachable.sqlite"
        file.write_text("This is no database, however one reads it. " * 50)
        return SqliteArtifactStore(file=str(file))


def test_its_file_is_found_from_the_place(tmp_path: Path) -> None:
    """Relative paths start at the project's root; the default is in the workspace."""
    place = Place(root=tmp_path / "root", workspace=tmp_path / "workspace")
    assert SqliteArtifactStore().at(place).file == str(tmp_path / "workspace/artifacts.sqlite")
    assert SqliteArtifactStore(file="here.sqlite").at(place).file == str(tmp_path / "root/here.sqlite")


def test_without_a_place_it_says_what_is_missing() -> None:
    """A store that no stack uses does not know where its file is."""
    with pytest.raises(StackError, match=r"SqliteArtifactStore\(file=None\) has no file yet"):
        SqliteArtifactStore().exists("a")


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Checking finds it before a run does."""
    (tmp_path / "file").touch()
    store = SqliteArtifactStore(file=str(tmp_path / "file/store.sqlite"))
    [problem] = store.check()
    assert problem.endswith("is no directory that can be written to. Choose another file.")


def test_what_sqlite_raises_names_the_store(tmp_path: Path) -> None:
    """The error of the library is the cause."""
    (tmp_path / "store.sqlite").mkdir()
    store = SqliteArtifactStore(file=str(tmp_path / "store.sqlite"))
    with pytest.raises(ArtifactStoreError, match=r"store\.sqlite cannot be used: unable to open database file"):
        store.write("a", b"x")


def test_compacting_gives_back_the_space_of_what_was_deleted(artifact_store: SqliteArtifactStore) -> None:
    """And loses nothing."""
    artifact_store.write("large", bytes(1 << 20))
    artifact_store.write("kept", b"kept")
    artifact_store.delete("large")
    assert artifact_store.compact() > 1_000_000
    assert artifact_store.read_range("kept", 0, None) == b"kept"
