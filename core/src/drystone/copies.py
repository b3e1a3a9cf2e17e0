"""Copies of whole workspaces, from a directory to a bucket and back: every commit as it is, and every stored byte."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.audits import differences
from drystone.choices import Stacks
from drystone.components import Place
from drystone.databases import FILE, Database
from drystone.errors import LedgerConflict, StackError, WorkspaceError
from drystone.events import Event
from drystone.ledgers import Commit, Head, Ledger
from drystone.locations import is_url, location_directory, opened_ledger, opener
from drystone.mirrors import is_to_be_granted
from drystone.plugins import load_plugins
from drystone.projects import project_root, workspace_directory
from drystone.replicas import Replica
from drystone.shipments import copied
from drystone.stacks import Stack
from drystone.stores import is_shared
from drystone.transfers import Delivery, Told, untold
from drystone.workspaces import View, Workspace

BATCH = 1000
"""So many commits are entered into a local workspace in one transaction."""


@attrs.frozen(kw_only=True)
class WorkspaceCopy:
    """What copying a workspace did.

    Attributes:
        source: Where it is.
        destination: Where it is as well, now.
        commits: How many commits were added.
        head: Number and digest of the last commit that was copied, now or earlier.
        ahead: How many commits the destination has beyond that one.
        blobs: What became of stored bytes.
    """

    source: str
    destination: str
    commits: int
    head: tuple[int, str]
    ahead: int
    blobs: Delivery


def copy_workspace(
    source: str | Path,
    destination: str | Path,
    *,
    stack: str | Stack | None = None,
    artifacts: bool = True,
    told: Told = untold,
) -> WorkspaceCopy:
    """Copy a workspace to another location, which is empty or holds an earlier copy of it.

    First the bytes of everything on record are copied into the artifact store of a stack, then every commit as it is.
    Stopped at any point, it goes on where it stood when it is called again. The source stays as it is, but for the
    note that a store which others reach has got its artifacts.

    Args:
        source: A local directory, or the URL of a shared workspace.
        destination: Another one.
        stack: The stack whose artifact store gets the bytes, by default the active one.
        artifacts: Whether it gets them.
        told: Is told how far it is.

    Raises:
        WorkspaceError: A run is running in the source, the destination holds another history, or somebody else writes
            to it.
        StackError: The destination is shared, and the artifact store is not.
    """
    origin = _opened(source, destination)
    store = _store(origin, destination, stack) if artifacts else None
    there: _Directory | _Shared = _Shared(str(destination)) if is_url(destination) else _Directory(destination)
    with _reading(source) as (ledger, _):
        _check_continues(ledger, there, source, destination)
    blobs = _carried(origin, store, told) if store is not None else Delivery()
    with _reading(source) as (ledger, ungranted):
        head, before = ledger.head(), there.head()
        new = max(0, head.seq - before.seq)
        for batch in _batches(ledger, head.seq - new):
            for done in there.take(batch, ungranted):
                told("commits", done - before.seq, new)
        there.sync()
    return WorkspaceCopy(
        source=str(source),
        destination=str(destination),
        commits=new,
        head=(head.seq, head.digest),
        ahead=_verified(source, destination, head),
        blobs=blobs,
    )


def _opened(source: str | Path, destination: str | Path) -> Workspace:
    """The workspace that is to be copied.

    Raises:
        WorkspaceError: There is none, it is where the copy is to be, or a run is running in it.
    """
    if not is_url(source) and not Path(source, FILE).expanduser().exists():
        raise WorkspaceError(f"There is no workspace in {source}. That of a project is in its directory .drystone.")
    workspace = Workspace(source)
    if workspace.directory == location_directory(destination):
        raise WorkspaceError(f"{source} cannot be copied to itself. Give another destination.")
    with workspace.reading() as records:
        running = [run["name"] for run in records.index.running()]
    if running:
        raise WorkspaceError(
            f"{', '.join(running)} in {source} must end first: what its driver commits later would never reach the "
            "copy, where it would count as crashed. Wait for it, or `drystone cancel` it."
        )
    return workspace


def _database(location: str | Path) -> Database:
    """The database of a workspace, up to date.

    Raises:
        WorkspaceUnreachableError: It is shared, and nobody answers: what was fetched before may not be all.
    """
    if not is_url(location):
        return Database(location_directory(location))
    replica = Replica(location_directory(location), opener(str(location)))
    replica.pull()
    return replica


@contextmanager
def _reading(location: str | Path) -> Iterator[tuple[Ledger, Collection[int]]]:
    """The commits of a workspace as they are now, and the numbers of those that do not count in full."""
    database = _database(location)
    try:
        with database.snapshot() as (ledger, _):
            yield ledger, {*ledger.ungranted()}
    finally:
        database.close()


# Stored bytes


def _store(origin: Workspace, destination: str | Path, stack: str | Stack | None) -> ArtifactStore:
    """The artifact store of a stack, if it is used in the copy.

    Raises:
        StackError: The copy is shared, and the store is not.
    """
    root, shared = project_root(), is_url(destination)
    place = Place(root=root, workspace=workspace_directory(root) if shared else location_directory(destination))
    chosen = Stacks(root, load_plugins(), origin.published).active(stack)
    store = chosen.at(place).artifact_store
    if shared and not is_shared(store.identity):
        raise StackError(
            f"The artifact store of stack {chosen.name!r} is one that only this machine can reach, so others who use "
            f"{destination} could not read what is copied there. Choose a stack with --stack whose store all of them "
            "reach, or leave the artifacts where they are with --no-artifacts."
        )
    origin.bind_store(store)
    return store


def _carried(origin: Workspace, store: ArtifactStore, told: Told) -> Delivery:
    """Copy every stored byte that is on record, and note which artifacts the store has got."""
    with origin.reading() as records:
        wanted = [(stores, digest, size) for _, stores, digest, size in records.index.blobs()]
    delivery = origin.deliver(wanted, store, told)

    def decide(view: View) -> list[Event]:
        found = view.select("artifact")
        return copied(view, store, [(each["name"], each["version"]) for each in found if _is_whole(each, delivery)])

    origin.commit(decide)
    return delivery


def _is_whole(artifact: dict[str, Any], delivery: Delivery) -> bool:
    return delivery.lost.keys().isdisjoint(blob["digest"] for blob in artifact["manifest"]["blobs"])


# Commits


def _check_continues(ledger: Ledger, there: _Directory | _Shared, source: str | Path, destination: str | Path) -> None:
    """Check that one of two histories goes on from the other.

    Raises:
        WorkspaceError: Names the first commit that differs.
    """
    common = min(ledger.head().seq, there.head().seq)
    if common == 0 or _at(ledger, common).digest == _at(there, common).digest:
        return
    first = _first_difference(ledger, there)
    raise WorkspaceError(
        f"{destination} holds another history than {source}: commit {first.seq} there is by {first.author}, of "
        f"{first.at}, and is not the one here. Nothing was copied. Give a destination that is empty, or holds an "
        "earlier copy."
    )


def _at(ledger: Ledger | _Directory | _Shared, seq: int) -> Commit:
    return next(iter(ledger.read(seq - 1)))


def _first_difference(ledger: Ledger, there: _Directory | _Shared) -> Commit:
    """The first commit there that is another one here, of histories that differ."""
    pairs = zip(ledger.read(), there.read(), strict=False)
    return next(theirs for mine, theirs in pairs if mine.digest != theirs.digest)


def _batches(ledger: Ledger, after: int) -> Iterator[list[Commit]]:
    """Commits after a number, in groups; nothing is being read while somebody looks at one."""
    while batch := list(islice(ledger.read(after), BATCH)):
        yield batch
        after = batch[-1].seq


class _Directory:
    """A copy in a directory of this machine."""

    def __init__(self, location: str | Path) -> None:
        self._location = location
        self._database = Database(location_directory(location))

    def head(self) -> Head:
        """Where it ends now."""
        with self._database.snapshot() as (ledger, _):
            return ledger.head()

    def read(self, after: int = 0) -> Iterator[Commit]:
        """Its commits after a number."""
        with self._database.snapshot() as (ledger, _):
            yield from ledger.read(after)

    def take(self, commits: Sequence[Commit], ungranted: Collection[int]) -> Iterator[int]:
        """Add commits, all or none; yields the number of the last one.

        Raises:
            WorkspaceError: Somebody else writes here; or one moves a stage and does not count where it comes from.
        """
        for commit in commits:
            _check_granted(commit, ungranted)
        with self._database.transaction() as (ledger, index):
            if index.catch_up(ledger).digest != commits[0].prev:
                raise _disturbed(self._location, commits[0])
            for commit in commits:
                ledger.append(commit)
                index.apply(commit)
        yield commits[-1].seq

    def sync(self) -> None:
        """Make all of it survive a power failure."""
        self._database.sync()


def _check_granted(commit: Commit, ungranted: Collection[int]) -> None:
    if commit.seq in ungranted:
        raise WorkspaceError(
            f"Commit {commit.seq} moves a stage without a grant, so it does not count where it is, and would here. "
            "`drystone workspace verify` tells more of it. Copy to a shared workspace instead."
        )


class _Shared:
    """A copy behind a URL."""

    def __init__(self, url: str) -> None:
        self._url, self._ledger = url, opened_ledger(url)
        self._ledger.probe()

    def head(self) -> Head:
        """Where it ends now."""
        return self._ledger.head()

    def read(self, after: int = 0) -> Iterator[Commit]:
        """Its commits after a number."""
        return self._ledger.read(after)

    def take(self, commits: Sequence[Commit], ungranted: Collection[int]) -> Iterator[int]:
        """Add commits, one after the other, so that nobody ever sees a gap; yields the number of each.

        One that moves a stage gets its grant, if it counts where it comes from.

        Raises:
            WorkspaceError: Somebody else writes here.
        """
        for commit in commits:
            if is_to_be_granted(commit) and commit.seq not in ungranted:
                self._ledger.grant(commit)
            self._append(commit)
            yield commit.seq

    def sync(self) -> None:
        """Nothing to do: what was added is safe."""

    def _append(self, commit: Commit) -> None:
        try:
            self._ledger.append(commit)
        except Exception as exc:  # the answer may be wrong: what is there decides
            stored = next(iter(self._ledger.read(commit.seq - 1)), None)
            if stored is not None and stored.digest == commit.digest:
                return
            if stored is not None or isinstance(exc, LedgerConflict):
                raise _disturbed(self._url, commit) from exc
            raise


def _disturbed(location: str | Path, commit: Commit) -> WorkspaceError:
    return WorkspaceError(
        f"Somebody else writes to {location} while it is copied to: commit {commit.seq} there is not the one that was "
        "to be copied. What was copied before stays there, and is not the whole. Copy to another destination, and use "
        "it once the copy is complete."
    )


def _verified(source: str | Path, destination: str | Path, head: Head) -> int:
    """Read the copy back; returns how many commits it has beyond a head.

    Raises:
        WorkspaceError: It is not what was copied.
    """
    here, there = _database(source), _database(destination)
    try:
        with here.snapshot() as (_, index), there.snapshot() as (ledger, copy):
            ahead = ledger.head().seq - head.seq
            if head.seq and _at(ledger, head.seq).digest != head.digest:
                raise WorkspaceError(f"Commit {head.seq} in {destination} is not the one that was copied there.")
            same = index.position() == copy.position()
            found = [each.message for each in differences(copy, index)] if same else []
    finally:
        here.close()
        there.close()
    if found:
        raise WorkspaceError(f"{destination} has every commit and does not say the same: {' '.join(found)}")
    return ahead
