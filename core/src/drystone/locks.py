"""Locks that tell whether the driver of a run is alive: the system lets go of them whenever and however it dies."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

import attrs

from drystone.errors import WorkspaceError
from drystone.ledgers import LEASE, SharedLedger

_held: dict[Path, tuple[int, int]] = {}
"""Process and file descriptor of every lock held here. POSIX locks do not stop their own process, so it must know."""


@attrs.frozen
class RunLock:
    """The lock of one run, held by its driver: `with RunLock(workspace.directory) as lock`.

    Attributes:
        directory: The workspace's directory.
        name: What the ledger calls it; a new one, if none is given.
    """

    directory: Path
    name: str = attrs.field(factory=lambda: os.urandom(8).hex())

    @property
    def path(self) -> Path:
        """The file; it goes when the lock is released, or found to be free."""
        return self.directory / "locks" / f"{self.name}.lock"

    def acquire(self, *, make: bool = True) -> bool:
        """Take it; False if somebody holds it, or if it does not exist and is not to be made."""
        if self._is_held_here():
            return False
        try:
            if make:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT * make, 0o644)
        except OSError as exc:
            if make:
                raise WorkspaceError(
                    f"The lock of a run, {self.path}, cannot be made: {exc}. Look at the disk's space and the "
                    "directory's permissions."
                ) from exc
            return False  # there is none, or nobody may say here that its driver is gone
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        _held[self.path] = (os.getpid(), handle)
        return True

    def release(self) -> None:
        """Let go of it."""
        if self._is_held_here():
            self.path.unlink(missing_ok=True)
            os.close(_held.pop(self.path)[1])

    def is_free(self) -> bool:
        """Whether its driver is gone."""
        if self.acquire(make=False):
            self.release()
            return True
        return not self.path.exists()

    def clear(self) -> None:
        """Leave nothing behind of a driver that is gone: finding its lock free has done that."""

    def _is_held_here(self) -> bool:
        return _held.get(self.path, (0, 0))[0] == os.getpid()

    def __enter__(self) -> RunLock:
        if not self.acquire():
            raise BlockingIOError(f"The lock {self.path} is taken.")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


@attrs.frozen(eq=False)
class LeaseLock:
    """The lock of one run of a shared workspace: a lease, renewed for as long as the driver lives.

    Attributes:
        ledger: Where the lease is.
        name: What the ledger calls it; a new one, if none is given.
        seconds: After which it expires unless it is renewed, which happens three times as often.
    """

    ledger: SharedLedger
    name: str = attrs.field(factory=lambda: os.urandom(8).hex())
    seconds: float = LEASE
    _ended: threading.Event = attrs.field(init=False, factory=threading.Event)
    _renewing: threading.Thread = attrs.field(
        init=False,
        default=attrs.Factory(
            lambda self: threading.Thread(target=self._renew, name="drystone-lease", daemon=True), takes_self=True
        ),
    )

    def is_free(self) -> bool:
        """Whether its driver has not renewed it in time, by the store's clock, or let go of it."""
        return self.ledger.holder(self.name) is None

    def _renew(self) -> None:
        while not self._ended.wait(self.seconds / 3):
            with suppress(WorkspaceError):  # the next time may come before it expires
                self.ledger.lease(self.name, self.name, self.seconds)

    def __enter__(self) -> LeaseLock:
        if not self.ledger.lease(self.name, self.name, self.seconds):
            raise BlockingIOError(f"The lease {self.name} is taken.")
        self._renewing.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._renewing.join()
        self.clear()

    def clear(self) -> None:
        """Leave nothing behind of a driver that is gone."""
        with suppress(WorkspaceError):  # it expires
            self.ledger.forget(self.name)
