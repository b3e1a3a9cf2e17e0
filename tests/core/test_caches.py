"""The cache of blobs: bounded, shared by processes, never wrong, and never in the way."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone import caches
from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import Blob, Manifest
from drystone.blobs import AHEAD, WHOLE, BlobReader, BlobWriter, blob_key
from drystone.caches import CHECKED, BlobCache, CacheInfo, DamagedError, allowed_size, blob_cache
from drystone.digests import digest_bytes
from drystone.errors import ArtifactStoreError, BlobLostError, StackError
from drystone.testing import MemoryArtifactStore
from services.elsewhere import Elsewhere

MIB = 1 << 20


@pytest.fixture
def store(elsewhere: Elsewhere) -> Elsewhere:
    return elsewhere


def stored(store: ArtifactStore, data: bytes, path: str = "data.bin") -> BlobReader:
    """A reader of one file that is in the store, and not in the cache."""
    digest = digest_bytes(data)
    MemoryArtifactStore.write(store, blob_key(digest), data) if isinstance(store, Elsewhere) else None
    return reader(store, digest, len(data), path)


def reader(store: ArtifactStore, digest: str, size: int, path: str = "data.bin") -> BlobReader:
    manifest = Manifest(
        digest="0",
        type="bytes",
        materializer="bytes",
        materializer_version=1,
        blobs=(Blob(path, digest, size),),
        store="",
    )
    return BlobReader(store, manifest)


def content(size: int, seed: int = 0) -> bytes:
    return (seed.to_bytes(8, "little") * (size // 8 + 1))[:size]


def put(cache: BlobCache, data: bytes) -> str:
    cache.keep(digest_bytes(data), data)
    return digest_bytes(data)


def has(cache: BlobCache, data: bytes) -> bool:
    file = cache.find(digest_bytes(data), len(data))
    if file is not None:
        file.close()
    return file is not None


@pytest.mark.parametrize("size", [0, 100, WHOLE + 1])
def test_a_blob_is_downloaded_once_and_then_mapped(store: Elsewhere, size: int, tmp_path: Path) -> None:
    data = content(size, 7)
    for _ in range(2):
        assert stored(store, data).read("data.bin") == data
        assert stored(store, data).file("data.bin").read_bytes() == data
        stored(store, data).copy("data.bin", tmp_path / "copy")
        with stored(store, data).open("data.bin") as file:
            assert file.read() == data
        assert (tmp_path / "copy").read_bytes() == data
    assert store.moved["down"] == size


def test_what_was_stored_is_in_the_cache_already(store: Elsewhere) -> None:
    small, large = content(100), content(2 * MIB)
    writer = BlobWriter(store)
    writer.write("small", small)
    with writer.open("opened") as file:
        file.write(large)
    with writer.file("made") as path:
        path.write_bytes(large[1:])
    for blob, data in zip(writer.blobs, (large[1:], large, small), strict=True):
        assert reader(store, blob.digest, blob.size).read("data.bin") == data
    assert store.moved["down"] == 0
    assert [*store.spool.iterdir()] == []


def test_a_file_of_the_users_own_is_not_linked_into_the_cache(store: Elsewhere, tmp_path: Path) -> None:
    (tmp_path / "own").write_bytes(b"own")
    writer = BlobWriter(store)
    writer.add("own", tmp_path / "own")
    (tmp_path / "own").write_bytes(b"changed")
    assert reader(store, writer.blobs[0].digest, 3).read("data.bin") == b"own"


def test_a_store_of_this_machine_is_not_cached(tmp_path: Path, cache: Path) -> None:
    near = MemoryArtifactStore(shelf=str(tmp_path))
    writer = BlobWriter(near)
    writer.write("data.bin", b"near")
    assert reader(near, writer.blobs[0].digest, 4).file("data.bin").read_bytes() == b"near"
    assert not cache.exists()


def test_damage_on_the_way_is_noticed_and_not_kept(store: Elsewhere) -> None:
    data = content(2 * MIB)
    store.write(blob_key(digest_bytes(data)), b"x" + data[1:])
    for read in (BlobReader.read, BlobReader.file):
        with pytest.raises(BlobLostError, match="damaged"):
            read(reader(store, digest_bytes(data), len(data)), "data.bin")
    assert blob_cache().info().files == 0


@pytest.mark.parametrize("damage", [b"short", None])
def test_a_damaged_file_of_the_cache_is_fetched_again(store: Elsewhere, damage: bytes | None) -> None:
    data = content(MIB)
    path = stored(store, data).file("data.bin")
    path.write_bytes(b"x" + data[1:] if damage is None else damage)
    assert stored(store, data).read("data.bin") == data
    assert path.read_bytes() == data


def test_a_large_file_from_before_the_machine_was_started_is_hashed_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, data = blob_cache(), content(CHECKED + 1)
    put(cache, data)
    path = cache.root / digest_bytes(data)[:2] / digest_bytes(data)
    with path.open("r+b") as file:
        file.write(b"x")
    assert has(cache, data), "what was checked since is mapped without being read"
    os.utime(path, (0, 0))
    assert not has(cache, data)
    assert not path.exists()


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 10 * MIB)
    blobs = [content(MIB, seed) for seed in range(12)]
    for blob in blobs[:9]:
        put(cache, blob)
    for at in (0, 2):
        assert has(cache, blobs[at])
    for blob in blobs[9:]:
        put(cache, blob)
    kept = {seed for seed in range(12) if has(cache, blobs[seed])}
    assert {0, 2, 8, 9, 10, 11} <= kept
    assert not {1, 3} & kept
    assert cache.info().size <= cache.limit


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 300)), max_size=40))
def test_the_cache_is_never_larger_than_it_may_be(uses: list[tuple[int, int]]) -> None:
    """Law: whatever is fetched in whatever order, what is read is right, and the bound holds after each of them."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cache = BlobCache(Path(folder), 1000)
        for seed, size in uses:
            data = content(size, seed)
            found = cache.fetch(digest_bytes(data), size, lambda path, data=data: path.write_bytes(data))  # type: ignore[misc]
            assert found is not None
            with found:
                assert found.read() == data
            assert cache.info().size <= 1000


def test_a_count_that_is_lost_or_wrong_is_made_anew(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 4 * MIB)
    for seed in range(12):
        put(cache, content(MIB, seed))
        for damage in (b"nonsense", b""):
            (tmp_path / "size").write_bytes(damage)
        assert has(cache, content(MIB, seed))
        assert cache.info().size <= cache.limit


def test_what_is_mapped_stays_when_it_is_evicted_and_what_is_open_is_not_evicted(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 3 * MIB)
    mapped, opened = content(MIB, 1), content(MIB, 2)
    put(cache, mapped), put(cache, opened)
    found = cache.find(digest_bytes(mapped), MIB)
    assert found is not None
    with found, open(found.name, "rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as view:
        found.close()
        held = cache.find(digest_bytes(opened), MIB)
        assert held is not None
        with held:
            for seed in range(3, 9):
                put(cache, content(MIB, seed))
            assert view[:] == mapped
            assert not has(cache, mapped)
            assert Path(held.name).read_bytes() == opened


def test_what_is_larger_than_the_cache_may_be_is_read_without_it(
    store: Elsewhere, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    data = content(MIB)
    for size in ("0", "1000", "1 MB"):
        monkeypatch.setenv("DRYSTONE_CACHE_SIZE", size)
        of_it = stored(store, data)
        assert of_it.read("data.bin") == of_it.file("data.bin").read_bytes() == data
        assert not [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size > 1000]
    monkeypatch.setenv("DRYSTONE_CACHE_SIZE", "0")
    assert not store.spool.is_relative_to(cache)


def test_a_cache_that_cannot_be_made_is_not_in_the_way(
    store: Elsewhere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DRYSTONE_CACHE", str(tmp_path / "file" / "below"))
    data = content(2 * MIB)
    of_it = stored(store, data)
    assert of_it.read("data.bin") == of_it.file("data.bin").read_bytes() == data
    writer = BlobWriter(store)
    with writer.open("opened") as file:
        file.write(data[1:])
    assert reader(store, writer.blobs[0].digest, len(data) - 1).read("data.bin") == data[1:]


@attrs.frozen(kw_only=True)
class WithoutRoom(Elsewhere):
    """A store whose files find no room where the cache takes them in."""

    def download(self, key: str, local_path: Path) -> None:
        if "arriving" in local_path.parts:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as exc:
                raise ArtifactStoreError("The store cannot be used.") from exc
        super().download(key, local_path)


def test_a_full_disk_is_not_in_the_way(store: Elsewhere) -> None:
    data, without_room = content(2 * MIB), WithoutRoom(shelf=store.shelf)
    assert stored(without_room, data).file("data.bin").read_bytes() == data
    assert stored(without_room, data).read("data.bin") == data
    assert blob_cache().info().files == 0


@attrs.frozen(kw_only=True)
class OutOfReach(Elsewhere):
    """A store that gives nothing away."""

    calls: list[str] = attrs.field(factory=list, eq=False)

    def download(self, key: str, local_path: Path) -> None:
        self.calls.append(key)
        raise ArtifactStoreError("It cannot be reached.")


def test_a_store_that_cannot_be_reached_is_told_of_once(store: Elsewhere) -> None:
    away = OutOfReach(shelf=store.shelf)
    with pytest.raises(ArtifactStoreError, match="cannot be reached"):
        stored(away, content(2 * MIB)).file("data.bin")
    assert len(away.calls) == 1


def test_a_blob_that_is_missing_is_lost(store: Elsewhere) -> None:
    for size in (10, 2 * MIB):
        of_it = reader(store, digest_bytes(content(size)), size)
        for read in (of_it.read, of_it.file, lambda path, of_it=of_it: of_it.open(path).read()):  # type: ignore[misc]
            with pytest.raises(BlobLostError, match="missing"):
                read("data.bin")


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("123", 123), ("20GiB", 20 << 30), ("1.5 kib", 1536), ("2MB", 2_000_000), ("1tb", 10**12), (" 7 B ", 7)],
)
def test_the_size_is_a_number_with_a_unit(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv("DRYSTONE_CACHE_SIZE", text)
    assert allowed_size() == size


@pytest.mark.parametrize("text", ["much", "-1", "1.GiB", "10 XB", "GiB"])
def test_what_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, store: Elsewhere, text: str) -> None:
    monkeypatch.setenv("DRYSTONE_CACHE_SIZE", text)
    message = rf"DRYSTONE_CACHE_SIZE is {text!r}, which is no size. Write .* \(B, KB, .*, TiB\), as 20GiB; 0 switches"
    with pytest.raises(StackError, match=message):
        stored(store, b"x").read("data.bin")


def test_by_default_it_is_10_gib_or_a_tenth_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed_size() == min(10 << 30, caches.shutil.disk_usage("/").total // 10)
    monkeypatch.setenv("DRYSTONE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert caches.directory() == Path("/xdg/drystone")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert caches.directory() == Path("/home/me/.cache/drystone")


def test_it_says_what_it_holds_and_forgets_it(cache: Path) -> None:
    kept = blob_cache()
    put(kept, b"one"), put(kept, b"other")
    assert kept.info() == CacheInfo(path=cache / "blobs", files=2, size=8, limit=allowed_size())
    kept.clear()
    assert kept.info().files == 0
    assert oct((cache / "blobs").stat().st_mode)[-3:] == "700"


# Ranges


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-10, 300_000), st.integers(0, 2), st.integers(-1, 200_000)), max_size=8))
def test_a_file_elsewhere_reads_like_one_that_is_here(moves: list[tuple[int, int, int]]) -> None:
    import io

    data = bytes(range(256)) * 1024
    with MonkeyWhole():
        store = Elsewhere(shelf="ranges")
        far, near = stored(store, data).open("data.bin"), io.BytesIO(data)
        for offset, whence, size in moves:
            start = offset if whence == 0 else -offset if whence == 2 else offset % 1000
            if whence == 0 and offset < 0:
                continue
            assert far.seek(start, whence) == near.seek(start, whence) == far.tell()
            assert far.read(size) == near.read(size)
            buffer, other = bytearray(1000), bytearray(1000)
            assert far.readinto(buffer) == near.readinto(other)  # type: ignore[attr-defined]
            assert buffer == other


class MonkeyWhole:
    """Makes small files be read in ranges as well."""

    def __enter__(self) -> None:
        from drystone import blobs

        self.before, blobs.WHOLE = blobs.WHOLE, 0

    def __exit__(self, *exc_info: object) -> None:
        from drystone import blobs

        blobs.WHOLE = self.before


def test_only_what_is_read_of_a_file_elsewhere_is_transferred(store: Elsewhere) -> None:
    data = os.urandom(8 * MIB)
    with stored(store, data).open("data.bin") as file:
        assert store.moved["down"] == 0
        file.seek(-100, os.SEEK_END)
        assert file.read() == data[-100:]
        file.seek(MIB)
        assert b"".join(file.read(100) for _ in range(20)) == data[MIB : MIB + 2000]
        file.seek(2 * MIB)
        assert file.read(MIB) == data[2 * MIB : 3 * MIB]
    assert (store.moved["down"], store.moved["requests"]) == (100 + AHEAD + MIB, 3)
    stored(store, data).read("data.bin")
    with stored(store, data).open("data.bin") as file:
        assert file.read(10) == data[:10]
    assert store.moved["down"] == 100 + AHEAD + MIB + len(data)


def test_a_file_elsewhere_that_became_shorter_is_damaged(store: Elsewhere) -> None:
    data = content(2 * MIB)
    with stored(store, data).open("data.bin") as file:
        store.write(blob_key(digest_bytes(data)), data[:MIB])
        file.seek(MIB - 10)
        with pytest.raises(BlobLostError, match="damaged"):
            file.read(100)


# Processes


CHILD = """
import attrs, os, sys, time
from pathlib import Path
from drystone import FsspecArtifactStore, BlobReader
from drystone.artifacts import Blob, Manifest

folder, digest, size, mode = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]

@attrs.frozen(kw_only=True)
class Elsewhere(FsspecArtifactStore):
    is_remote = True

    def download(self, key, path):
        (folder / f"download-{os.getpid()}").touch()
        if mode == "slow":
            data = self.read_range(key, 0, None)
            with path.open("wb") as file:
                file.write(data[: size // 2])
                file.flush()
                print("half", flush=True)
                sys.stdin.readline()
                file.write(data[size // 2 :])
        else:
            super().download(key, path)

store = Elsewhere(url=f"file://{folder}/store")
manifest = Manifest(digest="0", type="b", materializer="b", materializer_version=1, store="",
    blobs=(Blob("b", digest, size),))
reader = BlobReader(store, manifest)
print("begin", flush=True)
data = reader.file("b").read_bytes()
assert len(data) == size
print("done", flush=True)
"""

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def large(tmp_path: Path) -> bytes:
    data = os.urandom(4 * MIB)
    path = tmp_path / "store" / blob_key(digest_bytes(data))
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return data


@pytest.fixture
def start(tmp_path: Path, large: bytes) -> Start:
    """Starts a process that reads the large blob by the cache."""

    def begin(mode: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(tmp_path), digest_bytes(large), str(len(large)), mode]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "begin\n"
        return child

    return begin


def said(child: subprocess.Popen[str], text: str = "") -> str:
    return child.communicate(text)[0]


def test_the_second_who_wants_a_blob_waits_for_the_first(start: Start, tmp_path: Path) -> None:
    first = start("slow")
    assert first.stdout is not None
    assert first.stdout.readline() == "half\n"
    others = [start("fast") for _ in range(3)]
    assert said(first, "go on\n") == "done\n"
    assert [said(other) for other in others] == ["done\n"] * 3
    assert len([*tmp_path.glob("download-*")]) == 1


def test_a_download_that_was_killed_leaves_nothing_and_nobody_waits_for_it(start: Start, large: bytes) -> None:
    for _ in range(3):
        first = start("slow")
        assert first.stdout is not None
        assert first.stdout.readline() == "half\n"
        other = start("fast")
        first.send_signal(signal.SIGKILL)
        first.communicate()
        assert said(other) == "done\n"
        kept = blob_cache()
        assert has(kept, large)
        assert [*(kept.root / "arriving").iterdir()] == []
        kept.clear()


def test_what_a_killed_download_left_goes_with_the_next_sweep(start: Start, large: bytes) -> None:
    first = start("slow")
    assert first.stdout is not None
    assert first.stdout.readline() == "half\n"
    arriving, kept = blob_cache().root / "arriving", blob_cache()
    kept.clear()
    assert len([*arriving.iterdir()]) == 2, "it is being fetched"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept.clear()
    assert [*arriving.iterdir()] == []
    assert not has(kept, large)


def test_many_threads_and_evictions_at_once_read_what_is_right(tmp_path: Path) -> None:
    blobs = [content(50_000 + seed, seed) for seed in range(12)]
    cache, start = BlobCache(tmp_path, 300_000), threading.Barrier(8)

    def work(who: int) -> None:
        start.wait()
        for number in range(60):
            data = blobs[(number * (who + 1)) % 12]
            found = cache.fetch(digest_bytes(data), len(data), lambda path, data=data: path.write_bytes(data))  # type: ignore[misc]
            assert found is not None
            with found:
                assert Path(found.name).read_bytes() == data

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert cache.info().size <= 300_000 + 50_012 * 8, "what eight threads hold open may be too much for a moment"
    put(cache, b"one more")
    assert cache.info().size <= 300_000
    assert [*(tmp_path / "arriving").iterdir()] == []


def test_what_arrives_damaged_is_for_nobody(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, MIB)
    with pytest.raises(DamagedError):
        cache.fetch(digest_bytes(b"good"), 4, lambda path: path.write_bytes(b"evil") and None)
    assert not has(cache, b"good")
    file = cache.fetch(digest_bytes(b"good"), 4, lambda path: path.write_bytes(b"good") and None)
    assert file is not None
    with file:
        assert file.read() == b"good"


def test_on_a_full_disk_others_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = BlobCache(tmp_path, 100 * MIB)
    for seed in range(4):
        put(cache, content(MIB, seed))
    usage = caches.shutil.disk_usage("/")
    monkeypatch.setattr(
        caches.shutil, "disk_usage", lambda path: usage._replace(free=MIB // 2)
    )  # no disk of CI's is full
    put(cache, content(2 * MIB, 9))
    assert [has(cache, content(MIB, seed)) for seed in range(4)] == [False, False, True, True]
    assert has(cache, content(2 * MIB, 9))
    put(cache, content(50 * MIB, 8))
    assert cache.info().files == 3


WORKER = """
import random, sys
from pathlib import Path
from drystone.caches import BlobCache
from drystone.digests import digest_bytes

cache, chance = BlobCache(Path(sys.argv[1]), 300_000), random.Random(sys.argv[2])
blobs = [bytes([seed]) * (50_000 + seed) for seed in range(12)]

def slowly(path, data):
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), 5000):
            file.write(data[start : start + 5000])

print("begin", flush=True)
for _ in range(150):
    data = chance.choice(blobs)
    with cache.fetch(digest_bytes(data), len(data), lambda path: slowly(path, data)) as file:
        assert Path(file.name).read_bytes() == data
print("done", flush=True)
"""


def test_processes_that_are_killed_leave_a_cache_that_is_right(tmp_path: Path) -> None:
    for number in range(4):
        children = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(tmp_path), f"{number} {who}"], stdout=subprocess.PIPE, text=True
            )
            for who in range(3)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "begin\n"
        children[0].kill()
        assert [said(child) for child in children[1:]] == ["done\n"] * 2
        children[0].communicate()
    cache = BlobCache(tmp_path, 300_000)
    put(cache, b"one more")
    kept = [path for path in tmp_path.glob("??/*") if path.name != digest_bytes(b"one more")]
    assert kept
    assert all(digest_bytes(path.read_bytes()) == path.name for path in kept)
    assert cache.info().size <= 300_000
