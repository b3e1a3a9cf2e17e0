"""What every artifact store does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from drystone.artifact_stores import CLOCK, CREATE, MAPPING, SHARED, ArtifactStore
from drystone.components import setting_to_json
from drystone.errors import ArtifactStoreError, CapabilityError
from drystone.testing.attempts import assert_stored, content, raises, written
from drystone.testing.shared_stores import KEY, SharedStores
from drystone.values import dumps, to_json

LEGAL = (
    *("a", "deep/" * 30 + "end", "x" * 200, "odd/sq[3]/1", "odd/two words", "odd/ä-日本", "odd/a+b=c", "odd/50%41"),
    *("odd/.hidden", "odd/-", "odd/~", "odd/{x}", "odd/#1", "odd/what?", "odd/*", "odd/a:b", "odd/it's", "odd/a&b"),
)
"""Keys that a store must take."""

ILLEGAL = ("", "..", "../up", "a/../../up", "a/..", "a//b", "a/", "./a", "a/./b", "a\\b", "a\0b")
"""Keys that a store must refuse, since they could mean something outside it, or another key.

Absolute ones are made below a test's own directory: a broken store writes and deletes what they name, perhaps as root.
"""


class ArtifactStoreContract(SharedStores, ABC):
    """What every artifact store does.

    Inherit it, and say in one fixture how an empty store is made::

        class TestShelfArtifactStore(ArtifactStoreContract):
            @pytest.fixture
            def artifact_store(self, tmp_path):
                return ShelfArtifactStore(path=str(tmp_path / "shelf"))

    The store must be private to the test, and ready to be used: one whose path depends on a project has been through
    `at(place)`. It must not be `tmp_path` itself, where the contract keeps files of its own.

    Class attributes:
        crosses_processes: Whether another process with the same settings has the same store. False for stores that
            keep everything in memory.
        fills_disk: Whether it keeps what it is given on this machine's disk, which can be full.
        libraries: Modules that importing the store's module must leave alone, because they take long.
        rounds: How often 24 threads compete for one key.
        large: Bytes of a large blob.
        many: Keys of a long listing; more than services list at a time.
    """

    libraries: ClassVar[tuple[str, ...]] = ("boto3", "botocore", "docker", "numpy", "pandas", "s3fs")
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

    @pytest.fixture
    def another_store(self) -> ArtifactStore:
        """A store of the same class in another place; by default nothing is tested of it."""
        pytest.skip("The author gives no `another_store`.")

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
        """A file anywhere else is left as it is; one in `spool` belongs to the store."""
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
        self._assert_refused(artifact_store, key, tmp_path)

    def test_an_absolute_key_is_refused(self, artifact_store: ArtifactStore, tmp_path: Path) -> None:
        """Also where it names a file that is there, which stays as it is."""
        outside = written(tmp_path / "outside", b"mine")
        self._assert_refused(artifact_store, str(outside), tmp_path)
        assert outside.read_bytes() == b"mine", "a file outside the store was changed"

    def _assert_refused(self, artifact_store: ArtifactStore, key: str, tmp_path: Path) -> None:
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

    def test_it_says_when_something_was_stored(self, artifact_store: ArtifactStore) -> None:
        """With the capability `clock`, by one clock for all keys, which `now` reads; without it, it says so."""
        if CLOCK not in artifact_store.capabilities:
            with pytest.raises(CapabilityError):
                artifact_store.modified(KEY)
            return
        before = artifact_store.now()
        assert abs(before - time.time()) < 86_400, f"now() gave {before}, which is days away, in seconds since 1970"
        artifact_store.write(KEY, b"x")
        artifact_store.write("created", b"x")
        after = artifact_store.now()
        for key in (KEY, "created"):
            moment = artifact_store.modified(key)
            assert before - 1 <= moment <= after + 1, f"{key} was stored at {moment}, between {before} and {after}"
        with pytest.raises(FileNotFoundError):
            artifact_store.modified("never")
        assert {key for key, _ in artifact_store.list("")} == {KEY, "created"}, "now() left something behind"

    def test_its_identity_stays(self, artifact_store: ArtifactStore) -> None:
        """It is a text without secrets that does not change with what is stored."""
        before = artifact_store.identity
        artifact_store.write(KEY, b"x")
        assert isinstance(before, str)
        assert before
        assert artifact_store.identity == before

    def test_another_store_is_told_apart(self, artifact_store: ArtifactStore, another_store: ArtifactStore) -> None:
        """It has another identity, and nothing of what is stored in this one."""
        artifact_store.write(KEY, b"here")
        assert another_store.identity != artifact_store.identity, "the identity must differ between two stores"
        assert not another_store.exists(KEY)
        another_store.write(KEY, b"there")
        assert_stored(artifact_store, KEY, b"here")

    def test_it_is_found_by_a_name_and_its_capabilities_are_known(self, artifact_store: ArtifactStore) -> None:
        """Its kind is `artifact_store`; it declares nothing that Drystone does not know."""
        assert artifact_store.kind == "artifact_store"
        assert artifact_store.name
        assert artifact_store.capabilities <= {CREATE, SHARED, MAPPING, CLOCK}

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
