"""A ledger in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from drystone.errors import LedgerConflict, LedgerDamagedError, WorkspaceError
from drystone.ledgers import Commit, Finding, Head, check_follows, checked_commit, next_commit


class MemoryLedger:
    """A ledger that lives as long as this object, for all threads of this process.

    Args:
        url: Only its name.
        clock: Seconds since 1970 by the clock that leases are judged by.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._url, self._clock = url, clock
        self._lock = threading.RLock()
        self._commits: list[tuple[int, bytes, bytes]] = []
        self._leases: dict[str, tuple[str, float]] = {}
        self._grants: set[str] = set()
        self._checkpoints: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"MemoryLedger({self._url!r})"

    def head(self) -> Head:
        """Where it ends now."""
        with self._lock:
            return checked_commit(*self._commits[-1]).head if self._commits else Head()

    def read(self, after: int = 0) -> Iterator[Commit]:
        """Commits after a number, in order, each checked against the one before.

        Raises:
            LedgerDamagedError: There is no commit of that number, or one is altered.
        """
        with self._lock:
            before, stored = self._commits[after - 1 : after] if after else [], self._commits[after:]
        if after and not before:
            raise LedgerDamagedError(f"Commit {after} of the ledger {self._url} is missing.")
        head = checked_commit(*before[0]).head if before else Head()
        for each in stored:
            commit = checked_commit(*each)
            check_follows(commit, head)
            head = commit.head
            yield commit

    def append(self, commit: Commit) -> None:
        """Add a commit.

        Raises:
            LedgerConflict: Its number is taken, or it does not follow the last commit.
        """
        with self._lock:
            head = self.head()
            if (commit.seq, commit.prev) != (head.seq + 1, head.digest):
                raise LedgerConflict(f"Commit {commit.seq} does not follow {head.seq}; somebody else was faster.")
            self._commits.append((commit.seq, commit.digest.encode(), commit.body.encode()))

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease; False if somebody else holds it."""
        with self._lock:
            if self.holder(name) not in (None, holder):
                return False
            self._leases[name] = (holder, self._clock() + seconds)
            return True

    def release(self, name: str, holder: str) -> None:
        """Give up a lease; nothing happens if somebody else holds it."""
        with self._lock:
            if self.holder(name) == holder:
                del self._leases[name]

    def forget(self, name: str) -> None:
        """Remove what is kept of a lease whose name nobody takes again."""
        with self._lock:
            self._leases.pop(name, None)

    def holder(self, name: str) -> str | None:
        """Who holds a lease that has not expired."""
        with self._lock:
            holder, until = self._leases.get(name, ("", float("-inf")))
            return holder if self._clock() < until else None

    def now(self) -> float:
        """The time by its clock."""
        return self._clock()

    def probe(self) -> None:
        """Try out whether of two that add a commit one is refused, on a ledger of the same class.

        Raises:
            WorkspaceError: Both were added.
        """
        scratch = type(self)("memory://probe", clock=self._clock)
        scratch.append(next_commit(Head(), [{"type": "probe", "v": 1, "critical": False}]))
        try:
            scratch.append(next_commit(Head(), [{"type": "probe", "v": 1, "critical": False}]))
        except LedgerConflict:
            return
        raise WorkspaceError(f"{self!r} lets two add a commit of one number, and would lose one of them.")

    def grant(self, commit: Commit) -> None:
        """Vouch for a commit."""
        self._grants.add(commit.digest)

    def is_granted(self, commit: Commit) -> bool:
        """Whether somebody has vouched for exactly this commit."""
        return commit.digest in self._grants

    def oddities(self) -> Iterator[Finding]:
        """Nothing is foreign in memory."""
        return iter(())

    def checkpoints(self) -> list[str]:
        """The names of the checkpoints that are kept."""
        return list(self._checkpoints)

    def checkpoint(self, name: str) -> bytes | None:
        """One of them, if it is there."""
        return self._checkpoints.get(name)

    def keep_checkpoint(self, name: str, data: bytes) -> None:
        """Keep one."""
        self._checkpoints.setdefault(name, data)
