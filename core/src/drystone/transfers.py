"""Transfers: blobs on their way from some stores into another, several at once, each whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.blobs import blob_key, set_aside
from drystone.caches import CHECKED, file_digest
from drystone.errors import ArtifactStoreError

AT_ONCE = 8
"""So many blobs are on their way at once."""

NAMED = 5
"""So many blobs that could not be had are told of."""

REMEDY = "Run this again where a stack uses the store that has them, or run the pipeline that made them."

Told = Callable[[str, int, int], None]
"""Is told of what, how much of it is done, and how much there is."""


def untold(what: str, done: int, total: int) -> None:
    """Tells nobody."""


@attrs.frozen
class Parcel:
    """A blob that is wanted: its digest, its size in bytes if that is known, and who may have it, likeliest first."""

    digest: str
    size: int | None
    sources: Sequence[ArtifactStore] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Delivery:
    """What became of some blobs.

    Attributes:
        there: How many the store had already.
        copied: Digests of those that it was given.
        size: The size of those together, in bytes.
        lost: Why it has not got the others, by their digests.
    """

    there: int = 0
    copied: tuple[str, ...] = ()
    size: int = 0
    lost: dict[str, str] = attrs.field(factory=dict)

    @property
    def problem(self) -> str:
        """What could not be copied, and why; empty if everything could."""
        if not self.lost:
            return ""
        some = [f"blob {digest[:12]}…: {reason}." for digest, reason in list(self.lost.items())[:NAMED]]
        more = [f"And {len(self.lost) - NAMED} more."] if len(self.lost) > NAMED else []
        count = f"{len(self.lost)} blob{'s' * (len(self.lost) != 1)}"
        return " ".join([f"{count} could not be had from any store within reach:", *some, *more, REMEDY])


def transfer(parcels: Iterable[Parcel], target: ArtifactStore, told: Told = untold) -> Delivery:
    """Copy what a store lacks of some blobs; each is verified by its digest before it appears there.

    Stopped at any point, it goes on where it stood when it is called again.

    Raises:
        ArtifactStoreError: The store cannot be written to.
    """
    wanted, copied, lost, size = {each.digest: each for each in parcels}, list[str](), dict[str, str](), 0
    pool = ThreadPoolExecutor(min(AT_ONCE, len(wanted)) or 1, thread_name_prefix="drystone-transfer")
    try:
        moves = {pool.submit(_moved, each, target): each.digest for each in wanted.values()}
        for done, move in enumerate(as_completed(moves), 1):
            moved, problem = move.result()
            size += moved or 0
            copied += [moves[move]] if moved is not None else []
            lost |= {moves[move]: problem} if problem else {}
            told("blobs", done, len(wanted))
    finally:
        pool.shutdown(cancel_futures=True)
    target.sync(map(blob_key, copied))
    return Delivery(there=len(wanted) - len(copied) - len(lost), copied=tuple(copied), size=size, lost=lost)


def _moved(parcel: Parcel, target: ArtifactStore) -> tuple[int | None, str]:
    """How many bytes had to be copied of a blob, None if the store has it; or why nobody could provide it."""
    found = target.size(blob_key(parcel.digest))
    if found is not None and found == (found if parcel.size is None else parcel.size):
        return None, ""
    problems = [] if parcel.sources else ["no store within reach has it"]
    for source in parcel.sources:
        try:
            with _fetched(parcel, source, target) as file:
                size = _landed(file, blob_key(parcel.digest), target)
        except _UnfitError as exc:
            problems.append(str(exc))
        else:
            return size, ""
    return None, "; ".join(problems)


class _UnfitError(Exception):
    """A store does not give a blob away whole."""


@contextmanager
def _fetched(parcel: Parcel, source: ArtifactStore, target: ArtifactStore) -> Iterator[Path]:
    """A local file with the content of a blob: the store's own, or one in the spool of its target."""
    key = blob_key(parcel.digest)
    local = source.local_path(key)
    if local is not None and target.local_path(key) is None:
        _check(parcel, source, local)
        yield local
        return
    target.spool.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.spool)
    os.close(handle)
    try:
        try:
            source.download(key, Path(name))
        except FileNotFoundError:
            raise _UnfitError(f"{source.identity} lacks it") from None
        except ArtifactStoreError as exc:
            raise _UnfitError(str(exc)) from exc
        _check(parcel, source, Path(name))
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _check(parcel: Parcel, source: ArtifactStore, file: Path) -> None:
    if not file.is_file():
        raise _UnfitError(f"{source.identity} lacks it")
    if file_digest(file) != parcel.digest:
        set_aside(source, parcel.digest)
        raise _UnfitError(f"it is damaged in {source.identity}")


def _landed(file: Path, key: str, target: ArtifactStore) -> int:
    """Store a file; returns its size."""
    size = file.stat().st_size
    if size > CHECKED and target.local_path(key):  # it will be mapped unhashed: it must be on disk before it is named
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    target.upload(file, key)
    return size
