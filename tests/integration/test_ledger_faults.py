"""A ledger in a bucket behind a bad network: what was said to be added is there once, and nothing is there twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from drystone import FilesystemLedger
from drystone.errors import LedgerConflict, WorkspaceError, WorkspaceUnreachableError
from drystone.ledgers import Commit, next_commit
from drystone_s3 import S3ArtifactStore
from services.proxies import FAULTS, Fault, Proxy, Rule, precondition_failed, weather
from services.seaweed import S3Server
from services.teams import Team, ended

SEED = 20261124


@attrs.frozen
class Book:
    """A ledger behind a proxy, and the same one without."""

    proxy: Proxy
    server: S3Server
    bucket: str

    def open(self, url: str = "") -> FilesystemLedger:
        """As one more machine would."""
        store = S3ArtifactStore(f"s3://{self.bucket}/workspace", endpoint_url=url or self.proxy.url)
        return FilesystemLedger(store)

    def commits(self) -> list[Commit]:
        """What a new machine with a good connection reads, each checked against the one before."""
        ledger = self.open(self.server.endpoint_url)
        assert list(ledger.oddities()) == []
        return list(ledger.read())


@pytest.fixture
def book(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Book]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.admin.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.admin.secret)
    monkeypatch.setattr("drystone_s3.attempts.PATIENCE", {False: 0.3, True: 0.3})
    monkeypatch.setattr("drystone_s3.attempts.FIRST", 0.01)
    with Proxy(s3_server.endpoint_url, seed=SEED) as proxy:
        yield Book(proxy, s3_server, s3_bucket)


@attrs.define
class Writer:
    """Somebody who adds commits, and keeps account of what was said of each."""

    ledger: FilesystemLedger
    done: set[str] = attrs.field(factory=set)
    lost: set[str] = attrs.field(factory=set)
    unclear: set[str] = attrs.field(factory=set)

    def write(self, count: int) -> None:
        """Try to add so many."""
        for _ in range(count):
            try:
                commit = next_commit(self.ledger.head(), [{"type": "test"}])
            except WorkspaceUnreachableError:
                continue
            self.add(commit)

    def add(self, commit: Commit) -> None:
        try:
            self.ledger.append(commit)
        except LedgerConflict:
            self.lost.add(commit.id)
        except WorkspaceUnreachableError:
            self.unclear.add(commit.id)
        else:
            self.done.add(commit.id)


@pytest.mark.parametrize("chance", [0.2, 0.5])
def test_what_was_added_is_there_once_and_what_was_lost_is_not(book: Book, chance: float) -> None:
    writers = [Writer(book.open()) for _ in range(4)]
    book.proxy.rules = weather(chance)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda writer: writer.write(40), writers))
    there = [commit.id for commit in book.commits()]
    assert len(there) == len(set(there))
    done, lost, unclear = (
        set().union(*(getattr(each, name) for each in writers)) for name in ("done", "lost", "unclear")
    )
    assert done <= {*there} <= done | unclear, "nothing else is there"
    assert not lost & {*there}, "who hears that somebody was faster can decide again"
    assert len(done) > 30


@pytest.mark.parametrize("fault", [*FAULTS, precondition_failed])
def test_one_bad_answer_is_got_over(book: Book, fault: Fault) -> None:
    ledger = book.open()
    ledger.append(next_commit(ledger.head(), []))
    for _ in range(3):
        book.proxy.rules = [Rule(fault, method="PUT", target="commits/", times=1)]
        ledger.append(next_commit(ledger.head(), []))
    assert [commit.seq for commit in book.commits()] == [1, 2, 3, 4]


def test_segments_are_whole_whatever_happens(book: Book) -> None:
    ledger = book.open()
    book.proxy.rules = weather(0.2)
    Writer(ledger).write(140)
    count = len(book.commits())
    assert count > 100
    book.proxy.rules = ()
    with book.proxy.counted() as traffic:
        assert len(list(book.open().read())) == count
    assert traffic.requests < count, "they are read from segments"


def test_a_lease_has_one_holder_whatever_happens(book: Book) -> None:
    ledgers = [book.open() for _ in range(4)]
    book.proxy.rules = weather(0.3)

    def take(n: int, name: str) -> bool:
        try:
            return ledgers[n].lease(name, f"holder-{n}", 60)
        except WorkspaceError:
            return False

    truth = book.open(book.server.endpoint_url)
    with ThreadPoolExecutor(4) as pool:
        for turn in range(8):
            name = f"turn-{turn}"
            taken = [n for n, was in enumerate(pool.map(lambda n, name=name: take(n, name), range(4))) if was]
            assert len(taken) <= 1
            assert truth.holder(name) in [f"holder-{n}" for n in taken or range(4)] + [None] * (not taken)


WRITER = """
import json
import os
import sys

from drystone import Workspace
from drystone.errors import DrystoneError, WorkspaceError

told = {"done": [], "failed": [], "unclear": []}
while not told["done"]:
    try:
        workspace = Workspace.current()
        told["done"].append(workspace.create_model_version("common", name=f"{sys.argv[1]}-begin").name)
    except WorkspaceError as exc:
        print(exc, file=sys.stderr)
for n in range(int(sys.argv[2])):
    name = f"{sys.argv[1]}-{n}"
    try:
        workspace.create_model_version("common", name=name)
    except WorkspaceError as exc:
        told["unclear" if "not known" in str(exc) else "failed"].append(name)
    else:
        told["done"].append(name)
print(json.dumps(told))
"""


def test_a_workspace_keeps_what_it_said_that_it_keeps(book: Book, project: Path) -> None:
    """Processes on indexes of their own; each version has a name, so that a commit can be told from its repetition."""
    (project / "writer.py").write_text(WRITER)
    team = Team.on_bucket(project, book.proxy.url, book.bucket)
    book.proxy.rules = weather(0.2)
    with ended(*(team.start(f"m{n}", "writer.py", f"m{n}", "15") for n in range(4))) as processes:
        told = [process.communicate(timeout=240) for process in processes]
        assert [process.returncode for process in processes] == [0] * 4, [err for _, err in told]
    said = [json.loads(out) for out, _ in told]
    done, failed, unclear = ({name for each in said for name in each[word]} for word in ("done", "failed", "unclear"))
    book.proxy.rules = ()
    script = """
import json
from drystone import Workspace
workspace = Workspace.current()
assert workspace.verify() == []
print(json.dumps([[each.number, each.name] for each in workspace.model_versions("common", limit=None)]))
"""
    found = json.loads(team.do("observer", "-c", script))
    names = [name for _, name in found]
    assert len(names) == len({*names})
    assert sorted(number for number, _ in found) == list(range(1, len(names) + 1))
    assert done - {f"m{n}-begin" for n in range(4)} <= {*names} - {f"m{n}-begin" for n in range(4)}
    assert {f"m{n}-begin" for n in range(4)} <= {*names}
    assert not failed & {*names}, "what was told as not recorded is not there"
    assert {*names} <= done | unclear
    assert len(done) > 40
