"""Leases of a shared ledger: what was said of each stands in numbered objects, of which the last one counts."""

from __future__ import annotations

import json
import os
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
        """The numbers of what was said, and who holds it now."""
        while True:
            numbers = sorted(int(key.rpartition(".")[2]) for key in self._drive.names(_key(name)))
            if not numbers:
                return [], None
            key = _key(name, numbers[-1])
            now, data = self._drive.now(), self._drive.object(key)
            if data is not None:  # else the next thing was said meanwhile, or it is forgotten
                with suppress(FileNotFoundError):
                    said = json.loads(data)
                    return numbers, said["holder"] if now < self._drive.modified(key) + said["seconds"] else None

    def _say(self, name: str, numbers: list[int], holder: str, seconds: float) -> bool:
        """Say the next thing, unless somebody else does; the last one stays, so that no number is given twice."""
        said = {"holder": holder, "seconds": seconds, "id": os.urandom(8).hex()}
        try:
            self._drive.create(_key(name, max(numbers, default=0) + 1), json.dumps(said).encode())
        except FileExistsError:
            return False
        for number in numbers:
            self._drive.delete(_key(name, number))
        return True


def _key(name: str, number: int | None = None) -> str:
    if not name.replace("-", "").replace("_", "").isalnum():
        raise WorkspaceError(f"{name!r} cannot name a lease: use letters, digits, - and _.")
    return f"leases/{name}." + ("" if number is None else f"{number:020}")
