"""Checkpoints: a replica as it was at some commit, kept beside a shared ledger, so that a new machine need not make it.

One is taken only if it is what it says: its commits, each of which holds the digest of the one before, end with one
that the ledger has. What its index says of them is compared by `verify`.
"""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path

from drystone.audits import Finding, findings
from drystone.databases import FILE
from drystone.digests import digest_bytes
from drystone.documents import PREFIX
from drystone.errors import WorkspaceError, WorkspaceUnreachableError
from drystone.index import Index
from drystone.ledgers import SharedLedger
from drystone.mirrors import Mirror

_NAME = re.compile(rf"{PREFIX.rstrip('_')}-(\d{{20}})-([0-9a-f]+)")
"""Schema of the index, number and digest of the last commit."""

_DELETE = "Delete it, and make a new one with drystone workspace checkpoint."

LARGEST = 4 << 30
"""Bytes of a replica that is unpacked into memory at most."""

_PART = ".checkpoint"


def made(connection: sqlite3.Connection) -> tuple[str, bytes]:
    """A checkpoint of the replica in a database, with its name."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / FILE
        connection.execute("VACUUM INTO ?", (str(copy),))
        with closing(sqlite3.connect(copy, isolation_level=None)) as copied:
            for kind, name, _ in _schema(copied) - _expected_schema():  # another version's index
                copied.execute(f"DROP {kind} IF EXISTS {name}")
            head = Mirror(copied).head()
        return f"{PREFIX.rstrip('_')}-{head.seq:020}-{head.digest}", zlib.compress(copy.read_bytes(), 1)


def usable(shared: SharedLedger) -> list[str]:
    """The names of checkpoints that this version of Drystone can read, the newest first."""
    return sorted(filter(_NAME.fullmatch, shared.checkpoints()), reverse=True)


def loaded(shared: SharedLedger, name: str) -> sqlite3.Connection:
    """A checkpoint, in memory.

    Raises:
        WorkspaceError: It is not what its name says, or does not fit the ledger.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.deserialize(_unpacked(shared.checkpoint(name) or b""))
        problem = next(_problems(connection, shared, name), None)
    except (zlib.error, sqlite3.Error, UnicodeDecodeError) as exc:
        problem = f"it is damaged ({exc})"
    except BaseException:
        connection.close()
        raise
    if problem is not None:
        connection.close()
        raise WorkspaceError(f"The checkpoint {name} is not what it says: {problem}.")
    return connection


def _unpacked(data: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    unpacked = unpacking.decompress(data, LARGEST)
    if not unpacking.eof:
        raise zlib.error("it is cut off, or too large")
    return unpacked


def _problems(connection: sqlite3.Connection, shared: SharedLedger, name: str) -> Iterator[str]:
    """What is wrong with a checkpoint. Nothing of it is believed that was not looked at before."""
    match = _NAME.fullmatch(name)
    assert match is not None
    seq, digest = int(match[1]), match[2]
    if _schema(connection) != _expected_schema():
        yield "its tables are not those of a replica"
    there = next(iter(shared.read(seq - 1)), None) if seq else None
    if there is None or there.digest != digest:
        yield f"the ledger's commit {seq} is another"
    if connection.execute("SELECT count(*) FROM commits").fetchone()[0] != seq or not _is_chain(connection, digest):
        yield f"its commits are not those up to {seq}"
    if Index(connection).position() != (seq, digest):
        yield f"its index does not end with commit {seq}"


def _schema(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    return {*connection.execute("SELECT type, name, sql FROM sqlite_master")}


def _expected_schema() -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        Mirror(connection).create()
        Index(connection).create()
        return _schema(connection)


def _is_chain(connection: sqlite3.Connection, last: str) -> bool:
    """Whether the commits follow each other, each unaltered, up to one with this digest."""
    before = ""
    for seq, digest, body in connection.execute("SELECT seq, digest, body FROM commits ORDER BY seq"):
        if not body.startswith(f'{{"seq":{seq},"prev":"{before}",') or digest_bytes(body.encode()) != digest:
            return False
        before = digest
    return bool(before == last)


def install(shared: SharedLedger, directory: Path) -> None:
    """Begin a replica with the newest checkpoint that is whole; there need not be one, and nothing depends on it."""
    for left in directory.glob(f"*{_PART}"):
        left.unlink(missing_ok=True)
    with suppress(WorkspaceError):
        for name in usable(shared):
            with suppress(WorkspaceError), closing(loaded(shared, name)) as connection:
                _place(connection.serialize(), directory / FILE)
                return


def spoilt(shared: SharedLedger, ungranted: Collection[int]) -> Iterator[Finding]:
    """Checkpoints that a new machine would skip, down to the one that it takes; and what is wrong with that."""
    for name in usable(shared):
        try:
            connection = loaded(shared, name)
        except WorkspaceUnreachableError:
            raise
        except WorkspaceError as exc:
            yield Finding("checkpoint", name, str(exc), _DELETE)
            continue
        with closing(connection):
            mirror = Mirror(connection)
            wrong = [each.message for each in findings(mirror, Index(connection))[0] if each.kind != "grant"]
            if {*mirror.ungranted()} != {seq for seq in ungranted if seq <= mirror.head().seq}:
                wrong.append("What it says of grants is not so.")
        if wrong:
            yield Finding("checkpoint", name, wrong[0], _DELETE)
            continue
        return


def _place(data: bytes, file: Path) -> None:
    """Make a file that appears whole, or not at all, and not if there is one."""
    part = file.with_name(f"{os.urandom(8).hex()}{_PART}")
    try:
        with part.open("xb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        with suppress(FileExistsError, FileNotFoundError):  # another process was faster
            os.link(part, file)
    finally:
        part.unlink(missing_ok=True)
