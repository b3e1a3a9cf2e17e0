"""What every artifact store does."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import pytest

from drystone.components import setting_to_json
from drystone.errors import ArtifactStoreError, CapabilityError
from drystone.kinds import CREATE, MAPPING, SHARED, ArtifactStore
from drystone.testing.children import started
from drystone.values import dumps, from_json, to_json

HERE = __name__

KEY = "blobs/3f/3f8a"

LEGAL = (
    *("a", "deep/" * 30 + "end", "x" * 200, "odd/sq[3]/1", "odd/two words", "odd/ä-日本", "odd/a+b=c", "odd/50%41"),
    *("odd/.hidden", "odd/-", "odd/~", "odd/{x}", "odd/#1", "odd/what?", "odd/*", "odd/a:b", "odd/it's", "odd/a&b"),
)
"""Keys that a store must take."""

ILLEGAL = ("", "/", "/etc/passwd", "..", "../up", "a/../../up", "a/..", "a//b", "a/", "./a", "a/./b", "a\\b", "a\0b")
"""Keys that a store must refuse, since they could mean something outside it, or another key."""


class ArtifactStoreContract(ABC):
    """What every artifact store does.

    Inherit it, and say in one fixture how an empty store is made::

        class TestShelfArtifactStore(ArtifactStoreContract):
            @pytest.fixture
            def artifact_store(self, tmp_path):
                return ShelfArtifactStore(path=str(tmp_path))

    The store must be private to the test, and ready to be used: one whose path depends on a project has been through
    `at(place)`.

    Class attributes:
        crosses_processes: Whether another process with the same settings has the same store. False for stores that
            keep everything in memory.
        fills_disk: Whether it keeps what it is given on this machine's disk, which can be full.
        libraries: Modules that importing the store's module must leave alone, because they take long.
        rounds: How often 24 threads compete for one key.
        large: Bytes of a large blob.
        many: Keys of a long listing; more than services list at a time.
    """

    crosses_processes: ClassVar[bool] = True
    fills_disk: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("boto3", "botocore", "docker", "numpy", "pandas", "s3fs")
    rounds: ClassVar[int] = 40
    large: ClassVar[int] = 24 << 20
    many: ClassVar[int] = 1_100

    @pytest.fixture
    @abstractmethod
    def artifact_store(self) -> ArtifactStore:
        """An empty store."""

    @pytest.fixture
    def unreachable_store(self) -> ArtifactStore:
        """A store whose service does not answer, or refuses; by default there is none, and nothing is tested of it."""
        pytest.skip("The author gives no `unreachable_store`.")

    @pytest.fixture
    def secret_store(self) -> tuple[ArtifactStore, str]:
        """A store with a secret among its settings, and the secret's text; by default nothing is tested of it."""
        pytest.skip("The author gives no `secret_store`.")

    # What is stored comes back

    @pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_003])
    def test_what_is_written_is_read(self, artifact_store: ArtifactStore, size: int) -> None:
        """Bytes come back as they were, with their size, and are there only once they were written."""
        data = content("written", size)
        assert artifact_store.size(KEY) is None, "size() of a key that was never written must be None"
        assert not artifact_store.exists(KEY)
        artifact_store.write(KEY, data)
        assert_stored(artifact_store, KEY, data)

    def test_a_large_file_is_uploaded_and_downloaded(self, artifact_store: ArtifactStore, tmp_path: Path) -> None:
        """A file of many chunks comes back to the last byte."""
        data = content("large", self.large + 1)
        file = written(tmp_path / "file", data)
        artifact_store.upload(file, KEY)
        assert_stored(artifact_store, KEY, data)
        artifact_store.download(KEY, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == data, "download() must bring every byte"

    def test_upload_copies_a_file_and_takes_one_of_the_spool(
        self, artifact_store: ArtifactStore, tmp_path: Path
    ) -> None:
        """A file anywhere else is left as it is; one in `spool` belongs to the store, and is gone."""
        mine = written(tmp_path / "mine", b"mine")
        artifact_store.spool.mkdir(parents=True, exist_ok=True)
        spooled = written(artifact_store.spool / f"contract-{os.urandom(4).hex()}", b"spooled")
        artifact_store.upload(mine, "a/mine")
        artifact_store.upload(spooled, "a/spooled")
        assert mine.is_file(), "upload() took a file away that was not in its spool"
        assert mine.read_bytes() == b"mine"
        mine.write_bytes(b"changed afterwards")
        assert_stored(artifact_store, "a/mine", b"mine")
        assert_stored(artifact_store, "a/spooled", b"spooled")
        with suppress(FileNotFoundError):
            spooled.unlink()

    def test_the_newest_upload_is_what_is_stored(self, artifact_store: ArtifactStore, tmp_path: Path) -> None:
        """A key that is written again has the new bytes and no more, whether they are fewer or more."""
        for data in (b"first", b"a longer second", b"3", b""):
            artifact_store.write(KEY, data)
            assert_stored(artifact_store, KEY, data)
            artifact_store.upload(written(tmp_path / "file", data + b"!"), KEY)
            assert_stored(artifact_store, KEY, data + b"!")

    def test_a_range_is_read(self, artifact_store: ArtifactStore) -> None:
        """`read_range` gives what there is between start and end, and nothing beyond the end."""
        artifact_store.write(KEY, b"0123456789")
        ranges = [(0, 4), (3, 4), (9, 1), (8, 100), (0, None), (8, None), (3, 0), (10, 1), (10, None), (100, 5)]
        read = {each: artifact_store.read_range(KEY, *each) for each in ranges}
        assert read == {
            (start, length): b"0123456789"[start : None if length is None else start + length]
            for start, length in ranges
        }

    def test_what_is_deleted_is_gone(self, artifact_store: ArtifactStore) -> None:
        """`delete` removes one key and no other; to delete what is not there is no error."""
        for key in ("a/b", "a/bc", "a/b.d/e"):
            artifact_store.write(key, b"x")
        artifact_store.delete("a/b")
        artifact_store.delete("a/b")
        artifact_store.delete("never/there")
        assert not artifact_store.exists("a/b")
        assert dict(artifact_store.list("")) == {"a/bc": 1, "a/b.d/e": 1}, "delete() must remove one key alone"
        artifact_store.write("a/b", b"again")
        assert_stored(artifact_store, "a/b", b"again")

    def test_a_sync_of_what_is_there_and_what_is_not_is_no_error(self, artifact_store: ArtifactStore) -> None:
        """`sync` may be called for any keys."""
        artifact_store.write(KEY, b"x")
        artifact_store.sync([KEY, "never/there"])
        artifact_store.sync([])
        assert_stored(artifact_store, KEY, b"x")

    # Keys

    def test_odd_keys_are_taken(self, artifact_store: ArtifactStore) -> None:
        """Each of them is a key of its own, and means nothing but itself."""
        for number, key in enumerate(LEGAL):
            artifact_store.write(key, str(number).encode())
        for number, key in enumerate(LEGAL):
            assert_stored(artifact_store, key, str(number).encode())
        assert sorted(key for key, _ in artifact_store.list("")) == sorted(LEGAL), "list() must give keys as they were"
        for key in LEGAL:
            artifact_store.delete(key)
        assert list(artifact_store.list("")) == []

    @pytest.mark.parametrize("key", ILLEGAL)
    def test_a_key_that_could_leave_the_store_is_refused(
        self, artifact_store: ArtifactStore, key: str, tmp_path: Path
    ) -> None:
        """Every operation raises `ValueError` before it touches anything."""
        file = written(tmp_path / "file", b"x")
        operations: dict[str, Callable[[], object]] = {
            "write": lambda: artifact_store.write(key, b"x"),
            "upload": lambda: artifact_store.upload(file, key),
            "read_range": lambda: artifact_store.read_range(key, 0, None),
            "download": lambda: artifact_store.download(key, tmp_path / "copy"),
            "delete": lambda: artifact_store.delete(key),
        }
        if CREATE in artifact_store.capabilities:
            operations["create"] = lambda: artifact_store.create(key, b"x")
        accepted = [name for name, call in operations.items() if not raises(ValueError, call)]
        accepted += [] if raises(ValueError, lambda: list(artifact_store.list("a/../../"))) else ["list"]
        assert accepted == [], f"{accepted} took the key {key!r}; raise ValueError"
        assert list(artifact_store.list("")) == []

    # Listing

    def test_a_listing_holds_what_begins_with_the_prefix(self, artifact_store: ArtifactStore) -> None:
        """A prefix is the beginning of a key, not a folder; listing nothing is no error."""
        keys = ["a/bc", "a/x/c", "a/x/d/e", "ab", "b/a"]
        for key in keys:
            artifact_store.write(key, key.encode())
        for prefix in ("", "a", "a/", "a/b", "a/x", "a/x/", "a/x/d/", "b/a", "c", "c/d/", "b/a/"):
            listed = sorted(artifact_store.list(prefix))
            expected = sorted((key, len(key)) for key in keys if key.startswith(prefix))
            assert listed == expected, f"list({prefix!r}) gave {listed}"

    def test_a_listing_is_complete_and_never_stale(self, artifact_store: ArtifactStore) -> None:
        """Every key is listed once, at once after it was written, and not any more after it was deleted."""
        keys = [f"many/{number % 7}/{number:05}" for number in range(self.many)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: artifact_store.write(key, b"x"), keys))
        listed = [key for key, _ in artifact_store.list("many/")]
        assert len(listed) == len(keys), f"list() gave {len(listed)} of {len(keys)} keys; are there several pages?"
        assert sorted(listed) == sorted(keys)
        artifact_store.delete(keys[3])
        artifact_store.write("many/0/new", b"new")
        artifact_store.write(keys[4], b"longer")
        now = dict(artifact_store.list("many/"))
        assert keys[3] not in now, "list() still names a key that was deleted"
        assert now.get("many/0/new") == 3, "list() does not name a key that was just written"
        assert now[keys[4]] == 6, "list() gives an old size"

    # Errors

    @pytest.mark.parametrize("key", ["never/there", "a", "a/file/below"])
    def test_an_absent_key_is_file_not_found(self, artifact_store: ArtifactStore, key: str, tmp_path: Path) -> None:
        """Also for what is only the beginning of a key, or goes on behind one."""
        artifact_store.write("a/file", b"x")
        assert not artifact_store.exists(key)
        assert artifact_store.size(key) is None
        with pytest.raises(FileNotFoundError):
            artifact_store.read_range(key, 0, None)
        with pytest.raises(FileNotFoundError):
            artifact_store.download(key, tmp_path / "copy")

    def test_an_unreachable_store_says_so(self, unreachable_store: ArtifactStore) -> None:
        """What its library raises arrives as `ArtifactStoreError`, which names the store."""
        for call in (
            lambda: unreachable_store.write(KEY, b"x"),
            lambda: unreachable_store.read_range(KEY, 0, None),
            lambda: list(unreachable_store.list("")),
        ):
            with pytest.raises(ArtifactStoreError):
                call()
        assert [*unreachable_store.check()], "check() must find that the store cannot be reached"

    # Several at once

    def test_of_24_threads_one_creates_a_key(self, artifact_store: ArtifactStore) -> None:
        """Exactly one `create` of a key succeeds, its bytes are what is stored, the others get `FileExistsError`."""
        needs(artifact_store, CREATE)
        with ThreadPoolExecutor(24) as pool, quick_switches():
            for number in range(self.rounds):
                key = f"leases/{number}"
                start = threading.Barrier(24)

                def attempt(who: int, key: str = key, start: threading.Barrier = start) -> int | None:
                    start.wait()
                    try:
                        artifact_store.create(key, content(str(who), 500 + who))
                    except FileExistsError:
                        return None
                    return who

                winners = [who for who in pool.map(attempt, range(24)) if who is not None]
                assert len(winners) == 1, (
                    f"create() succeeded for {len(winners)} of 24 threads; it must for exactly one"
                )
                assert_stored(artifact_store, key, content(str(winners[0]), 500 + winners[0]))

    def test_a_taken_key_is_not_created(self, artifact_store: ArtifactStore, tmp_path: Path) -> None:
        """Whatever put it there, it stays; a key that was deleted is free again."""
        needs(artifact_store, CREATE)
        artifact_store.create("a", b"created")
        artifact_store.write("b", b"written")
        artifact_store.upload(written(tmp_path / "file", b""), "c")
        for key, data in {"a": b"created", "b": b"written", "c": b""}.items():
            with pytest.raises(FileExistsError):
                artifact_store.create(key, b"again")
            assert_stored(artifact_store, key, data)
        artifact_store.delete("a")
        artifact_store.create("a", b"anew")
        assert_stored(artifact_store, "a", b"anew")

    def test_a_store_that_cannot_create_says_so(self, artifact_store: ArtifactStore) -> None:
        """Without the capability, `create` raises `CapabilityError` and stores nothing."""
        if CREATE in artifact_store.capabilities:
            return
        with pytest.raises(CapabilityError):
            artifact_store.create(KEY, b"x")
        assert list(artifact_store.list("")) == []

    def test_of_several_writers_one_wins_whole(self, artifact_store: ArtifactStore) -> None:
        """Writers of one key at the same time never leave a mixture."""
        offers = [content(str(who), 200_000 + who) for who in range(12)]
        start = threading.Barrier(12)

        def write(data: bytes) -> None:
            start.wait()
            artifact_store.write(KEY, data)

        with ThreadPoolExecutor(12) as pool, quick_switches():
            list(pool.map(write, offers))
        assert artifact_store.read_range(KEY, 0, None) in offers, "the key holds a mixture of what two writers wrote"
        assert [key for key, _ in artifact_store.list("")] == [KEY], "something is left besides the key"

    def test_a_reader_never_sees_a_part(self, artifact_store: ArtifactStore, tmp_path: Path) -> None:
        """While a key is uploaded again and again, it is always one of the versions, whole, or not there yet."""
        versions = [written(tmp_path / str(who), content(str(who), self.large // 8 + who)) for who in range(2)]
        sizes, digests = {each.stat().st_size for each in versions}, {digest(each.read_bytes()) for each in versions}
        done = threading.Event()

        def read() -> list[str]:
            wrong = []
            while not done.is_set():
                size = artifact_store.size(KEY)
                if size is not None and size not in sizes:
                    wrong.append(f"size {size}")
                if size is not None and digest(artifact_store.read_range(KEY, 0, None)) not in digests:
                    wrong.append("a part of a version")
            return wrong

        with ThreadPoolExecutor(2) as pool, quick_switches():
            readers = [pool.submit(read) for _ in range(2)]
            try:
                for number in range(12):
                    artifact_store.upload(versions[number % 2], KEY)
            finally:
                done.set()
            seen = [wrong for reader in readers for wrong in reader.result()]
        assert seen == [], f"readers saw {seen[0]}: upload() must make a key appear whole"

    def test_two_instances_see_each_other_at_once(self, artifact_store: ArtifactStore) -> None:
        """An instance made from the same settings, as tasks and pickle make it, is the same store."""
        copies = [from_json(json.loads(dumps(to_json(artifact_store)))), pickle.loads(pickle.dumps(artifact_store))]
        for number, other in enumerate(copies):
            assert other.identity == artifact_store.identity, "the identity must be the same for the same settings"
            assert not other.exists(f"seen/{number}")
            artifact_store.write(f"seen/{number}", b"first")
            assert_stored(other, f"seen/{number}", b"first")
            other.write(f"seen/{number}", b"by the other")
            assert_stored(artifact_store, f"seen/{number}", b"by the other")
            other.delete(f"seen/{number}")
            assert not artifact_store.exists(f"seen/{number}"), "a key that another instance deleted is still there"

    def test_another_process_has_the_same_store(self, artifact_store: ArtifactStore) -> None:
        """It sees what is written here, has the same identity, and what it writes is seen here."""
        if not self.crosses_processes:
            assert SHARED not in artifact_store.capabilities, "a store of one process alone is not shared"
            pytest.skip("The store belongs to this process.")
        artifact_store.write("from/parent", b"from parent")
        out, err = started(f"{HERE}:visit", value=artifact_store).communicate()
        assert out.splitlines()[-1:] == [artifact_store.identity], f"another process has another store. {err}"
        assert_stored(artifact_store, "from/child", b"from parent, and back")

    # Faults

    @pytest.mark.parametrize("moment", [0.0, 0.25, 0.5, 0.75])
    def test_a_process_killed_while_it_uploads_leaves_nothing_half(
        self, artifact_store: ArtifactStore, moment: float, tmp_path: Path
    ) -> None:
        """The key is absent or whole, no other key shows, and the store works."""
        if not self.crosses_processes:
            pytest.skip("The store dies with its process.")
        file = written(tmp_path / "file", content("killed", self.large))
        begun = time.perf_counter()
        artifact_store.upload(file, "probe")
        duration = time.perf_counter() - begun
        artifact_store.delete("probe")
        with started(f"{HERE}:upload", str(file), KEY, value=artifact_store) as child:
            assert child.stdout is not None
            child.stdout.readline()  # it begins now
            with suppress(subprocess.TimeoutExpired):
                child.wait(moment * duration)
            child.send_signal(signal.SIGKILL)
        data = file.read_bytes()
        assert artifact_store.size(KEY) in (None, len(data)), "a killed upload left a part under its key"
        assert {key for key, _ in artifact_store.list("")} <= {KEY}, "a killed upload left something in the listing"
        artifact_store.upload(file, KEY)
        assert_stored(artifact_store, KEY, data)

    def test_a_full_disk_is_told_and_loses_nothing(self, artifact_store: ArtifactStore, tmp_path: Path) -> None:
        """Storing raises `OSError` or `ArtifactStoreError`; what was there stays, and nothing half is listed."""
        if not (self.fills_disk and self.crosses_processes):
            pytest.skip("The store does not keep things on this machine's disk.")
        artifact_store.write(KEY, b"old")
        file = written(tmp_path / "file", content("too large", 4 << 20))
        out, err = started(f"{HERE}:fill", str(file), KEY, value=artifact_store).communicate()
        told = json.loads(out.splitlines()[-1]) if out else err
        assert told == dict.fromkeys(told, "refused"), f"on a full disk: {told}; each must raise OSError"
        assert_stored(artifact_store, KEY, b"old")
        assert [key for key, _ in artifact_store.list("")] == [KEY], "a failed upload left something in the listing"

    # What it says of itself

    def test_what_can_be_mapped_is_the_very_file(self, artifact_store: ArtifactStore) -> None:
        """With the capability `mapping`, `local_path` gives a file with the bytes; without it, None."""
        artifact_store.write(KEY, b"mapped")
        path = artifact_store.local_path(KEY)
        if MAPPING in artifact_store.capabilities:
            assert path is not None, "local_path() must give a file where the store says it can be mapped"
            assert path.read_bytes() == b"mapped"
        else:
            assert path is None, "local_path() gives a file; declare the capability 'mapping'"

    def test_its_identity_stays(self, artifact_store: ArtifactStore) -> None:
        """It is a text without secrets that does not change with what is stored."""
        before = artifact_store.identity
        artifact_store.write(KEY, b"x")
        assert isinstance(before, str)
        assert before
        assert artifact_store.identity == before

    def test_it_is_found_by_a_name_and_its_capabilities_are_known(self, artifact_store: ArtifactStore) -> None:
        """Its kind is `artifact_store`; it declares nothing that Drystone does not know."""
        assert artifact_store.kind == "artifact_store"
        assert artifact_store.name
        assert artifact_store.capabilities <= {CREATE, SHARED, MAPPING}

    def test_nothing_is_wrong_with_a_store_that_works(self, artifact_store: ArtifactStore) -> None:
        """`check` finds nothing, and leaves nothing behind."""
        assert [*artifact_store.check()] == []
        assert list(artifact_store.list("")) == []

    def test_a_secret_is_not_shown(self, secret_store: tuple[ArtifactStore, str]) -> None:
        """Neither in the repr, nor in descriptions, nor in what tasks carry, nor in its identity."""
        store, secret = secret_store
        for shown in (repr(store), str(setting_to_json(store)), dumps(to_json(store)), store.identity):
            assert secret not in shown, "a secret's text is shown; use a field of type Secret"

    def test_importing_it_is_light(self, artifact_store: ArtifactStore) -> None:
        """Importing its package imports no library that takes long: that waits until the store is used."""
        package = type(artifact_store).__module__.partition(".")[0]
        code = f"import sys, {package}; print([name for name in {self.libraries!r} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode or done.stdout.strip() == "[]", f"import {package} imports {done.stdout}"


def content(seed: str, size: int) -> bytes:
    """Bytes that differ from seed to seed, and do not repeat with any chunk."""
    return hashlib.shake_128(seed.encode()).digest(size)


def digest(data: bytes) -> str:
    """What tells bytes from each other."""
    return hashlib.blake2b(data).hexdigest()


def written(file: Path, data: bytes) -> Path:
    """A file with these bytes."""
    file.write_bytes(data)
    return file


def needs(store: ArtifactStore, capability: str) -> None:
    """Skip a test of what the store says it cannot do; that it refuses it is another test."""
    if capability not in store.capabilities:
        pytest.skip(f"The store does not declare {capability!r}.")


def assert_stored(store: ArtifactStore, key: str, data: bytes) -> None:
    """Everything that a store says of a key fits these bytes."""
    assert store.exists(key), f"{key!r} is not there"
    assert store.size(key) == len(data), f"size({key!r}) is {store.size(key)}, not {len(data)}"
    read = store.read_range(key, 0, None)
    assert len(read) == len(data), f"{key!r} reads as {len(read)} bytes of {len(data)}"
    assert digest(read) == digest(data), f"{key!r} does not read as what was stored"


def raises(expected: type[Exception], call: Callable[[], object]) -> bool:
    """Whether a call raises that."""
    try:
        call()
    except expected:
        return True
    except Exception:
        return False
    return False


@contextmanager
def quick_switches() -> Iterator[None]:
    """Let threads take turns so often that races show."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


# What contracts run in other processes


def visit(store: ArtifactStore) -> None:
    """Read what the parent wrote, and answer it."""
    store.write("from/child", store.read_range("from/parent", 0, None) + b", and back")
    print(store.identity)  # noqa: T201 - the parent reads it


def upload(store: ArtifactStore, file: str, key: str) -> None:
    """Upload a file, after saying so."""
    print("now", flush=True)  # noqa: T201 - the parent waits for it
    store.upload(Path(file), key)


def fill(store: ArtifactStore, file: str, key: str) -> None:
    """Store a large file in every way, where no file may be large."""
    data = Path(file).read_bytes()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    ways: dict[str, Callable[[], object]] = {
        "upload": lambda: store.upload(Path(file), key),
        "write": lambda: store.write(key, data),
    }
    if CREATE in store.capabilities:
        ways["create"] = lambda: store.create("created", data)
    print(json.dumps({way: "refused" if raises(OSError, call) else "accepted" for way, call in ways.items()}))  # noqa: T201
