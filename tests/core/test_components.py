"""The store on any filesystem that fsspec knows keeps what an artifact store promises."""

import pytest

from drystone import FsspecArtifactStore, Secret
from drystone.errors import ArtifactStoreError, StackError


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    return FsspecArtifactStore(url=f"{request.param}://{tmp_path}/blobs")


def test_what_is_stored_comes_back_whole_and_in_parts(store, tmp_path):
    store.write("blobs/ab/cd", b"hello")
    store.download("blobs/ab/cd", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"hello"
    assert store.read_range("blobs/ab/cd", 1, 2) == b"el"
    assert store.read_range("blobs/ab/cd", 1, None) == b"ello"
    assert list(store.list("blobs/")) == [("blobs/ab/cd", 5)]
    assert list(store.list("other/")) == []


def test_a_key_is_there_until_it_is_deleted_and_a_folder_is_no_key(store):
    store.write("blobs/ab/cd", b"hello")
    assert [store.size(key) for key in ("blobs/ab/cd", "blobs/ab", "blobs/ab/cd/e", "none")] == [5, None, None, None]
    assert [store.exists(key) for key in ("blobs/ab/cd", "blobs/ab", "none")] == [True, False, False]
    store.delete("blobs/ab/cd")
    store.delete("blobs/ab/cd")
    assert not store.exists("blobs/ab/cd")


def test_what_is_not_there_cannot_be_read(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.read_range("none", 0, None)
    with pytest.raises(FileNotFoundError):
        store.download("none", tmp_path / "copy")


def test_a_key_is_created_once(store):
    store.create("leases/one", b"first")
    with pytest.raises(FileExistsError):
        store.create("leases/one", b"second")
    assert store.read_range("leases/one", 0, None) == b"first"


@pytest.mark.parametrize("key", ["", "/abs", "../up", "a//b", "a/./b", "a\\b", "a\0b"])
def test_a_key_cannot_leave_the_store(store, key):
    with pytest.raises(ValueError, match="is not a key of an artifact store"):
        store.exists(key)


def test_a_filesystem_that_is_not_installed_is_an_error_of_the_store():
    with pytest.raises(ArtifactStoreError, match=r"The artifact store 'nosuch://x' cannot be used: "):
        FsspecArtifactStore(url="nosuch://x").exists("key")


def test_a_secret_is_a_reference_and_is_read_when_it_is_needed(monkeypatch):
    monkeypatch.setenv("STORE_KEY", "plain")
    assert Secret("env:STORE_KEY").resolve() == "plain"
    assert "plain" not in repr(Secret("env:STORE_KEY"))
    monkeypatch.delenv("STORE_KEY")
    with pytest.raises(StackError, match="set the environment variable STORE_KEY"):
        Secret("env:STORE_KEY").resolve()
    for text in ("plain", "env:", "vault:x"):
        with pytest.raises(StackError, match="A secret is written as a reference"):
            Secret(text)
