"""The commits of a shared ledger that are on this machine, and which of them count only in part."""

from __future__ import annotations

import attrs

from drystone.events import needs_grant
from drystone.ledgers import Commit, SQLiteLedger


def is_to_be_granted(commit: Commit) -> bool:
    """Whether a commit counts in full only if somebody who may do that has vouched for it."""
    return any(map(needs_grant, commit.events))


class Mirror(SQLiteLedger):
    """The commits of a shared ledger, to the last character as they are there.

    What counts of them is for the index: from one that needed a grant and had none, the events that needed it are gone.
    """

    def create(self) -> None:
        """Make its tables where they are missing."""
        super().create()
        self._connection.execute("CREATE TABLE IF NOT EXISTS ungranted (seq INTEGER PRIMARY KEY)")

    def counted(self, commit: Commit) -> Commit:
        """What counts of a commit that is here."""
        if not is_to_be_granted(commit) or commit.seq not in self.ungranted():
            return commit
        return attrs.evolve(commit, events=tuple(event for event in commit.events if not needs_grant(event)))

    def ungranted(self) -> list[int]:
        """The numbers of commits that do not count in full."""
        return [seq for (seq,) in self._connection.execute("SELECT seq FROM ungranted ORDER BY seq")]

    def enter(self, commit: Commit, *, granted: bool) -> Commit:
        """Add a commit that is in the shared ledger; returns what counts of it."""
        self.append(commit)
        if not granted:
            self._connection.execute("INSERT INTO ungranted VALUES (?)", (commit.seq,))
        return self.counted(commit)

    def digest(self, seq: int) -> str | None:
        """The digest of a commit, if it is here."""
        row = self._connection.execute("SELECT digest FROM commits WHERE seq = ?", (seq,)).fetchone()
        return row[0] if row else None

    def clear(self) -> None:
        """Forget all of them."""
        for table in ("commits", "ungranted"):
            self._connection.execute(f"DELETE FROM {table}")

    def size(self) -> int:
        """How many bytes the commits have."""
        return int(self._connection.execute("SELECT coalesce(sum(length(body)), 0) FROM commits").fetchone()[0])

    def writers(self, count: int) -> list[dict[str, str]]:
        """Who wrote the last commits, from where and with which version, and when last; who was last comes first."""
        names = ("author", "host", "drystone", "at")
        rows = self._connection.execute(
            """SELECT json_extract(body, '$.author'), json_extract(body, '$.host'), json_extract(body, '$.drystone'),
               max(json_extract(body, '$.at')) AS at FROM (SELECT body FROM commits ORDER BY seq DESC LIMIT ?)
               GROUP BY 1, 2, 3 ORDER BY at DESC""",
            (count,),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]
