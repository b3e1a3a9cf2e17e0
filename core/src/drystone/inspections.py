"""What is wrong with the objects of a shared ledger: each is looked at, also what nobody needs who reads it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import attrs

from drystone.drives import Drive
from drystone.errors import FormatError, LedgerDamagedError
from drystone.leases import is_lease, said
from drystone.ledgers import CURE, Commit, Finding, Head, check_follows
from drystone.segments import SEGMENT, commit_name, opened, opened_segment, packed, segment_name

_CALLED = {
    "format": re.compile("format"),
    "commits": re.compile("commits/[0-9]{20}"),
    "segments": re.compile("segments/[0-9]{20}"),
    "grants": re.compile("grants/[0-9a-f]+"),
    "leases": re.compile("leases/.+"),
    "checkpoints": re.compile("checkpoints/.+"),
    "probes": re.compile("probes/[0-9a-f]+"),
    "clock": re.compile("clock/[0-9a-f]+"),
}
"""What the objects in each folder of a ledger are called."""

RESTORE = "Restore this object from a backup, or from an older version of it if the bucket keeps versions."
DELETE = "Delete this object."
SEGMENTED = (
    "Nothing is lost: its segment has this commit. Delete the object if there is one, and all read the commit there."
)
ELSEWHERE = (
    "Delete what does not belong here. If it is the artifact store's, give that a prefix of its own: policies tell the "
    "two apart by that."
)


def inspected(drive: Drive) -> Iterator[Finding]:
    """Everything that is wrong. Of the kind `commit` is what keeps others from reading on, `object` is the rest."""
    names = drive.names("")
    try:
        drive.read([*itertools.islice(names, 2)], was_there=False)
    except (FormatError, LedgerDamagedError) as exc:
        yield Finding("commit", "format", str(exc), "Without it nobody reads the rest.")
        return
    if not names:
        return
    yield from _foreign(names)
    yield from _Chain(drive, frozenset(names)).findings()
    yield from _unsaid(drive, names)


def _foreign(names: Sequence[str]) -> Iterator[Finding]:
    """Objects that are called as no part of a ledger; those of one folder count as one."""
    for folder, found in itertools.groupby(names, lambda name: name.partition("/")[0]):
        called = _CALLED.get(folder)
        foreign = [name for name in found if called is None or not called.fullmatch(name)]
        if foreign and called is None and foreign[0] != folder:
            text = f"No part of a ledger is below {folder}/, and {len(foreign)} objects are, such as {foreign[0]}."
            yield Finding("object", f"{folder}/", text, ELSEWHERE)
            continue
        for name in foreign:
            yield Finding("object", name, f"No part of a ledger is called {name}: it is foreign.", DELETE)


def _unsaid(drive: Drive, names: Sequence[str]) -> Iterator[Finding]:
    """Leases of which nothing is said that can be read."""
    found = drive.read(name for name in names if name.startswith("leases/"))
    for name, data in found.items():
        if data is not None and not (is_lease(name) and said(data)):
            yield Finding("object", name, f"The object {name} says nothing of a lease: damaged or foreign.", DELETE)


class _Chain:
    """The commits that are there, each next to what its segment says."""

    def __init__(self, drive: Drive, names: frozenset[str]) -> None:
        self._drive, self._names = drive, names
        self._seq = 0
        self._head: Head | None = Head()  # what the next one has to follow; None where nobody can tell
        self._last = max(self._numbers("commits"), default=0)  # what only a segment has after it is not confirmed

    def _numbers(self, folder: str) -> set[int]:
        return {int(name[-20:]) for name in self._names if _CALLED[folder].fullmatch(name)}

    def findings(self) -> Iterator[Finding]:
        """What is wrong with them."""
        numbers = self._numbers("commits") | self._numbers("segments")
        for block in sorted({(number - 1) // SEGMENT for number in numbers}):
            yield from self._block(block)

    def _block(self, block: int) -> Iterator[Finding]:
        sealed, numbers = segment_name(block), range(block * SEGMENT + 1, (block + 1) * SEGMENT + 1)
        objects = self._drive.read(self._names.intersection((sealed, *map(commit_name, numbers))))
        segment = opened_segment(block, objects.get(sealed))
        is_right = objects.get(sealed) is None or (bool(segment) and numbers[-1] <= self._last)
        spared: list[Finding] = []
        for seq, copy in itertools.zip_longest(numbers, segment):
            data, copy = objects.get(commit_name(seq)), copy if seq <= self._last else None
            if data is not None or copy is not None:
                found = [*self._commit(seq, data, copy)]
                spared += (each for each in found if each.kind == "object")
                yield from (each for each in found if each.kind == "commit")
                is_right = is_right and (copy is None or self._head is None or self._head == copy.head)
        yield from _together(spared)
        if not is_right:
            text = f"The segment {sealed} is not what the commits are: damaged, or of another ledger."
            yield Finding("object", sealed, text, f"{DELETE} Whoever commits next makes it anew.")

    def _commit(self, seq: int, data: bytes | None, copy: Commit | None) -> Iterator[Finding]:
        if seq > self._seq + 1:
            self._head = None
            yield Finding("commit", commit_name(self._seq + 1), _gap(self._seq + 1, seq), RESTORE)
        own, problem = self._judged(seq, data)
        copied, copied_problem = self._judged(seq, packed(copy) if copy is not None else None)
        if not problem:
            chosen = own
        elif not copied_problem:
            chosen = copied
            yield Finding("object", commit_name(seq), problem, SEGMENTED)
        else:
            chosen = own or copied
            yield Finding("commit", commit_name(seq), problem, RESTORE)
        self._seq, self._head = seq, chosen.head if chosen is not None else None

    def _judged(self, seq: int, data: bytes | None) -> tuple[Commit | None, str]:
        """The commit that is stored, if it is one, and what is wrong with it; empty if nothing is."""
        commit = None
        try:
            if data is None:
                return None, _gap(seq, seq + 1)
            commit = opened(seq, data)
            if self._head is not None:
                check_follows(commit, self._head)
        except LedgerDamagedError as exc:
            return commit, str(exc).removesuffix(CURE)
        return commit, ""


def _together(spared: Sequence[Finding]) -> Iterator[Finding]:
    """Commits of one block that its segment has, as one: somebody may have deleted thousands."""
    if spared:
        others = f" So it is with {len(spared)} objects up to {spared[-1].subject}." if len(spared) > 1 else ""
        yield attrs.evolve(spared[0], message=f"{spared[0].message}{others}")


def _gap(first: int, following: int) -> str:
    if first == following - 1:
        return f"Commit {first} of the ledger is missing: there is no object {commit_name(first)}."
    return (
        f"Commits {first} to {following - 1} of the ledger are missing, and commit {following} is there; if that is "
        "foreign, nothing is missing, and it has to go."
    )
