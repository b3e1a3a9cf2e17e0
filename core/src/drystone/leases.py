"""Leases of a shared ledger: what was said of each stands in numbered objects, of which the last one counts."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress

from drystone.drives import Drive
from drystone.errors import WorkspaceError


class Leases:
    """The leases on a drive, judged by its clock."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive

    def take(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew one for so many seconds from now; False if somebody else holds it."""
        self._drive.make()
        numbers, holds = self._last(name)
        return holds in (None, holder) and self._say(name, numbers, holder, seconds)

    def release(self, name: str, holder: str) -> None:
        """Give one up; nothing happens if somebody else holds it."""
        self._drive.make()
        numbers, holds = self._last(name)
        if holds == holder:
            self._say(name, numbers, holder, 0)

    def holder(self, name: str) -> str | None:
        """Who holds one that has not expired."""
        self._drive.read([], was_there=False)
        return self._last(name)[1]

    def forget(self, name: str) -> None:
        """Remove what was said of one."""
        for key in self._drive.names(_key(name)):
            self._drive.delete(key)

    def _last(self, name: str) -> tuple[list[int], str | None]:
        """The numbers of what was said, and who holds it now; what nobody can have said holds nothing."""
        while True:
            numbers = self._numbers(name)
            if not numbers:
                return [], None
            key = _key(name, numbers[-1])
            now, data = self._drive.now(), self._drive.object(key)
            if data is not None:  # else the next thing was said meanwhile, or it is forgotten
                with suppress(FileNotFoundError):
                    holder, seconds = said(data) or ("", 0.0)
                    return numbers, holder if now < self._drive.modified(key) + seconds else None

    def _say(self, name: str, numbers: list[int], holder: str, seconds: float) -> bool:
        """Say the next thing, unless somebody else does; the last one stays, so that no number is given twice.

        A list that was made while others spoke may lack what they said, so it is looked at once more.
        """
        data = {"holder": holder, "seconds": seconds, "id": os.urandom(8).hex()}
        mine = max(numbers, default=0) + 1
        try:
            self._drive.create(_key(name, mine), json.dumps(data).encode())
        except FileExistsError:
            return False
        if max(self._numbers(name), default=mine) > mine:
            self._drive.delete(_key(name, mine))
            return False
        for number in numbers:
            self._drive.delete(_key(name, number))
        return True

    def _numbers(self, name: str) -> list[int]:
        """The numbers of what was said, in order."""
        keys = [key for key in self._drive.names(_key(name)) if is_lease(key)]
        return sorted(int(key.rpartition(".")[2]) for key in keys)


def said(data: bytes) -> tuple[str, float] | None:
    """Who holds a lease, and for how many seconds, as it stands in an object; None if nothing like that does."""
    with suppress(ValueError, TypeError, LookupError, RecursionError):
        found = json.loads(data)
        if isinstance(found["holder"], str) and isinstance(found["seconds"], int | float):
            return found["holder"], found["seconds"]
    return None


def is_lease(key: str) -> bool:
    """Whether an object is called as what is said of a lease."""
    return _CALLED.fullmatch(key) is not None


_CALLED = re.compile(r"leases/[\w-]+\.[0-9]{20,}")


def _key(name: str, number: int | None = None) -> str:
    if not name.replace("-", "").replace("_", "").isalnum():
        raise WorkspaceError(f"{name!r} cannot name a lease: use letters, digits, - and _.")
    return f"leases/{name}." + ("" if number is None else f"{number:020}")
