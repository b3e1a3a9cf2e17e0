"""An artifact store in a bucket behind a bad network: what it says is so, and what it cannot do it says."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from drystone import Secret
from drystone.errors import ArtifactStoreError, StoreUnreachableError
from drystone_s3 import S3ArtifactStore
from services.proxies import FAULTS, Fault, Proxy, Rule, precondition_failed, reset, slow_down, truncated, weather
from services.seaweed import S3Server

LARGE = (16 << 20) + 12_345
"""Bytes of an object that is stored in parts, and fetched in parts."""

SEED = 20261124


@attrs.frozen
class Bench:
    """A store behind a proxy, and the same one without."""

    proxy: Proxy
    open: Callable[[str], S3ArtifactStore]
    before: S3ArtifactStore
    folder: Path

    @property
    def behind(self) -> S3ArtifactStore:
        """With connections of its own."""
        return self.open(self.proxy.url)

    def truth(self, key: str) -> bytes | None:
        """What really is stored."""
        with suppress(FileNotFoundError):
            return self.before.read_range(key, 0, None)
        return None

    def file(self, data: bytes) -> Path:
        """A file with these bytes."""
        path = self.folder / os.urandom(8).hex()
        path.write_bytes(data)
        return path


@pytest.fixture
def bench(s3_server: S3Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("S3_KEY", s3_server.admin.key)
    monkeypatch.setenv("S3_SECRET", s3_server.admin.secret)
    monkeypatch.setattr("drystone_s3.attempts.PATIENCE", {False: 0.5, True: 0.5})
    monkeypatch.setattr("drystone_s3.attempts.FIRST", 0.01)

    def opened(url: str) -> S3ArtifactStore:
        credentials = {"key": Secret("env:S3_KEY"), "secret": Secret("env:S3_SECRET")}
        return S3ArtifactStore(f"s3://{s3_bucket}/artifacts", endpoint_url=url, region="us-east-1", **credentials)

    with Proxy(s3_server.endpoint_url, seed=SEED) as proxy:
        yield Bench(proxy, opened, opened(s3_server.endpoint_url), tmp_path)


@attrs.define
class Model:
    """What a store holds, as far as that is known: after an operation that failed, the one or the other."""

    bench: Bench
    dice: random.Random
    store: S3ArtifactStore
    held: dict[str, bytes | None] = attrs.field(factory=dict)
    failures: int = 0

    def act(self) -> None:
        """Do one thing at random, and check what it says against the truth."""
        key = f"blobs/{self.dice.randrange(4)}"
        action = self.dice.choice(
            [self.write, self.upload, self.create, self.delete, self.read, self.download, self.ask]
        )
        try:
            action(key)
        except ArtifactStoreError:
            self.failures += 1
        found = self.bench.truth(key)
        assert found in self.expected, (action.__name__, key)
        self.held[key] = found

    expected: tuple[bytes | None, ...] = ()

    def write(self, key: str) -> None:
        data = self.dice.randbytes(self.dice.choice([0, 10, 100_000]))
        self.changes(key, data, lambda: self.store.write(key, data))

    def upload(self, key: str) -> None:
        data = self.dice.randbytes(100) * 1000
        self.changes(key, data, lambda: self.store.upload(self.bench.file(data), key))

    def delete(self, key: str) -> None:
        self.changes(key, None, lambda: self.store.delete(key))

    def create(self, key: str) -> None:
        before, data = self.held.get(key), self.dice.randbytes(20)
        try:
            self.changes(key, data, lambda: self.store.create(key, data))
            assert before is None
        except FileExistsError:
            assert before is not None, "a key is free, and is told as taken"
            self.expected = (before,)

    def changes(self, key: str, data: bytes | None, action: Callable[[], None]) -> None:
        self.expected = (self.held.get(key), data)
        action()
        self.expected = (data,)

    def read(self, key: str) -> None:
        before = self.held.get(key)
        self.expected = (before,)
        start = self.dice.randrange(12)
        length = self.dice.choice([None, 5, 50_000])
        try:
            found = self.store.read_range(key, start, length)
        except FileNotFoundError:
            assert before is None
        else:
            assert before is not None
            assert found == before[start : None if length is None else start + length]

    def download(self, key: str) -> None:
        before, path = self.held.get(key), self.bench.folder / "download"
        self.expected = (before,)
        try:
            self.store.download(key, path)
        except FileNotFoundError:
            assert before is None
        else:
            assert path.read_bytes() == before

    def ask(self, key: str) -> None:
        self.expected = (self.held.get(key),)
        sizes = {name: len(data) for name, data in self.held.items() if data is not None}
        assert self.store.size(key) == sizes.get(key)
        assert dict(self.store.list("blobs/")) == sizes


@pytest.mark.parametrize("fault", [*FAULTS, precondition_failed])
def test_an_operation_does_what_it_says_or_raises(fault: Fault, bench: Bench) -> None:
    bench.proxy.rules = [Rule(fault, chance=0.4, conditional=fault is precondition_failed)]
    model = Model(bench, random.Random(SEED), bench.behind)
    for _ in range(40):
        model.act()
    assert bench.proxy.traffic.spoilt
    assert model.failures < 10, "most of it goes well at the second or third attempt"


def test_an_operation_does_what_it_says_or_raises_in_any_weather(bench: Bench) -> None:
    bench.proxy.rules = weather(0.5)
    model = Model(bench, random.Random(SEED), bench.behind)
    for _ in range(100):
        model.act()
    assert len({each.fault for each in bench.proxy.traffic.spoilt}) > 8


@pytest.mark.parametrize("fault", FAULTS)
def test_a_large_object_is_there_whole_or_not_at_all(fault: Fault, bench: Bench) -> None:
    data = random.Random(SEED).randbytes(LARGE)
    bench.proxy.rules = [Rule(fault, chance=0.4)]
    store = bench.behind
    for n in range(2):
        key, path = f"blobs/{n}", bench.folder / f"{n}"
        try:
            store.upload(bench.file(data), key)
        except ArtifactStoreError:
            assert bench.truth(key) in (None, data)
            continue
        assert bench.truth(key) == data
        with suppress(ArtifactStoreError):
            store.download(key, path)
            assert path.read_bytes() == data
        with suppress(ArtifactStoreError):
            assert store.read_range(key, 5, LARGE) == data[5:]


def test_a_key_has_one_maker_who_knows_it(bench: Bench) -> None:
    bench.proxy.rules = weather(0.5)
    stores = [bench.behind for _ in range(8)]

    def make(n: int, key: str) -> str:
        try:
            stores[n].create(key, b"%d" % n)
        except FileExistsError:
            return "lost"
        except ArtifactStoreError:
            return "unclear"
        return "won"

    with ThreadPoolExecutor(8) as pool:
        for turn in range(10):
            key = f"commits/{turn}"
            said = [*pool.map(lambda n, key=key: make(n, key), range(8))]
            found = bench.truth(key)
            if found is None:
                assert set(said) <= {"unclear"}, "who says that it is taken is right"
                continue
            assert said[int(found)] in ("won", "unclear"), "the maker does not hear that somebody else was faster"
            assert said.count("won") == (said[int(found)] == "won"), "and nobody else hears that it was him"


@pytest.mark.parametrize("fault", [reset, slow_down, truncated])
def test_what_never_goes_well_is_told_as_an_error_of_the_store(fault: Fault, bench: Bench) -> None:
    bench.before.write("blobs/0", b"before")
    bench.proxy.rules = [Rule(fault)]
    store = bench.behind
    operations: list[Callable[[], object]] = [
        lambda: store.upload(bench.file(b"x" * LARGE), "blobs/1"),
        lambda: store.write("blobs/2", b"x"),
        lambda: store.create("blobs/3", b"x"),
        lambda: store.read_range("blobs/0", 0, None),
        lambda: store.download("blobs/0", bench.folder / "0"),
        lambda: [*store.list("blobs/")],
        lambda: store.size("blobs/0"),
        lambda: store.delete("blobs/9"),
        lambda: store.modified("blobs/0"),
        lambda: store.now(),
    ]
    for operation in operations:
        with pytest.raises(ArtifactStoreError) as told:
            operation()
        assert fault is not reset or isinstance(told.value, StoreUnreachableError)
    assert bench.truth("blobs/0") == b"before"
    assert bench.truth("blobs/1") in (None, b"x" * LARGE)
