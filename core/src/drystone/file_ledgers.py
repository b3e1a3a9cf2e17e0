"""A ledger in a directory that several machines share: one file per commit, which appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from drystone.errors import FormatError, LedgerConflict, LedgerDamagedError, WorkspaceError
from drystone.ledgers import CURE, FORMAT, Commit, Head, check_follows, checked_commit


class FilesystemLedger:
    """A ledger in a directory, on this machine or on a drive where files are linked atomically.

    `format` holds the number of the format, `commits/` a file for each commit, named by its number in 20 digits, and
    `leases/` a folder for each lease.

    Args:
        url: `file:///srv/team`.
        clock: Seconds since 1970 by the clock that leases are judged by; by default the clock of the filesystem.

    Raises:
        WorkspaceError: The directory cannot be used; the message says why.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None) -> None:
        self._url, self._clock = url, clock
        self._directory = _directory(url)
        with self._told("opened"):
            for name in ("commits", "leases", "drafts", "grants", "checkpoints"):
                (self._directory / name).mkdir(parents=True, exist_ok=True)
            self._check_format()

    def __repr__(self) -> str:
        return f"FilesystemLedger({self._url!r})"

    def head(self) -> Head:
        """Where it ends now."""
        with self._told("read"):
            last = max((int(name) for name in os.listdir(self._directory / "commits")), default=0)
        before = self._stored(last) if last else None
        head = before.head if before is not None else Head()
        while (commit := self._stored(head.seq + 1)) is not None:
            head = commit.head
        return head

    def read(self, after: int = 0) -> Iterator[Commit]:
        """Commits after a number, in order, each checked against the one before.

        Raises:
            LedgerDamagedError: One is altered, missing or foreign.
        """
        before = self._stored(after) if after else None
        if after and before is None:
            raise LedgerDamagedError(f"Commit {after} of the ledger {self._url} is missing.{CURE}")
        yield from self._from(before.head if before is not None else Head())

    def append(self, commit: Commit) -> None:
        """Add a commit, which is on the disk when this returns.

        Raises:
            LedgerConflict: Its number is taken, or it does not follow the last commit.
        """
        before = self._stored(commit.seq - 1) if commit.seq > 1 else None
        if (before.digest if before is not None else "") != commit.prev:
            raise LedgerConflict(f"Commit {commit.seq} does not follow the ledger's last; somebody else was faster.")
        with self._told("written to"), self._draft(f"{commit.digest}\n{commit.body}".encode()) as draft:
            try:
                os.link(draft, self._path(commit.seq))
            except FileExistsError as exc:
                if not self._has(commit):
                    raise LedgerConflict(f"Commit {commit.seq} exists already; somebody else was faster.") from exc

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease for so many seconds from now; False if somebody else holds it."""
        folder = self._directory / "leases" / _checked(name)
        with self._told("written to"):
            folder.mkdir(exist_ok=True)
            number, holds, alive = self._lease(name)
            if alive and holds != holder:
                return False
            with self._draft(json.dumps({"holder": holder, "seconds": seconds}).encode()) as draft:
                self._touch(draft)
                with suppress(FileExistsError):
                    os.link(draft, folder / f"{number + 1:020}")
            last, holds, _ = self._lease(name)
            for old in range(number, 0, -1):  # the last one stays for ever, so that no number is given twice
                if old < last:
                    try:
                        (folder / f"{old:020}").unlink()
                    except FileNotFoundError:
                        break
            return holds == holder

    def release(self, name: str, holder: str) -> None:
        """Give up a lease; nothing happens if somebody else holds it."""
        with self._told("written to"):
            number, holds, _ = self._lease(name)
            if holds == holder:
                with suppress(FileNotFoundError):
                    os.utime(self._directory / "leases" / name / f"{number:020}", (0, 0))

    def holder(self, name: str) -> str | None:
        """Who holds a lease that has not expired, by the clock of the directory."""
        with self._told("read"):
            _, holds, alive = self._lease(name)
            return holds if alive else None

    def forget(self, name: str) -> None:
        """Remove what is kept of a lease whose name nobody takes again."""
        with self._told("written to"), suppress(FileNotFoundError):
            shutil.rmtree(self._directory / "leases" / _checked(name))

    def now(self) -> float:
        """The time by the clock of the directory, in seconds since 1970."""
        with self._told("written to"):
            return self._now()

    def probe(self) -> None:
        """Try out whether of two that link a file to one name one is refused.

        Raises:
            WorkspaceError: The filesystem does not keep that promise.
        """
        with self._told("written to"), self._draft(b"") as one, self._draft(b"") as other:
            taken = self._directory / "drafts" / os.urandom(16).hex()
            try:
                os.link(one, taken)
                os.link(other, taken)
            except FileExistsError:
                return
            finally:
                taken.unlink(missing_ok=True)
        raise WorkspaceError(f"The ledger {self._url} would lose commits: its filesystem overwrites files it links.")

    def grant(self, commit: Commit) -> None:
        """Vouch for a commit."""
        self._put("grants", commit.digest, b"")

    def is_granted(self, commit: Commit) -> bool:
        """Whether somebody has vouched for exactly this commit."""
        with self._told("read"):
            return commit.digest in os.listdir(self._directory / "grants")

    def checkpoints(self) -> list[str]:
        """The names of the checkpoints that are kept."""
        with self._told("read"):
            return os.listdir(self._directory / "checkpoints")

    def load_checkpoint(self, name: str) -> bytes:
        """One of them."""
        with self._told("read"):
            return (self._directory / "checkpoints" / name).read_bytes()

    def keep_checkpoint(self, name: str, data: bytes) -> None:
        """Keep one."""
        self._put("checkpoints", name, data)

    def _put(self, folder: str, name: str, data: bytes) -> None:
        with self._told("written to"), self._draft(data) as draft, suppress(FileExistsError):
            os.link(draft, self._directory / folder / name)

    def _lease(self, name: str) -> tuple[int, str, bool]:
        """Number, holder, and whether it has not expired, of the last lease of this name."""
        folder = self._directory / "leases" / _checked(name)
        while name in os.listdir(folder.parent):
            now = self._now()
            with suppress(FileNotFoundError):  # it was taken over or forgotten meanwhile
                numbers = sorted(map(int, os.listdir(folder)))
                if not numbers:
                    break
                path = folder / f"{numbers[-1]:020}"
                said, since = json.loads(path.read_bytes()), path.stat().st_mtime
                return numbers[-1], said["holder"], since > 0 and now < since + said["seconds"]
        return 0, "", False

    def _now(self) -> float:
        if self._clock is not None:
            return self._clock()
        with self._draft(b"") as draft:
            return draft.stat().st_mtime

    def _touch(self, path: Path) -> None:
        if self._clock is not None:
            os.utime(path, (self._clock(),) * 2)

    def _from(self, head: Head) -> Iterator[Commit]:
        while (commit := self._stored(head.seq + 1)) is not None:
            check_follows(commit, head)
            head = commit.head
            yield commit
        self._check_end(head.seq)

    def _check_end(self, seq: int) -> None:
        """A miss is the end, unless a later commit is there and it still is a miss."""
        with self._told("read"):
            later = [name for name in os.listdir(self._directory / "commits") if name > f"{seq:020}"]
        if later and not self._path(seq + 1).exists():
            raise LedgerDamagedError(f"Commit {seq + 1} of the ledger {self._url} is missing.{CURE}")

    def _stored(self, seq: int) -> Commit | None:
        with self._told("read"):
            try:
                digest, _, body = self._path(seq).read_bytes().partition(b"\n")
            except FileNotFoundError:
                return None
        return checked_commit(seq, digest, body)

    def _has(self, commit: Commit) -> bool:
        stored = self._stored(commit.seq)
        return stored is not None and stored.id == commit.id

    def _path(self, seq: int) -> Path:
        return self._directory / "commits" / f"{seq:020}"

    @contextmanager
    def _draft(self, data: bytes) -> Iterator[Path]:
        """A file of its own with these bytes, safe on the disk, which is gone afterwards."""
        path = self._directory / "drafts" / os.urandom(16).hex()
        try:
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _check_format(self) -> None:
        with self._draft(str(FORMAT).encode()) as draft, suppress(FileExistsError):
            os.link(draft, self._directory / "format")
        number = (self._directory / "format").read_text().strip()
        if number != str(FORMAT):
            raise FormatError(
                f"The ledger {self._url} has format {number}; the installed Drystone reads and writes format {FORMAT}. "
                "Install the newest one, which reads it: pip install -U drystone-core."
            )

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise WorkspaceError(
                f"The ledger {self._url} cannot be {what}: {exc}. Look at the drive's space and the directory's "
                "permissions; the filesystem must be able to link files."
            ) from exc


def _directory(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise WorkspaceError(f"{url!r} names no directory. Write file:// and an absolute path: file:///srv/team.")
    return Path(unquote(parts.path))


def _checked(name: str) -> str:
    if not name.replace("-", "").replace("_", "").isalnum():
        raise WorkspaceError(f"{name!r} cannot name a lease: use letters, digits, - and _.")
    return name
