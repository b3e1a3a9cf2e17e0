"""Checking a workspace: the chain of commits, the index against a replay, and the bytes behind every artifact."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

from drystone.artifact_stores import ArtifactStore
from drystone.blobs import blob_key, set_aside
from drystone.caches import file_digest
from drystone.digests import digest_bytes
from drystone.errors import ArtifactStoreError, WorkspaceError
from drystone.index import Index
from drystone.ledgers import Finding as Finding
from drystone.ledgers import Head, SQLiteLedger, check_follows, checked_commit
from drystone.stores import out_of_reach

INSTALL = "Install the version of Drystone that wrote it, or a newer one."
RESTORE = "Restore the workspace's directory from a backup."
REBUILD = "drystone workspace rebuild makes the index anew from the ledger."
RERUN = "Run the pipeline again: what made it counts as not cached."
AGAIN = "Another store holds it: drystone artifacts push copies it there again."
PROMOTE = "Promote again, as somebody who may."
DEFINE = "Define a stack whose artifact_store is this one."


Blobs = dict[tuple[str, tuple[str, ...]], tuple[str, int | None]]
"""By digest and the stores that should hold it: what a blob belongs to, and its size if that is known."""


def findings(ledger: SQLiteLedger, index: Index) -> tuple[list[Finding], Blobs]:
    """What is wrong with the ledger and the index; and the blobs that there must be."""
    with closing(sqlite3.connect("", isolation_level=None)) as connection:  # a file, for what memory cannot hold
        connection.execute("BEGIN")
        replay = Index(connection)
        replay.create()
        broken = [*_chain(ledger, index, replay)]
        rows = (index if broken else replay).blobs()
        blobs = {(digest, stores): (subject, size) for subject, stores, digest, size in rows}
        return [*_ungranted(ledger), *(broken or differences(index, replay))], blobs


def _ungranted(ledger: SQLiteLedger) -> Iterator[Finding]:
    """The commits that do not count in full."""
    for seq in ledger.ungranted():
        text = f"Commit {seq} moves a stage, and nobody who may do that has vouched for it. The stage was not moved."
        yield Finding("grant", str(seq), text, PROMOTE)


def _chain(ledger: SQLiteLedger, index: Index, replay: Index) -> Iterator[Finding]:
    """What is wrong with the commits one by one; as long as they are whole they are entered into another index."""
    head, whole = Head(), True
    for seq, digest, body in ledger.rows():
        try:
            check_follows(commit := checked_commit(seq, digest, body), head)
            if whole:
                replay.enter(ledger.counted(commit))
        except WorkspaceError as exc:
            whole = False
            yield Finding("commit", str(seq), str(exc), RESTORE)
        head = Head(seq, digest.decode(errors="replace"))
    seq, last = index.position()
    if seq > head.seq or (whole and (seq, last) != (head.seq, head.digest)):
        text = f"The index ends with commit {seq}, the ledger with {head.seq}: the ledger's end is missing or altered."
        yield Finding("commit", str(seq), text, RESTORE)


def differences(index: Index, replay: Index) -> Iterator[Finding]:
    """Differences between the index and one that was made from the ledger now."""
    for table in replay.tables():
        now, then = ({hash(row) for row in each.rows(table)} for each in (index, replay))
        different = now ^ then
        if different:
            text = f"The table {table} is not what the ledger says: {len(different)} rows differ, such as"
            example = min(repr(row) for each in (index, replay) for row in each.rows(table) if hash(row) in different)
            yield Finding("index", table, f"{text} {example:.120}.", REBUILD)


def spoilt(
    blobs: Blobs,
    stores: Callable[[Sequence[str]], Iterable[ArtifactStore]],
    missed: Callable[[str, str], None],
) -> Iterator[Finding]:
    """Blobs that are missing, damaged or out of reach; what some store within reach holds is not lost.

    Args:
        blobs: Which there must be.
        stores: Those within reach, the ones of some identities first.
        missed: Is told the store and the digest of each that is not where it should be.
    """
    told: set[str] = set()
    for (digest, identities), (subject, size) in blobs.items():
        found = _Search(digest, size, identities)
        found.look(stores(identities))
        for identity, problem in found.problems.items():
            missed(identity, digest)
            text = f"The blob {digest[:12]}… of {subject} is {problem} in the artifact store {identity}."
            yield Finding("blob", subject, text, AGAIN if found.is_held else RERUN)
        if not found.problems and not found.is_held and found.away not in told:
            told.add(found.away)
            yield Finding("store", identities[0], found.away, DEFINE)


class _Search:
    """A blob that is looked for in stores.

    Attributes:
        problems: What is wrong with it in those that should hold it.
        is_held: Whether any holds it.
        away: Why none that should hold it can be asked.
    """

    def __init__(self, digest: str, size: int | None, identities: Sequence[str]) -> None:
        self.problems: dict[str, str] = {}
        self.is_held = False
        self.away = out_of_reach(identities)
        self._wanted, self._identities = (digest, size), identities

    def look(self, stores: Iterable[ArtifactStore]) -> None:
        """Look into those that should hold it, and into others until one does."""
        for store in stores:
            is_named = store.identity in self._identities
            if is_named or not self.is_held:
                self._look(store, is_named=is_named)

    def _look(self, store: ArtifactStore, *, is_named: bool) -> None:
        try:
            problem = _problem(store, *self._wanted)
        except ArtifactStoreError as exc:
            self.away = str(exc) if is_named else self.away
            return
        self.is_held = self.is_held or problem is None
        if is_named and problem is not None:
            self.problems[store.identity] = problem


def _problem(store: ArtifactStore, digest: str, size: int | None) -> str | None:
    key = blob_key(digest)
    found = store.size(key)
    if found is None:
        return "missing"
    if size is not None and found != size:
        return "damaged"
    local = store.local_path(key)
    actual = file_digest(local) if local else digest_bytes(store.read_range(key, 0, None))
    if actual == digest:
        return None
    set_aside(store, digest)
    return "damaged"
