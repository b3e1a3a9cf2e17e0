"""Checking a workspace: the chain of commits, the index against a replay, and the bytes behind every artifact."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import attrs

from drystone.blobs import blob_key, file_digest, set_aside
from drystone.components import ArtifactStore
from drystone.digests import digest_bytes
from drystone.errors import DrystoneError, LedgerDamagedError, WorkspaceError
from drystone.index import Index
from drystone.ledgers import Commit, Head, SQLiteLedger, check_follows, checked_commit

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


def findings(ledger: SQLiteLedger, index: Index, store_for: Callable[[str], ArtifactStore]) -> list[Finding]:
    """Everything that is wrong with a workspace."""
    commits: list[Commit] = []
    broken = [*_chain(ledger, index, commits)]
    return [*(broken or _replayed(index, commits)), *_blobs(index, store_for)]


def _chain(ledger: SQLiteLedger, index: Index, commits: list[Commit]) -> Iterator[Finding]:
    """What is wrong with the commits one by one; those that are whole are added to `commits`."""
    head, whole = Head(), True
    for seq, digest, body in ledger.rows():
        try:
            check_follows(commit := checked_commit(seq, digest, body), head)
            commits.append(commit)
        except LedgerDamagedError as exc:
            whole = False
            yield Finding("commit", str(seq), str(exc), RESTORE)
        head = Head(seq, digest)
    seq, digest = index.position()
    if whole and (seq, digest) != (head.seq, head.digest):
        text = f"The index ends with commit {seq}, the ledger with {head.seq}: the ledger's end is missing or altered."
        yield Finding("commit", str(seq), text, RESTORE)


def _replayed(index: Index, commits: list[Commit]) -> Iterator[Finding]:
    """Differences between the index and one that is made from the ledger now."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        replay = Index(connection)
        replay.create()
        for commit in commits:
            replay.apply(commit)
        now, then = index.dump(), replay.dump()
    except WorkspaceError as exc:
        yield Finding("ledger", "numbers", str(exc), RESTORE)
        return
    finally:
        connection.close()
    for table in now:
        different = set(map(repr, now[table])) ^ set(map(repr, then[table]))
        if different:
            text = f"The table {table} is not what the ledger says: {len(different)} rows differ, such as"
            yield Finding("index", table, f"{text} {min(different):.120}.", REBUILD)


def _blobs(index: Index, store_for: Callable[[str], ArtifactStore]) -> Iterator[Finding]:
    """Blobs that are missing, damaged or out of reach."""
    stores: dict[str, ArtifactStore | None] = {}
    for (identity, digest), (subject, size) in {each[1:3]: (each[0], each[3]) for each in index.blobs()}.items():
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
