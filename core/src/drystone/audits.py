"""Checking a workspace: the chain of commits, the index against a replay, and the bytes behind every artifact."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import attrs

from drystone.blobs import blob_key, set_aside
from drystone.caches import file_digest
from drystone.digests import digest_bytes
from drystone.errors import DrystoneError, WorkspaceError
from drystone.index import Index
from drystone.kinds import ArtifactStore
from drystone.ledgers import Head, SQLiteLedger, check_follows, checked_commit

RESTORE = "Restore the workspace's directory from a backup."
REBUILD = "drystone workspace rebuild makes the index anew from the ledger."
RERUN = "Run the pipeline again: what made it counts as not cached."
DEFINE = "Define a stack whose artifact_store is this one."


@attrs.frozen
class Finding:
    """Something that is wrong: what kind of thing, which one, how, and what can be done."""

    kind: str
    subject: str
    message: str
    remedy: str


Blobs = dict[tuple[str, str], tuple[str, int | None]]
"""By store and digest: what a blob belongs to, and its size if that is known."""


def findings(ledger: SQLiteLedger, index: Index) -> tuple[list[Finding], Blobs]:
    """What is wrong with the ledger and the index; and the blobs that there must be."""
    with closing(sqlite3.connect("", isolation_level=None)) as connection:  # a file, for what memory cannot hold
        connection.execute("BEGIN")
        replay = Index(connection)
        replay.create()
        broken = [*_chain(ledger, index, replay)]
        blobs = {blob[1:3]: (blob[0], blob[3]) for blob in (index if broken else replay).blobs()}
        return broken or [*_differences(index, replay)], blobs


def _chain(ledger: SQLiteLedger, index: Index, replay: Index) -> Iterator[Finding]:
    """What is wrong with the commits one by one; as long as they are whole they are entered into another index."""
    head, whole = Head(), True
    for seq, digest, body in ledger.rows():
        try:
            check_follows(commit := checked_commit(seq, digest, body), head)
            if whole:
                replay.apply(commit)
        except (WorkspaceError, LookupError, TypeError) as exc:
            whole = False
            yield Finding("commit", str(seq), str(exc), RESTORE)
        head = Head(seq, digest.decode(errors="replace"))
    seq, last = index.position()
    if seq > head.seq or (whole and (seq, last) != (head.seq, head.digest)):
        text = f"The index ends with commit {seq}, the ledger with {head.seq}: the ledger's end is missing or altered."
        yield Finding("commit", str(seq), text, RESTORE)


def _differences(index: Index, replay: Index) -> Iterator[Finding]:
    """Differences between the index and one that was made from the ledger now."""
    for table in replay.tables():
        now, then = ({hash(row) for row in each.rows(table)} for each in (index, replay))
        different = now ^ then
        if different:
            text = f"The table {table} is not what the ledger says: {len(different)} rows differ, such as"
            example = min(repr(row) for each in (index, replay) for row in each.rows(table) if hash(row) in different)
            yield Finding("index", table, f"{text} {example:.120}.", REBUILD)


def spoilt(blobs: Blobs, store_for: Callable[[str], ArtifactStore]) -> Iterator[Finding]:
    """Blobs that are missing, damaged or out of reach."""
    stores: dict[str, ArtifactStore | None] = {}
    for (identity, digest), (subject, size) in blobs.items():
        if identity not in stores:
            try:
                stores[identity] = store_for(identity)
            except DrystoneError as exc:
                stores[identity] = None
                yield Finding("store", identity, str(exc), DEFINE)
        store = stores[identity]
        problem = _problem(store, digest, size) if store is not None else None
        if problem:
            text = f"The blob {digest[:12]}… of {subject} is {problem} in the artifact store {identity}."
            yield Finding("blob", subject, text, RERUN)


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
