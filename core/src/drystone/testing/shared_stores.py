"""What every artifact store does when several use it at once, and when something goes wrong."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from drystone.artifact_stores import CREATE, SHARED, ArtifactStore
from drystone.errors import CapabilityError
from drystone.testing.attempts import assert_stored, content, digest, needs, quick_switches, written
from drystone.testing.children import started
from drystone.values import dumps, from_json, to_json

ATTEMPTS = "drystone.testing.attempts"

KEY = "blobs/3f/3f8a"


class SharedStores:
    """The part of the contract about several threads, instances and processes, and about faults."""

    crosses_processes: ClassVar[bool] = True
    fills_disk: ClassVar[bool] = True
    rounds: ClassVar[int] = 40
    large: ClassVar[int] = 24 << 20

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
        out, err = started(f"{ATTEMPTS}:visit", value=artifact_store).communicate()
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
        with started(f"{ATTEMPTS}:upload", str(file), KEY, value=artifact_store) as child:
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
        out, err = started(f"{ATTEMPTS}:fill", str(file), KEY, value=artifact_store).communicate()
        told = json.loads(out.splitlines()[-1]) if out else err
        assert told == dict.fromkeys(told, "refused"), f"on a full disk: {told}; each must raise OSError"
        assert_stored(artifact_store, KEY, b"old")
        assert [key for key, _ in artifact_store.list("")] == [KEY], "a failed upload left something in the listing"
