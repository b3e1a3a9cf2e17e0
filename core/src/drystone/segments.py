"""Commits as the objects of a shared ledger: one by one, and 64 at a time in segments."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from contextlib import suppress

from drystone.errors import LedgerDamagedError
from drystone.ledgers import Commit, checked_commit

SEGMENT = 64
"""So many commits stand in one segment, which whoever adds the last of them makes."""


def commit_name(seq: int) -> str:
    """The object that holds one commit."""
    return f"commits/{seq:020}"


def segment_name(block: int) -> str:
    """The object that holds a block of commits, called by the number of its last; blocks are counted from 0."""
    return f"segments/{(block + 1) * SEGMENT:020}"


def packed(commit: Commit) -> bytes:
    """A commit as it is stored."""
    return f"{commit.digest}\n{commit.body}".encode()


def opened(seq: int, data: bytes) -> Commit:
    """The commit that is stored under a number.

    Raises:
        LedgerDamagedError: It is altered.
    """
    digest, _, body = data.partition(b"\n")
    return checked_commit(seq, digest, body)


def packed_segment(commits: Sequence[Commit]) -> bytes:
    """A block as it is stored; the same bytes, whoever makes it."""
    return gzip.compress(b"\n".join(map(packed, commits)), 6, mtime=0)


def opened_segment(block: int, data: bytes | None) -> Sequence[Commit]:
    """The commits of a block. None if it is missing or damaged: each of them is there on its own as well."""
    with suppress(OSError, EOFError, ValueError, TypeError, LookupError, LedgerDamagedError):
        lines = gzip.decompress(data or b"").split(b"\n")
        numbers = range(block * SEGMENT + 1, (block + 1) * SEGMENT + 1)
        return [checked_commit(*each) for each in zip(numbers, lines[::2], lines[1::2], strict=True)]
    return ()
