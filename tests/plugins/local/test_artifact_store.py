"""The local artifact store keeps whole files under keys that cannot leave it."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from drystone import Artifact, BlobWriter, Place, blobs
from drystone.blobs import blob_key
from drystone.digests import digest_bytes
from drystone.errors import ArtifactStoreError, BlobLostError, StackError
from drystone.materializers import Materializers
from drystone_local import LocalArtifactStore

KEY = "blobs/3f/3f8a"


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "store")


def spooled(store: LocalArtifactStore) -> list[str]:
    return os.listdir(store.spool) if store.spool.exists() else []


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", os.urandom(3 << 20)], ids=["nothing", "a byte", "3 MiB"])
def test_what_is_written_is_read(store, tmp_path, data):
    assert store.size(KEY) is None
    assert not store.exists(KEY)
    store.write(KEY, data)
    assert store.exists(KEY)
    assert store.size(KEY) == len(data)
    assert store.read_range(KEY, 0, None) == data
    assert store.local_path(KEY).read_bytes() == data
    store.download(KEY, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert spooled(store) == []


def test_a_range_is_read(store):
    store.write(KEY, b"0123456789")
    assert store.read_range(KEY, 3, 4) == b"3456"
    assert store.read_range(KEY, 8, 100) == b"89"
    assert store.read_range(KEY, 8, None) == b"89"
    assert store.read_range(KEY, 3, 0) == b""
    assert store.read_range(KEY, 100, None) == b""


def test_writing_again_replaces_and_leaves_readers_what_they_had(store):
    store.write(KEY, b"old")
    with store.local_path(KEY).open("rb") as reader:
        store.write(KEY, b"newer")
        assert reader.read() == b"old"
    assert store.read_range(KEY, 0, None) == b"newer"


def test_an_uploaded_file_is_copied(store, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"data")
    store.upload(file, KEY)
    file.write_bytes(b"changed")
    assert store.read_range(KEY, 0, None) == b"data"
    assert spooled(store) == []


def test_a_file_of_the_spool_is_taken_and_readable_like_any_other(store):
    store.spool.mkdir(parents=True)
    file = store.spool / "file"
    file.write_bytes(b"data")
    file.chmod(0o600)
    store.upload(file, KEY)
    store.write("blobs/00/other", b"")
    assert not file.exists()
    assert store.read_range(KEY, 0, None) == b"data"
    assert store.local_path(KEY).stat().st_mode == store.local_path("blobs/00/other").stat().st_mode


def test_uploading_a_file_that_is_not_there_stores_nothing(store, tmp_path):
    for missing in (tmp_path / "missing", store.spool / "missing"):
        with pytest.raises(FileNotFoundError):
            store.upload(missing, KEY)
    assert not store.exists(KEY)
    assert spooled(store) == []


def test_what_is_not_there_is_not_found(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.read_range(KEY, 0, None)
    with pytest.raises(FileNotFoundError):
        store.download(KEY, tmp_path / "copy")
    store.delete(KEY)
    store.write(KEY, b"x")
    assert store.size(f"{KEY}/below") is None
    assert not store.exists(f"{KEY}/below")
    store.delete(f"{KEY}/below")


def test_a_folder_is_nothing_that_is_stored(store, tmp_path):
    store.write(KEY, b"x")
    assert not store.exists("blobs")
    assert store.size("blobs") is None
    with pytest.raises(FileNotFoundError):
        store.read_range("blobs", 0, None)
    with pytest.raises(FileNotFoundError):
        store.download("blobs", tmp_path / "copy")


def test_a_damaged_blob_is_set_aside_and_made_anew(store):
    materializers = Materializers(allow_pickle=False)
    manifest, _ = materializers.save("late", Artifact(), store)
    key = blob_key(manifest.blobs[0].digest)
    store.write(key, b"LATE")
    with pytest.raises(BlobLostError, match="is damaged in the artifact store"):
        materializers.load(manifest, store)
    assert store.size(key) is None
    with pytest.raises(BlobLostError, match="is missing in the artifact store"):
        materializers.load(manifest, store)
    assert materializers.save("late", Artifact(), store)[0] == manifest
    assert materializers.load(manifest, store) == "late"


def test_a_damaged_blob_is_set_aside_where_there_is_no_spool_yet(store):
    manifest, _ = Materializers(allow_pickle=False).save("late", Artifact(), store)
    key = blob_key(manifest.blobs[0].digest)
    store.local_path(key).write_bytes(b"LATE")
    shutil.rmtree(store.spool)
    with pytest.raises(BlobLostError, match="is damaged"):
        Materializers(allow_pickle=False).load(manifest, store)
    assert not store.exists(key)


def test_a_blob_that_was_stored_anew_meanwhile_is_not_set_aside(store):
    digest = blobs.store_bytes(store, b"good")
    blobs.set_aside(store, digest)
    assert store.exists(blob_key(digest))


def test_a_blob_that_is_set_aside_while_it_is_compared_is_stored(store, monkeypatch):
    digest = blobs.store_bytes(store, b"good")
    monkeypatch.setattr(LocalArtifactStore, "size", lambda self, key: 4)
    store.delete(blob_key(digest))
    blobs.store_bytes(store, b"good")
    assert store.read_range(blob_key(digest), 0, None) == b"good"


def test_what_the_dead_left_in_the_spool_is_removed_after_a_week(store):
    store.spool.mkdir(parents=True)
    for name, days in (("left", 8), ("busy", 1), ("x.damaged", 99)):
        (store.spool / name).touch()
        os.utime(store.spool / name, (0, time.time() - days * 86_400))
    assert sorted(os.listdir(LocalArtifactStore(store.path).spool)) == ["busy", "x.damaged"]


def test_a_full_disk_is_named(store):
    with (
        pytest.raises(ArtifactStoreError, match=f"There is no room for {store.spool}: .*full. Free some, or keep"),
        BlobWriter(store).open("large"),
    ):
        raise OSError(errno.ENOSPC, "full")
    assert spooled(store) == []


def test_what_is_deleted_is_gone(store):
    store.write(KEY, b"x")
    store.delete(KEY)
    assert not store.exists(KEY)
    assert list(store.list("")) == []


def test_listing_gives_keys_with_sizes_and_nothing_of_the_stores_own(store):
    assert list(store.list("")) == []
    for size, key in enumerate(("blobs/3f/3f8a", "blobs/3f/3f8b", "blobs/40/4000", "top", "tasks/spool/x")):
        store.write(key, b"." * size)
    assert store.identity
    (store.spool / "leftover").touch()
    assert sorted(store.list("")) == [
        ("blobs/3f/3f8a", 0),
        ("blobs/3f/3f8b", 1),
        ("blobs/40/4000", 2),
        ("tasks/spool/x", 4),
        ("top", 3),
    ]
    assert sorted(store.list("blobs/3f/")) == [("blobs/3f/3f8a", 0), ("blobs/3f/3f8b", 1)]
    assert sorted(store.list("blobs/3")) == [("blobs/3f/3f8a", 0), ("blobs/3f/3f8b", 1)]
    assert list(store.list("blobs/4")) == [("blobs/40/4000", 2)]
    assert sorted(store.list("t")) == [("tasks/spool/x", 4), ("top", 3)]
    assert list(store.list("none/")) == []
    assert list(store.list("top/")) == []


# --- exclusive creation -----------------------------------------------------------------------------------------------


def test_a_key_is_created_once(store):
    store.create(KEY, b"first")
    with pytest.raises(FileExistsError):
        store.create(KEY, b"second")
    assert store.read_range(KEY, 0, None) == b"first"
    assert spooled(store) == []


def test_of_many_that_create_one_key_exactly_one_succeeds(store):
    start = threading.Barrier(8)

    def attempt(key: str, number: int) -> int | None:
        start.wait()
        try:
            store.create(key, str(number).encode())
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        for turn in range(20):
            key = f"leases/{turn}"
            winners = [each for each in pool.map(attempt, [key] * 8, range(8)) if each is not None]
            assert len(winners) == 1
            assert store.read_range(key, 0, None) == str(winners[0]).encode()


# --- where it is ------------------------------------------------------------------------------------------------------


def test_by_default_it_is_in_the_workspace(tmp_path):
    place = Place(root=tmp_path, workspace=tmp_path / "w")
    assert LocalArtifactStore().at(place) == LocalArtifactStore(tmp_path / "w/artifacts")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("data", "{root}/data"), ("../shared", "{parent}/shared"), ("/data/blobs", "/data/blobs"), ("~/b", "{home}/b")],
)
def test_a_path_starts_at_the_root_unless_it_is_absolute(tmp_path, path, expected):
    root = tmp_path / "root"
    bound = LocalArtifactStore(path).at(Place(root=root, workspace=root / ".drystone"))
    assert bound.path == expected.format(root=root, parent=tmp_path, home=Path.home())
    assert bound.at(Place(root=Path("/elsewhere"), workspace=Path("/w"))) == bound


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.write(KEY, b"x"),
        lambda store: store.exists(KEY),
        lambda store: store.identity,
        lambda store: store.spool,
        lambda store: list(store.list("")),
    ],
    ids=["write", "exists", "identity", "spool", "list"],
)
@pytest.mark.parametrize("path", [None, "relative"])
def test_without_a_place_it_says_what_to_do(use, path):
    with pytest.raises(StackError) as caught:
        use(LocalArtifactStore(path))
    assert str(caught.value) == (
        f"LocalArtifactStore(path={path!r}) has no directory yet: its path depends on the project it is used in. Let a "
        "stack use it, bind it with at(place), or give it an absolute path."
    )


@pytest.mark.parametrize("path", ["s3://bucket/blobs", "file:///data", ""])
def test_what_is_no_directory_is_refused(path):
    with pytest.raises(StackError) as caught:
        LocalArtifactStore(path)
    assert str(caught.value) == (
        f"LocalArtifactStore({path!r}): it takes a directory. For a URL, use the artifact store of a plugin or "
        "FsspecArtifactStore(url=…)."
    )


def test_it_is_identified_by_an_id_that_goes_where_its_files_go(store, tmp_path):
    identity = store.identity
    assert identity.startswith("local:")
    assert len(identity) == len("local:") + 32
    assert LocalArtifactStore(store.path).identity == identity
    assert LocalArtifactStore(tmp_path / "other").identity != identity
    shutil.move(store.root, tmp_path / "moved")
    assert LocalArtifactStore(tmp_path / "moved").identity == identity


def test_processes_that_meet_in_a_new_store_agree_on_its_identity(tmp_path):
    script = (
        "import sys; from drystone_local import LocalArtifactStore; print(LocalArtifactStore(sys.argv[1]).identity)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "new")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in processes}) == 1


def test_it_survives_a_round_trip_of_its_settings(store):
    assert LocalArtifactStore(**attrs.asdict(store)) == store


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["", "/absolute/key", "../outside", "blobs/../../x", "a//b", "a/", ".", "a\\b", "a\0b", "store-id", "spool/x"],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda store, key: store.write(key, b"x"),
        lambda store, key: store.create(key, b"x"),
        lambda store, key: store.upload(Path(__file__), key),
        lambda store, key: store.download(key, Path("/nowhere/x")),
        lambda store, key: store.read_range(key, 0, None),
        lambda store, key: store.exists(key),
        lambda store, key: store.size(key),
        lambda store, key: store.delete(key),
        lambda store, key: store.local_path(key),
    ],
    ids=["write", "create", "upload", "download", "read_range", "exists", "size", "delete", "local_path"],
)
def test_a_key_that_would_leave_the_store_is_refused(store, use, key):
    with pytest.raises(ValueError, match="is not a key of a local artifact store: it must be a relative path of plain"):
        use(store, key)


def test_a_prefix_cannot_leave_the_store(store, tmp_path):
    (tmp_path / "secret").touch()
    with pytest.raises(ValueError, match="is not a key"):
        list(store.list("../"))
    with pytest.raises(ValueError, match="is not a key"):
        list(store.list("/etc/"))
    store.write(KEY, b"x")
    assert list(store.list("/")) == []


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    store = LocalArtifactStore(tmp_path / "file")
    with pytest.raises(
        ArtifactStoreError, match=f"The artifact store {tmp_path}/file cannot be written to: .*Not a dir"
    ):
        store.write(KEY, b"x")


# --- power failures ---------------------------------------------------------------------------------------------------


def test_syncing_flushes_the_files_and_the_folders_that_name_them(store, monkeypatch):
    flushed = []

    def noted(handle: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{handle}"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no /proc here to ask for the name of an open file")
    store.write(KEY, b"x")
    store.write("blobs/3f/3f8b", b"y")
    monkeypatch.setattr(os, "fsync", noted)  # what fsync did shows only when the power fails
    store.sync([KEY, "blobs/3f/3f8b", KEY])
    folder = f"{store.root}/blobs/3f"
    assert sorted(flushed) == [folder, f"{folder}/3f8a", f"{folder}/3f8b"]
    assert flushed[-1] == folder


def test_syncing_nothing_or_what_is_gone_does_nothing(store):
    store.sync([])
    store.sync([KEY])


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone flushes a whole disk at once")
def test_syncing_many_files_is_one_flush(store, monkeypatch):
    keys = [f"blobs/3f/{number}" for number in range(100)]
    for key in keys:
        store.write(key, b"x")
    monkeypatch.setattr(os, "fsync", lambda handle: pytest.fail("a file was flushed by itself"))
    store.sync(keys)


def test_a_blob_that_readers_do_not_hash_is_on_the_disk_before_it_has_its_name(store, monkeypatch):
    monkeypatch.setattr(blobs, "CHECKED", 4)
    key = blob_key(digest_bytes(b"large"))
    named = []
    monkeypatch.setattr(os, "fsync", lambda handle: named.append(store.exists(key)))
    writer = BlobWriter(store)
    writer.write("small", b"tiny")
    with writer.open("large") as file:
        file.write(b"large")
    assert named == [False]
    assert store.read_range(key, 0, None) == b"large"
