"""The store on any filesystem that fsspec knows keeps what an artifact store promises."""

import copy
import pickle
import re

import attrs
import pytest

from drystone import FsspecArtifactStore, Orchestrator, Secret
from drystone.errors import ArtifactStoreError, StackError
from drystone.values import to_json


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


def test_a_folder_is_not_deleted(store):
    store.write("blobs/ab/cd", b"hello")
    store.delete("blobs/ab")
    assert store.exists("blobs/ab/cd")


def test_listing_visits_nothing_beside_the_folder_of_the_prefix(store):
    for key in ("blobs/ab/one", "blobs/ab/two", "blobs/cd/three", "tasks/four"):
        store.write(key, b"x")
    assert sorted(key for key, _ in store.list("")) == ["blobs/ab/one", "blobs/ab/two", "blobs/cd/three", "tasks/four"]
    assert sorted(key for key, _ in store.list("blobs/a")) == ["blobs/ab/one", "blobs/ab/two"]
    assert list(store.list("blobs/ab/t")) == [("blobs/ab/two", 1)]
    assert list(store.list("none/at/all")) == list(store.list("blobs/ab/one/")) == []
    with pytest.raises(ValueError, match="is not a key of an artifact store"):
        list(store.list("../"))


def test_listing_a_folder_finds_it_alone(tmp_path, monkeypatch):
    store = FsspecArtifactStore(url="memory://listing")
    store.write("blobs/ab/cd", b"x")
    filesystem, root = store.filesystem
    visited, find = [], type(filesystem).find  # listened to: that too much is walked shows in no result
    monkeypatch.setattr(
        type(filesystem), "find", lambda self, path, **options: visited.append(path) or find(self, path, **options)
    )
    assert list(store.list("blobs/ab/")) == [("blobs/ab/cd", 1)]
    assert visited == [f"{root}/blobs/ab"]


def test_an_upload_that_fails_leaves_nothing(store, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"hello")
    filesystem, root = store.filesystem
    # Neither file system refuses a move that root asks for, so the last step of an upload is made to fail.
    monkeypatch.setattr(FsspecArtifactStore, "_rename", lambda *_: 1 / 0)
    with pytest.raises(ArtifactStoreError, match="cannot be used: division by zero"):
        store.upload(tmp_path / "file", "blobs/ab/cd")
    assert filesystem.find(root) == []


def test_a_store_keeps_its_filesystem_which_is_no_part_of_it(store):
    fresh = FsspecArtifactStore(url=store.url)
    assert store.filesystem is store.filesystem
    assert store == fresh
    assert to_json(store) == to_json(fresh)
    assert pickle.loads(pickle.dumps(store)) == copy.deepcopy(store) == fresh


def test_a_secret_among_the_options_is_resolved_for_the_filesystem_alone(monkeypatch):
    monkeypatch.setenv("STORE_KEY", "plain")
    store = FsspecArtifactStore(url="memory://x", options={"key": Secret("env:STORE_KEY")})
    assert store.filesystem[0].storage_options["key"] == "plain"
    assert "plain" not in repr(store)


def test_a_setting_that_a_component_has_not_is_an_error_that_names_those_it_has():
    @attrs.frozen(kw_only=True)
    class ThreadedOrchestrator(Orchestrator):
        workers: int = 4
        pool_name: str = "pool"

        def executor(self, run):
            raise NotImplementedError

    assert ThreadedOrchestrator(workers=3).workers == 3
    with pytest.raises(StackError) as caught:
        ThreadedOrchestrator(worker=3, pools=2)
    assert str(caught.value) == (
        "2 problems:\n"
        "  - ThreadedOrchestrator has no setting 'worker'. Did you mean 'workers'? Its settings: pool_name, workers.\n"
        "  - ThreadedOrchestrator has no setting 'pools'. Its settings: pool_name, workers."
    )


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ((), {"options": {}}, "missing a required (keyword-only )?argument: 'url'"),  # Python says it
        (("memory://x",), {}, "too many positional arguments"),
    ],
)
def test_settings_that_do_not_fit_are_an_error_that_names_them(values, settings, message):
    with pytest.raises(StackError) as caught:
        FsspecArtifactStore(*values, **settings)
    assert re.fullmatch(rf"FsspecArtifactStore\(…\): {message}\. Its settings: url, options\.", str(caught.value))


def test_what_is_not_there_cannot_be_read(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.read_range("none", 0, None)
    with pytest.raises(FileNotFoundError):
        store.download("none", tmp_path / "copy")


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
    for text in ("plain", "env:", ":x", "Upper:x", "two words:x"):
        with pytest.raises(StackError, match="A secret is written as a reference") as refused:
            Secret(text)
        assert text not in str(refused.value).replace("env:S3_KEY", "")
