"""Commits as the objects of a shared ledger: one by one, and 64 at a time in segments."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Sequence
from contextlib import suppress

from drystone.errors import LedgerDamagedError, WorkspaceError
from drystone.ledgers import CURE, Commit, check_follows, checked_commit

SEGMENT = 64
"""So many commits stand in one segment, which whoever adds the last of them makes."""


LARGEST = 64 << 20
"""Bytes of an object of a ledger at most: what is larger is no commit, and is not loaded to find that out."""

_GZIP = 16 + zlib.MAX_WBITS
"""Tells zlib that what it reads is a file of gzip; unlike that module it can be told where to stop."""


def commit_name(seq: int) -> str:
    """The object that holds one commit."""
    return f"commits/{seq:020}"


def segment_name(block: int) -> str:
    """The object that holds a block of commits, called by the number of its last; blocks are counted from 0."""
    return f"segments/{(block + 1) * SEGMENT:020}"


def packed(commit: Commit) -> bytes:
    """A commit as it is stored.

    Raises:
        WorkspaceError: It is so large that nobody would read it.
    """
    data = f"{commit.digest}\n{commit.body}".encode()
    if len(data) > LARGEST:
        raise WorkspaceError(
            f"A commit of {len(data) >> 20} MiB cannot be recorded in a shared workspace, which reads at most "
            f"{LARGEST >> 20} MiB of each. Store large values as artifacts, not as parameters, metadata or tags."
        )
    return data


def opened(seq: int, data: bytes) -> Commit:
    """The commit that is stored under a number.

    Raises:
        LedgerDamagedError: It is altered.
    """
    if len(data) > LARGEST:
        raise LedgerDamagedError(f"Commit {seq} of the ledger is altered: it is larger than any commit.{CURE}")
    digest, _, body = data.partition(b"\n")
    return checked_commit(seq, digest, body)


def packed_segment(commits: Sequence[Commit]) -> bytes:
    """A block as it is stored; the same bytes, whoever makes it.

    Raises:
        WorkspaceError: It is so large that its commits are better read one by one.
    """
    data = b"\n".join(map(packed, commits))
    if len(data) > LARGEST:
        raise WorkspaceError("These commits are too large for a segment.")
    return gzip.compress(data, 6, mtime=0)


def opened_segment(block: int, data: bytes | None) -> tuple[Commit, ...]:
    """The commits of a block; none if it is missing or damaged: each of them is there on its own as well."""
    with suppress(zlib.error, ValueError, LedgerDamagedError):
        lines = zlib.decompressobj(wbits=_GZIP).decompress(data or b"", LARGEST).split(b"\n")
        numbers = range(block * SEGMENT + 1, (block + 1) * SEGMENT + 1)
        commits = tuple(checked_commit(*each) for each in zip(numbers, lines[::2], lines[1::2], strict=True))
        for before, after in itertools.pairwise(commits):
            check_follows(after, before.head)
        return commits
    return ()
