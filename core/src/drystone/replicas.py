"""The local copy of a shared ledger: brought up to date before it is read, and committed to over there first.

Nothing waits for the shared ledger while it holds a lock of the local database.
"""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from drystone.audits import INSTALL, REBUILD, RESTORE, Finding
from drystone.checkpoints import install, made, spoilt
from drystone.databases import FILE, Database, Decide, decided
from drystone.errors import (
    CommitUnclearError,
    FormatError,
    LedgerConflict,
    LedgerDamagedError,
    WorkspaceAccessError,
    WorkspaceError,
    WorkspaceUnreachableError,
)
from drystone.freshness import Freshness, ago
from drystone.index import Index
from drystone.ledgers import CURE, Commit, SharedLedger, SQLiteLedger, check_follows
from drystone.mirrors import Mirror, is_to_be_granted

BATCH = 256
"""So many commits are entered in one transaction."""

LOSSES = 5
"""Races lost in a row after which those who lose take turns."""

HOPELESS = 1000
"""Races lost in a row after which something else is wrong."""

TURN = 10.0
"""Seconds that a turn lasts at most, and that somebody waits for one."""

AHEAD = 600.0
"""Seconds that this machine's clock may be ahead of the store's; looked at as often."""

SEEN = 1000
"""Of so many commits, the last ones, it is told who wrote them."""


class Replica(Database):
    """What a shared ledger says, in a directory of this machine that can be deleted at any time.

    Args:
        directory: Where.
        opened: Opens the ledger; may be called again in a process that was forked.

    Raises:
        WorkspaceError: The ledger does not keep what it promises, or cannot be used.
    """

    PACE: ClassVar[float] = 1.0

    def __init__(self, directory: Path, opened: Callable[[], SharedLedger]) -> None:
        self._opened = opened
        self._clock_checked = float("-inf")
        self._probed = directory / "probed"
        if not (directory / FILE).exists():
            for mark in ("probed", "fetched"):
                (directory / mark).unlink(missing_ok=True)
        self._freshness = Freshness(directory)
        with self._freshness.excused():
            self._meet(directory)
        super().__init__(directory)

    def _meet(self, directory: Path) -> None:
        """Try the ledger out, and take from it what is quicker to have than to make."""
        with suppress(WorkspaceAccessError):  # who may not write can lose nothing
            self._probe()
        if not (directory / FILE).exists():
            install(self.shared, directory)

    def _open(self) -> None:
        vars(self).pop("shared", None)  # what it holds does not survive a fork
        super()._open()

    def _connect(self, uri: str) -> None:
        super()._connect(uri)
        self._ledger: Mirror = Mirror(self._connection)

    @functools.cached_property
    def shared(self) -> SharedLedger:
        """The ledger itself."""
        return self._opened()

    def _probe(self) -> None:
        shared = self.shared
        if not self._probed.exists():
            shared.probe()
            self._probed.touch()

    # Reading

    @contextmanager
    def snapshot(self, *, as_it_is: bool = False) -> Iterator[tuple[SQLiteLedger, Index]]:
        """Ledger and index, after what others committed was fetched, unless answers may be older."""
        if not as_it_is and not self._is_inside():
            self.refresh()
        with super().snapshot(as_it_is=as_it_is) as both:
            yield both

    def _is_inside(self) -> bool:
        """Whether this thread is reading already, and has to go on seeing the same."""
        with self._session():
            return self._connection.in_transaction

    def patient(self, seconds: float) -> Any:
        """Let answers be so many seconds old meanwhile, or as old as the last commit."""
        return self._freshness.patient(seconds)

    def refresh(self) -> None:
        """Fetch what others committed, unless answers may be older, or nobody answers.

        Raises:
            WorkspaceUnreachableError: Nobody answers, and nothing was fetched before.
        """
        if not self._freshness.is_enough:
            with self._freshness.excused():
                self.pull()

    def pull(self) -> None:
        """Fetch what others committed.

        Raises:
            LedgerDamagedError: It does not go on from what is here.
            WorkspaceUnreachableError: Nobody answers.
        """
        with super().snapshot(as_it_is=True) as (ledger, _):
            after = ledger.head().seq
        begun = time.monotonic()
        coming = iter(self.shared.read(after))
        while commits := list(islice(coming, BATCH)):
            self._enter(commits, self._refused(commits))
        self._freshness.trip = time.monotonic() - begun
        self._freshness.current(begun)

    def _refused(self, commits: Sequence[Commit]) -> set[int]:
        """The numbers of those that would need a grant, and have none."""
        return {each.seq for each in commits if is_to_be_granted(each) and not self.shared.is_granted(each)}

    def _enter(self, commits: Sequence[Commit], refused: Collection[int] = ()) -> None:
        """Keep commits of the shared ledger here; others of this machine may have done that meanwhile."""
        with self.transaction() as (ledger, index):
            assert isinstance(ledger, Mirror)
            head = index.catch_up(ledger)
            for commit in commits:
                if commit.seq <= head.seq:
                    _check_same(ledger, commit)
                    continue
                check_follows(commit, head)
                index.enter(ledger.enter(commit, granted=commit.seq not in refused))
                head = commit.head

    # Committing

    def commit(self, decide: Decide, author: str | None) -> Commit | None:
        """Add what is decided upon to the shared ledger, and then here; None if that is nothing.

        It is decided on what is here. Only who has seen everything can add a commit, and whoever has not looks again.

        Raises:
            CommitUnclearError: It is not known whether it was added.
            WorkspaceUnreachableError: Nobody answers; nothing was added.
            WorkspaceAccessError: Whoever this is may not do that; nothing was added.
        """
        try:
            return self._committed(decide, author)
        except CommitUnclearError:
            raise
        except (WorkspaceUnreachableError, WorkspaceAccessError) as exc:
            raise type(exc)(f"{exc} Nothing of this was recorded.") from exc

    def _committed(self, decide: Decide, author: str | None) -> Commit | None:
        self._probe()
        self._check_clock()
        with ExitStack() as turn:
            for losses in range(HOPELESS):
                commit = self._proposed(decide, author, is_current=losses > 0)
                if commit is None or self._is_added(commit):
                    return commit
                if losses + 1 == LOSSES:
                    turn.enter_context(self._turn())
                    self.pull()
        raise LedgerConflict(
            f"Somebody else was faster {HOPELESS} times in a row. Nothing of this was recorded. If nobody else is at "
            "work, the store does not show what was added to it: `drystone workspace verify` looks at all of it."
        )

    def _check_clock(self) -> None:
        """Refuse to commit by a clock that is far ahead: it would set the time of everything that follows.

        Raises:
            WorkspaceError: It is.
        """
        now = time.time()
        if time.monotonic() - self._clock_checked < AHEAD:
            return
        ahead = now - self.shared.now()
        if ahead > AHEAD:
            raise WorkspaceError(
                f"The clock of this machine is {ahead / 60:.0f} minutes ahead of that of the shared workspace, which "
                f"bears {AHEAD / 60:.0f}. Nothing of this was recorded. Set the clock, and do it again."
            )
        self._clock_checked = time.monotonic()

    def _proposed(self, decide: Decide, author: str | None, *, is_current: bool) -> Commit | None:
        """What is decided upon; refused, or decided to be nothing, only on what is current."""
        if not is_current:
            with suppress(Exception):  # it may be about what others have changed long since
                if (commit := self._tried(decide, author)) is not None:
                    return commit
            self.pull()
        return self._tried(decide, author)

    def _tried(self, decide: Decide, author: str | None) -> Commit | None:
        """What is decided on what is here. That it can be entered is tried out, for all would have to live with it."""
        with self.transaction() as (ledger, index):
            commit = decided(decide, index, index.catch_up(ledger), author)
            if commit is not None:
                self._connection.execute("SAVEPOINT trial")
                index.apply(commit)
                self._connection.execute("ROLLBACK TO trial")
        return commit

    def _is_added(self, commit: Commit) -> bool:
        """Add a commit to the shared ledger; False if somebody else was faster, whose commit is here then.

        After any error what is there counts, not what was answered: it may have been added in spite of that.
        """
        if is_to_be_granted(commit):
            self.shared.grant(commit)
        begun = time.monotonic()
        try:
            self.shared.append(commit)
        except (LedgerDamagedError, FormatError):  # nothing was added to what cannot be read
            raise
        except Exception as exc:
            self._read_back(commit, exc)
            digest = self._digest(commit.seq)
            if digest is None and not isinstance(exc, LedgerConflict):
                raise
            return digest == commit.digest
        self._freshness.fetched = float("-inf")
        with suppress(WorkspaceError):  # it is there; here whoever asks next enters it, or hears why that is impossible
            self._enter([commit])
            self._freshness.current(begun)
        return True

    def _read_back(self, commit: Commit, exc: Exception) -> None:
        try:
            self.pull()
        except WorkspaceError as lost:
            if self._is_another(commit):
                raise
            raise CommitUnclearError(
                f"It is not known whether this was recorded, as commit {commit.seq}: {exc} Then, when that was looked "
                f"at: {lost} Look whether it is there before you do it again."
            ) from exc

    def _is_another(self, commit: Commit) -> bool:
        """Whether what the shared ledger has under a commit's number is known to be somebody else's."""
        with suppress(WorkspaceError):
            there = next(iter(self.shared.read(commit.seq - 1)), commit)
            return there.digest != commit.digest
        return False

    def _digest(self, seq: int) -> str | None:
        with super().snapshot(as_it_is=True):
            return self._ledger.digest(seq)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """A turn among those who lost many races. Nobody depends on it: others may be faster still."""
        holder, end = os.urandom(8).hex(), time.monotonic() + TURN
        while not self.shared.lease("commit", holder, TURN) and time.monotonic() < end:
            time.sleep(random.uniform(0.02, 0.2))
        try:
            yield
        finally:
            with suppress(WorkspaceError):  # it expires
                self.shared.release("commit", holder)

    # All of it

    def rebuild(self) -> None:
        """Fetch everything anew."""
        begun = time.monotonic()
        commits = list(self.shared.read())
        refused = self._refused(commits)
        with self.transaction() as (_, index):
            self._ledger.clear()
            index.clear()
            for commit in commits:
                index.enter(self._ledger.enter(commit, granted=commit.seq not in refused))
        self._freshness.current(begun)

    def damage(self) -> list[Finding]:
        """What is wrong with the shared ledger, where it is not what was fetched, and with its checkpoints."""
        found = [*self.shared.oddities()]
        if any(each.kind == "commit" for each in found):
            return found
        try:
            changed = [*self._changed()]
            self.pull()
        except (WorkspaceUnreachableError, WorkspaceAccessError):
            raise
        except WorkspaceError as exc:
            remedy = INSTALL if isinstance(exc, FormatError) else RESTORE
            return [Finding("commit", repr(self.shared), str(exc).removesuffix(CURE), remedy), *found]
        with super().snapshot(as_it_is=True):
            ungranted = self._ledger.ungranted()
        return [*found, *changed, *spoilt(self.shared, ungranted)]

    def _changed(self) -> Iterator[Finding]:
        """The commits whose grants are not as they were when they were fetched.

        Raises:
            LedgerDamagedError: A commit itself is not what was fetched, or is missing.
        """
        with super().snapshot(as_it_is=True) as (ledger, _):
            here = {seq: digest.decode(errors="replace") for seq, digest, _ in ledger.rows()}
            ungranted = {*ledger.ungranted()}
        for commit in self.shared.read():
            if here.pop(commit.seq, commit.digest) != commit.digest:
                raise LedgerDamagedError(f"Commit {commit.seq} is not the one that was fetched before.{CURE}")
            if is_to_be_granted(commit) and self.shared.is_granted(commit) is (commit.seq in ungranted):
                yield Finding("grant", str(commit.seq), _CHANGED, REBUILD)
        if here:
            raise LedgerDamagedError(f"Commit {min(here)} was fetched before, and is missing now.{CURE}")

    def keep_checkpoint(self) -> str:
        """Keep a copy of this replica beside the ledger, for new machines; returns its name."""
        self.pull()
        with self._session():
            name, data = made(self._connection)
        self.shared.keep_checkpoint(name, data)
        return name

    def state(self) -> dict[str, Any]:
        """How new this copy is, how large the ledger, and who wrote to it of late."""
        with super().snapshot(as_it_is=True) as (ledger, _):
            before = ledger.head().seq
        self.refresh()
        known, fetched_at = self._freshness, self._freshness.fetched_at
        with super().snapshot() as (ledger, _):
            size, writers = self._ledger.size(), self._ledger.writers(SEEN)
            lag = None if known.is_away else ledger.head().seq - before
        return {
            "reachable": not known.is_away,
            "lag": lag,
            "fetched_at": fetched_at,
            "age": ago(fetched_at) if fetched_at is not None else None,
            "round_trip": None if known.is_away else round(known.trip, 4),
            "size": size,
            "writers": writers,
        }


_CHANGED = (
    "It moves a stage, and whether that is granted has changed since it was fetched. What this machine says of stages "
    "is not what a new one would say."
)


def _check_same(ledger: Mirror, commit: Commit) -> None:
    if ledger.digest(commit.seq) != commit.digest:
        raise LedgerDamagedError(f"Commit {commit.seq} of the ledger is not the one that was fetched before.{CURE}")
